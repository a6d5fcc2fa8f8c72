//! Writing a content of several chunks while it is read.

use super::encoding::ChunkEncoding;
use super::new_record::NewRecord;
use super::own_lane::{NO_LANE, OwnLane, SHARED};
use super::writer::Writer;
use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{NameHasher, PlainHasher, plain};
use freestone_core::item::Content;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::NodeKind;
use freestone_core::{Id, Result};
use freestone_format::record::RecordKind;
use freestone_manifest::NodeSink;
use freestone_manifest::content::{CHUNKER, ContentItem, ContentRecord, ContentTreeBuilder};

/// Bytes of a content that are looked at to choose how it is stored, and written together.
const TOGETHER_BYTES: u64 = 8 << 20;

/// A content that is being written. Up to 8 MiB of new chunks go to the lane that all threads
/// share, at once, so that they are adjacent; a content with more goes to the thread's own lane.
pub struct LargeContent<'a> {
    sha1: Box<dyn NameHasher>,
    blake3: PlainHasher,
    length: u64,
    chunker: Chunker,
    chunks: Chunks<'a>,
    tree: ContentTreeBuilder<Nodes>,
}

impl Writer {
    /// Begins to write a content of more than 1 MiB.
    pub fn large_content(&self) -> LargeContent<'_> {
        LargeContent {
            sha1: (self.options.name_hasher)(),
            blake3: PlainHasher::default(),
            length: 0,
            chunker: Chunker::default(),
            chunks: Chunks {
                writer: self,
                nodes: Vec::new(),
                items: Vec::new(),
                waiting: Vec::new(),
                waiting_bytes: 0,
                encoding: ChunkEncoding::default(),
                is_apart: false,
                offset: 0,
            },
            tree: ContentTreeBuilder::new(Nodes::default()),
        }
    }
}

impl LargeContent<'_> {
    /// Takes the next bytes of the content; `own` is the lane of this thread.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub fn push(&mut self, bytes: &[u8], own: &mut OwnLane) -> Result<()> {
        self.length += bytes.len() as u64;
        self.sha1.update(bytes);
        self.blake3.update(bytes);
        self.chunker.push(bytes, &mut |piece| self.chunks.piece(&piece, own))?;
        self.chunks.items.drain(..).try_for_each(|item| self.tree.push(item))?;
        self.chunks.take_nodes(self.tree.sink(), own)
    }

    /// Completes the content: writes what is left of it, its nodes and its record. `before` is the
    /// content that was at its path before. Returns `None` if the content has 1 MiB or less; then
    /// nothing of it was written.
    ///
    /// # Errors
    /// As [`Writer::put_content`].
    pub fn finish(
        mut self,
        before: Option<&Content>,
        own: &mut OwnLane,
    ) -> Result<Option<Content>> {
        if self.length <= CONTENT_WHOLE_BYTES_MAX {
            return Ok(None);
        }
        self.chunker.finish(&mut |piece| self.chunks.piece(&piece, own))?;
        self.chunks.items.drain(..).try_for_each(|item| self.tree.push(item))?;
        let (level, top, mut nodes) = self.tree.finish()?;
        let record = ContentRecord {
            chunker: CHUNKER,
            length: self.length,
            sha1: self.sha1.finish(),
            blake3: self.blake3.finish(),
            level,
            top,
        };
        let content = Content { size: self.length, sha1: record.sha1, id: record.id() };
        if before != Some(&content) {
            self.chunks.writer.check_sha1(&content.sha1, &record.blake3, &content.id)?;
        }
        self.chunks.finish(&mut nodes, &record, own)?;
        Ok(Some(content))
    }
}

/// Nodes of a content tree that wait to be written.
#[derive(Default)]
struct Nodes(Vec<(NodeKind, Id, Vec<u8>)>);

impl NodeSink for Nodes {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        self.0.push((kind, id, bytes.to_vec()));
        Ok(())
    }
}

/// A chunk that is not written yet, with its offset in the content.
struct Waiting {
    offset: u64,
    id: Id,
    bytes: Vec<u8>,
}

/// The chunks and nodes of one content on their way to a lane.
struct Chunks<'a> {
    writer: &'a Writer,
    /// Nodes that wait until it is known which lane the content goes to.
    nodes: Vec<(NodeKind, Id, Vec<u8>)>,
    /// Items for the content tree.
    items: Vec<ContentItem>,
    waiting: Vec<Waiting>,
    waiting_bytes: u64,
    encoding: ChunkEncoding,
    /// True once chunks went to the thread's own lane.
    is_apart: bool,
    offset: u64,
}

impl Chunks<'_> {
    fn piece(&mut self, piece: &ContentPiece<'_>, own: &mut OwnLane) -> Result<()> {
        let bytes = match piece {
            ContentPiece::Zeros(length) => {
                self.items.push(ContentItem::Zeros(*length));
                self.offset += length;
                return Ok(());
            }
            ContentPiece::Chunk(bytes) => bytes,
        };
        let (id, length) = (plain(bytes), bytes.len() as u64);
        self.items.push(ContentItem::Chunk(length, id));
        let offset = self.offset;
        self.offset += length;
        // Which lane the content goes to is not known yet, so no record in a lane counts as known.
        if !self.writer.is_known(RecordKind::Chunk, &id, NO_LANE)?
            && !self.writer.only_counts(RecordKind::Chunk, id, length)
        {
            self.waiting.push(Waiting { offset, id, bytes: bytes.to_vec() });
            self.waiting_bytes += length;
        }
        if self.waiting_bytes >= TOGETHER_BYTES { self.write_apart(own) } else { Ok(()) }
    }

    /// Calls `write` with the chunks that wait, as they are to be stored.
    fn encode_waiting(
        &mut self,
        write: impl FnOnce(&Writer, &[NewRecord<'_>]) -> Result<()>,
    ) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let chunks: Vec<&[u8]> = waiting.iter().map(|chunk| &chunk.bytes[..]).collect();
        let encoded = self.encoding.encode(&chunks)?;
        let each = waiting.iter().zip(&encoded);
        let records: Vec<NewRecord<'_>> = each
            .map(|(chunk, encoded)| {
                NewRecord::part(chunk.id, chunk.bytes.len() as u64, chunk.offset, encoded)
            })
            .collect();
        write(self.writer, &records)
    }

    /// Writes the chunks that wait to the thread's own lane.
    fn write_apart(&mut self, own: &mut OwnLane) -> Result<()> {
        self.is_apart = true;
        self.encode_waiting(|writer, records| writer.add_own(own, records))
    }

    /// Takes nodes of the tree that are complete, and writes them if the content has its own lane.
    fn take_nodes(&mut self, nodes: &mut Nodes, own: &mut OwnLane) -> Result<()> {
        if self.writer.options.dry_run {
            nodes.0.clear();
        }
        self.nodes.append(&mut nodes.0);
        if self.is_apart {
            for (kind, id, bytes) in self.nodes.drain(..) {
                let kind = RecordKind::from(kind);
                if !self.writer.is_known(kind, &id, own.number)? {
                    self.writer.hold_own(own, (kind, id, &bytes), None)?;
                }
            }
        }
        Ok(())
    }

    fn finish(
        mut self,
        nodes: &mut Nodes,
        record: &ContentRecord,
        own: &mut OwnLane,
    ) -> Result<()> {
        let (kind, id, bytes) = (RecordKind::ContentRecord, record.id(), record.encode());
        let sha1 = Some((record.sha1, record.blake3));
        if self.is_apart {
            self.write_apart(own)?;
            self.take_nodes(nodes, own)?;
            return self.writer.hold_own(own, (kind, id, &bytes), sha1);
        }
        // All of it goes to the lane that all threads share, at once. Chunks and nodes that were
        // lost are written again, also where the record was not lost.
        self.encode_waiting(Writer::add_shared)?;
        self.take_nodes(nodes, own)?;
        for (kind, id, bytes) in self.nodes.drain(..) {
            self.writer.put_node(kind.into(), id, &bytes, &mut || Ok(None))?;
        }
        let is_known = self.writer.is_known(kind, &id, SHARED)?;
        if is_known || self.writer.only_counts(kind, id, 0) {
            return Ok(());
        }
        self.writer.hold_shared((kind, id, &bytes), sha1)
    }
}
