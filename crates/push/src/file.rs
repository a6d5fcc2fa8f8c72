//! One file of a push: read once, hashed, cut, and written where it is new.

use crate::derive::Content;
use crate::push::PushProgress;
use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{NewNameHasher, PlainHasher, plain};
use freestone_core::item::{FileOpener, FileStamp, OpenFile};
use freestone_core::limits::{ALIGNED_CONTENT_BYTES_MIN, CONTENT_WHOLE_BYTES_MAX};
use freestone_core::odd::{FirstBytes, OddReading};
use freestone_core::plan::NodeKind;
use freestone_core::{Error, ErrorKind, Id, Result, path};
use freestone_format::record::{Codec, RecordKind};
use freestone_manifest::NodeSink;
use freestone_manifest::content::{CHUNKER, ContentItem, ContentRecord, ContentTreeBuilder};
use freestone_store::Records;
use freestone_store::write::bases::{BasePlace, Basis};
use freestone_store::write::encoding::{self, Encoded};
use freestone_store::write::lane::{Lane, NewRecord};
use freestone_store::write::similar::Sketch;
use freestone_store::write::writer::{NO_LANE, SHARED, Session};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
/// Bytes of a large content that are weighed to choose how it is stored, and written together.
const WEIGHED_BYTES: u64 = 8 << 20;
/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 5;
/// A file whose last change is closer than this to its reading may change again without its
/// times telling: the ticks of the kernel's clock are up to 10 ms apart.
const RACY_NS: i64 = 50_000_000;
/// The same for file systems that keep whole seconds only, or two.
const RACY_COARSE_NS: i64 = 2_100_000_000;

/// Reads files; one a thread.
pub(crate) struct FileReader<'a> {
    pub(crate) opener: &'a dyn FileOpener,
    pub(crate) records: &'a Records,
    pub(crate) session: Option<&'a Session>,
    /// Whether to look nothing up.
    pub(crate) hash_only: bool,
    pub(crate) progress: &'a PushProgress,
    /// Whether a file that was removed after it was listed is left out, instead of being an error.
    pub(crate) skips_removed: bool,
    /// Set when the push has failed elsewhere.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) name_hasher: NewNameHasher,
    pub(crate) buffer: Vec<u8>,
    /// The thread's own pack for contents too large for one go, and its number.
    pub(crate) lane: Option<Lane>,
    pub(crate) lane_number: u8,
}

/// A file that was read.
pub(crate) struct ReadFile {
    pub(crate) content: Content,
    /// The stamp that vouches for the content later; `None` if the file changed too recently.
    pub(crate) stamp: Option<FileStamp>,
    /// Plain bytes that the store does not have, where nothing is written.
    pub(crate) missing: u64,
}

fn is_settled(stamp: &FileStamp, read_at_ns: i64) -> bool {
    let changed = stamp.mtime_ns.max(stamp.ctime_ns);
    let coarse = stamp.mtime_ns % 1_000_000_000 == 0 && stamp.ctime_ns % 1_000_000_000 == 0;
    let margin = if coarse { RACY_COARSE_NS } else { RACY_NS };
    changed.saturating_add(margin) < read_at_ns
}

/// The error of a file that another program keeps changing.
pub(crate) fn changing(path: &[u8]) -> Error {
    let what = format!("{} changes while it is being read", path::display(path));
    Error::new(ErrorKind::Conflict, what)
        .hint("push a snapshot of the directory, or leave the file out with --exclude")
}

impl FileReader<'_> {
    /// Reads the file at `path`; `known` is the parent's content there, which the store has.
    /// Returns `None` if the file was removed after it was listed.
    ///
    /// Most files have the length that their stamp says, before and after reading. Others are read
    /// until two readings give the same bytes ([`freestone_core::odd`]).
    pub(crate) fn read(
        &mut self,
        path: &[u8],
        known: Option<&Content>,
    ) -> Result<Option<ReadFile>> {
        let mut earlier: Option<OddReading> = None;
        for _ in 0..READS_MAX {
            self.check()?;
            let read_at = i64::try_from(freestone_backend::clock::now_ns()).unwrap_or(i64::MAX);
            let Some(mut file) = self.open(path)? else { return Ok(None) };
            let before = file.stamp()?;
            let read = match &earlier {
                Some(earlier) => self.read_to(path, &mut *file, earlier.limit(), known),
                None if before.size <= CONTENT_WHOLE_BYTES_MAX => {
                    self.read_small(path, &mut *file, &before, known)
                }
                None => self.read_large(path, &mut *file, before.size, known),
            };
            let read = read.map_err(|error| error.context(path::display(path)))?;
            let after = file.stamp()?;
            let counted = || self.progress.files_hashed.fetch_add(1, Ordering::Relaxed);
            if let Some((content, missing)) = read {
                if after == before && content.size == before.size {
                    counted();
                    let stamp = is_settled(&after, read_at).then_some(after);
                    return Ok(Some(ReadFile { content, stamp, missing }));
                }
                if earlier.as_ref().is_some_and(|it| it.is_confirmed_by(&content, &after)) {
                    counted();
                    return Ok(Some(ReadFile { content, stamp: None, missing }));
                }
            }
            earlier =
                OddReading::next(earlier, (&before, &after), read.map(|(content, _)| content));
        }
        Err(changing(path))
    }

    /// Reads the file at `path` again, from which `wanted` was hashed before. Returns false if the
    /// file does not begin with these bytes any more, or is gone.
    pub(crate) fn read_again(&mut self, path: &[u8], wanted: &Content) -> Result<bool> {
        self.check()?;
        let Some(mut file) = self.open(path)? else { return Ok(false) };
        let read = self
            .read_to(path, &mut *file, wanted.size, None)
            .map_err(|error| error.context(path::display(path)))?;
        self.progress.files_hashed.fetch_add(1, Ordering::Relaxed);
        Ok(read.is_some_and(|(content, _)| content == *wanted))
    }

    /// Opens the file at `path`; `None` if it was removed after it was listed.
    fn open(&self, path: &[u8]) -> Result<Option<Box<dyn OpenFile>>> {
        match self.opener.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.skips_removed => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Reads the first `limit` bytes of a file, or all of it if it is shorter, whatever its stamp
    /// says. Returns `None` if the file becomes shorter meanwhile.
    fn read_to(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        limit: u64,
        known: Option<&Content>,
    ) -> Result<Option<(Content, u64)>> {
        let whole = usize::try_from(CONTENT_WHOLE_BYTES_MAX).unwrap_or(usize::MAX);
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX).min(whole + 1);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let mut length = 0;
        loop {
            let count = self.fill(path, file, (length, wanted))?;
            length += count;
            if count == 0 || length == wanted {
                break;
            }
        }
        if length <= whole {
            return self.store_small(length, known).map(Some);
        }
        file.seek(0)?;
        self.read_large(path, &mut FirstBytes::new(file, limit), u64::MAX, known)
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "the push has failed"));
        }
        self.progress.check()
    }

    /// Reads the next bytes of the file at `path` into the buffer; 0 at the end.
    fn fill(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        (from, to): (usize, usize),
    ) -> Result<usize> {
        let mut at = from;
        while at < to {
            match file.read(&mut self.buffer[at..to]) {
                Ok(0) => break,
                Ok(count) => {
                    at += count;
                    // A regular file gives less than was asked for only at its end; if it was not
                    // the end, the length differs from the stamp's and the file is read again.
                    if at < to {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io("cannot read it", error).at_path(path.to_vec()));
                }
            }
        }
        self.progress.bytes_hashed.fetch_add((at - from) as u64, Ordering::Relaxed);
        Ok(at - from)
    }

    /// Reads a file of one chunk. Returns `None` if it is longer than `stamp` says.
    fn read_small(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: &FileStamp,
        known: Option<&Content>,
    ) -> Result<Option<(Content, u64)>> {
        let size = usize::try_from(stamp.size).unwrap_or(0);
        // One byte more, so that a file that grew is noticed with the same read.
        if self.buffer.len() < size + 1 {
            self.buffer.resize((size + 1).max(64 << 10), 0);
        }
        let length = self.fill(path, file, (0, size + 1))?;
        if length > size {
            return Ok(None);
        }
        self.store_small(length, known).map(Some)
    }

    /// Stores the first `length` bytes of the buffer as a content of one chunk.
    fn store_small(&self, length: usize, known: Option<&Content>) -> Result<(Content, u64)> {
        let bytes = &self.buffer[..length];
        let mut hasher = (self.name_hasher)();
        hasher.update(bytes);
        let content = Content { size: length as u64, sha1: hasher.finish(), id: plain(bytes) };
        if known == Some(&content) {
            return Ok((content, 0));
        }
        let Some(session) = self.session else {
            let has = self.hash_only || self.records.has(RecordKind::Chunk, &content.id)?;
            return Ok((content, if has { 0 } else { content.size }));
        };
        let is_named = session.check_sha1(&content.sha1, &content.id, &content.id)?;
        // It may be there as a chunk of a large content only, where no SHA-1 leads to it.
        if session.is_known(RecordKind::Chunk, &content.id, SHARED)?
            && (is_named || session.name(content.id, content.sha1)?)
        {
            return Ok((content, 0));
        }
        let before = known.filter(|known| known.size <= CONTENT_WHOLE_BYTES_MAX);
        if session.is_thorough() {
            add_thorough(session, &content, bytes, before.map(|before| &before.id))?;
            return Ok((content, 0));
        }
        let mut basis = match before {
            Some(before) => session.basis(&before.id)?,
            None => None,
        };
        loop {
            let based = basis.is_some();
            if add_small(session, &content, bytes, basis.take())? || !based {
                return Ok((content, 0));
            }
        }
    }

    /// Reads a file of several chunks. Returns `None` if it is short enough for one chunk, or longer
    /// than `length_max`: a file that grows as fast as it is read would never end.
    fn read_large(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        length_max: u64,
        known: Option<&Content>,
    ) -> Result<Option<(Content, u64)>> {
        if self.buffer.len() < READ_BYTES {
            self.buffer.resize(READ_BYTES, 0);
        }
        let mut sha1 = (self.name_hasher)();
        let mut blake3 = PlainHasher::default();
        let mut chunker = Chunker::default();
        let mut writer = LargeWriter {
            session: self.session,
            records: self.records,
            hash_only: self.hash_only,
            lane: std::mem::take(&mut self.lane),
            lane_number: self.lane_number,
            nodes: Nodes::default(),
            items: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            compressed: None,
            offset: 0,
            missing: 0,
        };
        let mut tree = ContentTreeBuilder::new(Nodes::default());
        let mut length = 0;
        let outcome: Result<()> = (|| {
            loop {
                self.check()?;
                let count = self.fill(path, file, (0, READ_BYTES))?;
                length += count as u64;
                if count == 0 || length > length_max {
                    break;
                }
                let bytes = &self.buffer[..count];
                sha1.update(bytes);
                blake3.update(bytes);
                chunker.push(bytes, &mut |piece| writer.piece(&piece))?;
                writer.items.drain(..).try_for_each(|item| tree.push(item))?;
                writer.write_nodes(tree.sink())?;
            }
            std::mem::take(&mut chunker).finish(&mut |piece| writer.piece(&piece))?;
            writer.items.drain(..).try_for_each(|item| tree.push(item))
        })();
        if outcome.is_err() || length <= CONTENT_WHOLE_BYTES_MAX || length > length_max {
            self.lane = writer.lane;
            return outcome.map(|()| None);
        }
        let (level, top, mut nodes) = tree.finish()?;
        let record = ContentRecord {
            chunker: CHUNKER,
            length,
            sha1: sha1.finish(),
            blake3: blake3.finish(),
            level,
            top,
        };
        let content = Content { size: length, sha1: record.sha1, id: record.id() };
        let finished = (|| {
            if let Some(session) = self.session.filter(|_| known != Some(&content)) {
                session.check_sha1(&content.sha1, &record.blake3, &content.id)?;
            }
            writer.finish(&mut nodes, &record)
        })();
        self.lane = writer.lane;
        finished?;
        Ok(Some((content, writer.missing)))
    }
}

/// Writes a content that is one chunk, over a base if that is worth it; false if the base is in
/// reach no more.
fn add_small(
    session: &Session,
    content: &Content,
    bytes: &[u8],
    basis: Option<Basis>,
) -> Result<bool> {
    let alone = || {
        if content.size < ALIGNED_CONTENT_BYTES_MIN {
            encoding::encode(bytes)
        } else {
            Ok(encoding::encode_large(&[bytes])?.swap_remove(0))
        }
    };
    let encoded = match &basis {
        Some(basis) => encoding::encode_over(bytes, basis, alone)?,
        None => alone()?,
    };
    add_encoded(session, content, &encoded, encoding::base_of(encoded.codec, basis))
}

/// Writes a content that is one chunk as small as it gets.
fn add_thorough(
    session: &Session,
    content: &Content,
    bytes: &[u8],
    before: Option<&Id>,
) -> Result<()> {
    let sketch = Sketch::of(bytes);
    loop {
        let mut bases = session.bases(before, &sketch, encoding::is_text_like(bytes)?)?;
        let (encoded, base) = encoding::encode_thorough(bytes, &bases)?;
        let base = base.map(|at| bases.swap_remove(at).place);
        // Else the pack of the base was closed meanwhile, and there is another choice.
        if add_encoded(session, content, &encoded, base)? {
            session.remember(content.id, &sketch);
            return Ok(());
        }
    }
}

/// Writes a content that is one chunk, as it was encoded; false if its base is in reach no more.
fn add_encoded(
    session: &Session,
    content: &Content,
    encoded: &Encoded<'_>,
    base: Option<BasePlace>,
) -> Result<bool> {
    let aligned = encoded.codec == Codec::Raw && content.size >= ALIGNED_CONTENT_BYTES_MIN;
    session.add_over(&NewRecord {
        kind: RecordKind::Chunk,
        id: content.id,
        codec: encoded.codec,
        stored: &encoded.stored,
        plain: content.size,
        content_offset: aligned.then_some(0),
        sha1: Some((content.sha1, content.id)),
        base,
    })
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

/// Writes the chunks of one large content: what is weighed is written in one go, so that it lies
/// adjacent; what is longer goes to the thread's own lane.
struct LargeWriter<'a> {
    session: Option<&'a Session>,
    records: &'a Records,
    hash_only: bool,
    lane: Option<Lane>,
    lane_number: u8,
    nodes: Nodes,
    /// Items for the content tree.
    items: Vec<ContentItem>,
    /// Chunks that are not written yet, with their offsets in the content.
    waiting: Vec<(u64, Id, Vec<u8>)>,
    waiting_bytes: u64,
    /// Whether a codec is used; chosen once enough was weighed.
    compressed: Option<bool>,
    offset: u64,
    missing: u64,
}

impl LargeWriter<'_> {
    fn piece(&mut self, piece: &ContentPiece<'_>) -> Result<()> {
        match piece {
            ContentPiece::Zeros(length) => {
                self.items.push(ContentItem::Zeros(*length));
                self.offset += length;
                Ok(())
            }
            ContentPiece::Chunk(bytes) => {
                let (id, length) = (plain(bytes), bytes.len() as u64);
                self.items.push(ContentItem::Chunk(length, id));
                let offset = self.offset;
                self.offset += length;
                match self.session {
                    None => {
                        if !self.hash_only && !self.records.has(RecordKind::Chunk, &id)? {
                            self.missing += length;
                        }
                    }
                    Some(session) => {
                        // Which lane the content goes to is not known yet, so nothing that is in
                        // one counts as there.
                        if !session.is_known(RecordKind::Chunk, &id, NO_LANE)? {
                            self.waiting.push((offset, id, bytes.to_vec()));
                            self.waiting_bytes += length;
                        }
                    }
                }
                if self.waiting_bytes >= WEIGHED_BYTES { self.write_apart() } else { Ok(()) }
            }
        }
    }

    /// Whether chunks went to the thread's own lane.
    fn wrote_apart(&self) -> bool {
        self.compressed.is_some()
    }

    /// Writes what waits to the thread's own lane.
    fn write_apart(&mut self) -> Result<()> {
        let Some(session) = self.session else { return Ok(()) };
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let chunks: Vec<&[u8]> = waiting.iter().map(|(_, _, bytes)| &bytes[..]).collect();
        let encoded = match self.compressed {
            Some(false) => raw(&chunks),
            Some(true) => {
                chunks.iter().map(|chunk| encoding::encode(chunk)).collect::<Result<_>>()?
            }
            None => {
                let encoded = encoding::encode_large(&chunks)?;
                self.compressed = Some(encoded.iter().any(|e| e.codec != Codec::Raw));
                encoded
            }
        };
        let records = new_records(&waiting, &encoded);
        session.add_to(&mut self.lane, self.lane_number, &records)
    }

    /// Writes nodes of the tree that are complete, once the content has its own lane.
    fn write_nodes(&mut self, nodes: &mut Nodes) -> Result<()> {
        self.nodes.0.append(&mut nodes.0);
        let Some(session) = self.session.filter(|_| self.wrote_apart()) else { return Ok(()) };
        for (kind, id, bytes) in self.nodes.0.drain(..) {
            put(session, &mut self.lane, self.lane_number, kind, id, &bytes)?;
        }
        Ok(())
    }

    fn finish(&mut self, nodes: &mut Nodes, record: &ContentRecord) -> Result<()> {
        let Some(session) = self.session else { return Ok(()) };
        let id = record.id();
        let bytes = record.encode();
        let sha1 = Some((record.sha1, record.blake3));
        if self.wrote_apart() {
            self.write_apart()?;
            self.write_nodes(nodes)?;
            let (lane, number) = (&mut self.lane, self.lane_number);
            return session.hold_in(lane, number, RecordKind::ContentRecord, id, &bytes, sha1);
        }
        // All of it goes to the lane that all share, in one go.
        let waiting = std::mem::take(&mut self.waiting);
        let chunks: Vec<&[u8]> = waiting.iter().map(|(_, _, bytes)| &bytes[..]).collect();
        let encoded = match chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>() {
            0..ALIGNED_CONTENT_BYTES_MIN => raw(&chunks),
            _ => encoding::encode_large(&chunks)?,
        };
        // Chunks and nodes that were lost are written again, also where the record was not.
        session.add_shared(&new_records(&waiting, &encoded))?;
        self.nodes.0.append(&mut nodes.0);
        for (kind, id, bytes) in self.nodes.0.drain(..) {
            session.put_node(kind.into(), id, &bytes)?;
        }
        if session.is_known(RecordKind::ContentRecord, &id, SHARED)? {
            return Ok(());
        }
        session.put_content_record(id, &bytes, (record.sha1, record.blake3))
    }
}

fn put(
    session: &Session,
    lane: &mut Option<Lane>,
    number: u8,
    kind: NodeKind,
    id: Id,
    bytes: &[u8],
) -> Result<()> {
    if session.is_known(kind.into(), &id, number)? {
        return Ok(());
    }
    session.hold_in(lane, number, kind.into(), id, bytes, None)
}

fn raw<'a>(chunks: &[&'a [u8]]) -> Vec<Encoded<'a>> {
    let raw = |chunk: &&'a [u8]| Encoded { codec: Codec::Raw, stored: (*chunk).into() };
    chunks.iter().map(raw).collect()
}

fn new_records<'a>(
    waiting: &[(u64, Id, Vec<u8>)],
    encoded: &'a [Encoded<'a>],
) -> Vec<NewRecord<'a>> {
    waiting
        .iter()
        .zip(encoded)
        .map(|((offset, id, bytes), encoded)| NewRecord {
            kind: RecordKind::Chunk,
            id: *id,
            codec: encoded.codec,
            stored: &encoded.stored,
            plain: bytes.len() as u64,
            content_offset: (encoded.codec == Codec::Raw).then_some(*offset),
            sha1: None,
            base: None,
        })
        .collect()
}
