//! Writing the records of compacted packs, each over what is nearest of those written before.

use super::old::OldRecords;
use freestone_backend::Backend;
use freestone_core::limits::{BLOCK_BYTES, CONTENT_WHOLE_BYTES_MAX};
use freestone_core::{Error, Id, Result, Subject};
use freestone_format::pack::{self, Row};
use freestone_format::record::{Codec, RecordKind};
use freestone_store::Records;
use freestone_store::write::bases::{COMPACT_DEPTH_MAX, NODE_DEPTH_MAX};
use freestone_store::write::encoding::{Effort, Encoded, choose};
use freestone_store::write::lane::Lane;
use freestone_store::write::likeness::Likeness;
use freestone_store::write::new_record::NewRecord;
use freestone_store::write::sample::is_text_like;
use freestone_store::write::similar::Sketch;
use std::collections::HashMap;
use std::sync::Arc;

/// Contents that are tried as a base because they have much in common.
const SIMILAR_TRIED: usize = 2;

/// Returns what contents with similar names have in common: the end of the path after its last dot.
fn extension(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    name.iter().rposition(|byte| *byte == b'.').map_or_else(Vec::new, |at| name[at..].to_vec())
}

/// A pack that was written.
pub(super) struct NewPack {
    pub(super) id: Id,
    pub(super) length: u64,
    pub(super) table: u64,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Writer<'a> {
    pub(super) backend: &'a Arc<dyn Backend>,
    pub(super) records: &'a Records,
    pub(super) level: i32,
    /// What the packs that are rewritten hold.
    pub(super) old: &'a OldRecords,
    /// What is still to be written, with its place among all old records.
    pub(super) open: HashMap<(RecordKind, Id), usize>,
    /// Revisions that are to be written before the pack is closed, each after those that came from
    /// it.
    revisions: Vec<Id>,
    pub(super) packs: Vec<NewPack>,
    /// Told of every record that was written, by its plain bytes.
    pub(super) each: &'a mut dyn FnMut(u64) -> Result<()>,
    lane: Option<Lane>,
    /// The contents that the lane holds, by the extensions of their names.
    likeness: Likeness<Vec<u8>>,
    /// The node and the revision that were written last of those at the same place of the lane.
    last_at: HashMap<(u8, Vec<u8>), Id>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        backend: &'a Arc<dyn Backend>,
        records: &'a Records,
        level: i32,
        old: &'a OldRecords,
        each: &'a mut dyn FnMut(u64) -> Result<()>,
    ) -> Self {
        let records_in_order = old.all().iter().enumerate();
        let open = records_in_order.map(|(at, record)| ((record.kind, record.id), at)).collect();
        Self {
            backend,
            records,
            level,
            old,
            open,
            revisions: Vec::new(),
            packs: Vec::new(),
            each,
            lane: None,
            likeness: Likeness::new(usize::MAX),
            last_at: HashMap::new(),
        }
    }

    fn read(&self, kind: RecordKind, id: &Id) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.records.read(kind, id, &mut bytes)? {
            return Ok(bytes);
        }
        Err(Error::missing(format!("{} {id} is missing from the store", kind.word()))
            .subject(Subject::Record { kind: kind.word(), id: *id })
            .hint("`freestone verify` lists all that is missing"))
    }

    /// Writes a content that is one chunk. Its base may be `newer`, the content that came after it at
    /// its path; one that has much in common with it; or one whose name has the same extension.
    pub(super) fn content(&mut self, id: &Id, newer: Option<&Id>, path: &[u8]) -> Result<()> {
        if self.open.remove(&(RecordKind::Chunk, *id)).is_none() {
            return Ok(());
        }
        self.make_room()?;
        let plain = self.read(RecordKind::Chunk, id)?;
        let (sketch, extension) = (Sketch::of(&plain), extension(path));
        let mut candidates: Vec<Id> = newer.copied().into_iter().collect();
        for id in self.likeness.similar(&sketch, SIMILAR_TRIED + 1) {
            if !candidates.contains(&id) && candidates.len() <= SIMILAR_TRIED {
                candidates.push(id);
            }
        }
        let mut bases = Vec::new();
        if let Some(lane) = &self.lane {
            let packs = &self.records.packs;
            for base in &candidates {
                bases.extend(lane.basis(RecordKind::Chunk, base, COMPACT_DEPTH_MAX, packs)?);
            }
            // It begins a chain of its own, which other contents are not to lengthen. Bytes that are
            // dense already are like others only if they are equal.
            if bases.is_empty() && is_text_like(&plain)? {
                for base in self.likeness.with_key(&extension) {
                    bases.extend(lane.first(RecordKind::Chunk, base, packs)?);
                }
            }
        }
        let encoded = choose(RecordKind::Chunk, &plain, bases, Effort::Level(self.level))?;
        self.add(&NewRecord::new(RecordKind::Chunk, *id, plain.len() as u64, &encoded))?;
        self.likeness.add(*id, &sketch, extension);
        Ok(())
    }

    /// Writes a node, content record or revision, over the one that was written last of those that
    /// stand at the same place.
    pub(super) fn node(&mut self, kind: RecordKind, id: &Id) -> Result<()> {
        if self.open.remove(&(kind, *id)).is_none() {
            return Ok(());
        }
        // A revision is written when the pack is about to be closed.
        if kind != RecordKind::Revision {
            self.make_room()?;
        }
        let plain = self.read(kind, id)?;
        let place = match kind {
            RecordKind::ManifestNode => freestone_manifest::node_position(&plain),
            RecordKind::Revision => Some((0, Vec::new())),
            _ => None,
        };
        let last = place.and_then(|place| self.last_at.insert(place, *id));
        let mut found = None;
        if let (Some(last), Some(lane)) = (last, &self.lane) {
            let depth_max = if kind == RecordKind::Revision { 1 } else { NODE_DEPTH_MAX };
            found = lane.basis(kind, &last, depth_max, &self.records.packs)?;
        }
        let level = self.level;
        self.lane()?.hold_node((kind, *id, &plain), None, found, Effort::Level(level))?;
        self.written(plain.len() as u64)
    }

    /// Takes a revision, which is written into the same pack as what it leads to.
    pub(super) fn revision(&mut self, id: Id) {
        if self.open.contains_key(&(RecordKind::Revision, id)) {
            self.revisions.push(id);
        }
    }

    /// Writes a chunk of a content of several, which starts at `offset` of it, as it is stored:
    /// whether all chunks of a content have a codec was chosen for all together.
    pub(super) fn chunk(&mut self, id: &Id, offset: u64) -> Result<()> {
        let Some(at) = self.open.remove(&(RecordKind::Chunk, *id)) else { return Ok(()) };
        self.make_room()?;
        let row = &self.old.all()[at];
        let plain = self.read(RecordKind::Chunk, id)?;
        let length = plain.len() as u64;
        let encoded = match row.codec {
            Codec::Raw => Encoded::raw(&plain),
            Codec::Zeros => Encoded::zeros(),
            Codec::Zstd => {
                let mut stored = vec![0; usize::try_from(row.stored).unwrap_or(0)];
                self.records.packs.open(self.old.pack_of(row))?.read_at(row.offset, &mut stored)?;
                Encoded::zstd(stored)
            }
            Codec::ZstdBase | Codec::ZstdBaseIds => {
                choose(RecordKind::Chunk, &plain, Vec::new(), Effort::Level(self.level))?
            }
        };
        // A chunk that had a base was not shared with others by reflink, so it is not aligned.
        let content_offset = (row.codec == Codec::Raw).then_some(offset);
        let record = NewRecord::new(RecordKind::Chunk, *id, length, &encoded);
        self.add(&NewRecord { content_offset, ..record })
    }

    /// Writes what no revision has led to: it may belong to a push that is running.
    pub(super) fn rest(&mut self) -> Result<()> {
        self.write_revisions()?;
        for row in self.old.all() {
            self.make_room()?;
            match row.kind {
                RecordKind::Chunk if row.plain <= CONTENT_WHOLE_BYTES_MAX / 16 => {
                    self.content(&row.id, None, &[])?;
                }
                // It may be a part of a content that nothing names yet: it stays where it was.
                RecordKind::Chunk => self.chunk(&row.id, row.offset % BLOCK_BYTES)?,
                kind => self.node(kind, &row.id)?,
            }
        }
        self.seal()
    }

    /// Closes the pack if it is full. Called before a record's base is looked for, which is in the
    /// pack that is open.
    fn make_room(&mut self) -> Result<()> {
        let revisions = self.revisions.len();
        match &self.lane {
            Some(lane) if lane.is_full_with(revisions) => self.seal(),
            _ => Ok(()),
        }
    }

    fn lane(&mut self) -> Result<&mut Lane> {
        let lane = match self.lane.take() {
            Some(lane) => lane,
            None => Lane::new(self.backend)?,
        };
        Ok(self.lane.insert(lane))
    }

    fn add(&mut self, record: &NewRecord<'_>) -> Result<()> {
        self.lane()?.add(record)?;
        self.written(record.plain)
    }

    fn written(&mut self, plain: u64) -> Result<()> {
        (self.each)(plain)
    }

    /// Writes the revisions that wait, the oldest first, so that each refers to its parent.
    fn write_revisions(&mut self) -> Result<()> {
        let revisions = std::mem::take(&mut self.revisions);
        revisions.iter().rev().try_for_each(|id| self.node(RecordKind::Revision, id))
    }

    /// Makes a pack of what was written.
    fn seal(&mut self) -> Result<()> {
        self.write_revisions()?;
        let Some(lane) = self.lane.take() else { return Ok(()) };
        // Only what is in the same pack can be a base.
        self.likeness = Likeness::new(usize::MAX);
        self.last_at.clear();
        let sealed = lane.seal()?;
        self.backend.publish(sealed.spool, &pack::object_name(&sealed.id))?;
        self.packs.push(NewPack {
            id: sealed.id,
            length: sealed.length,
            table: sealed.table,
            rows: sealed.rows,
        });
        Ok(())
    }

    /// Returns what was written, once all is.
    pub(super) fn finish(mut self) -> Result<Vec<NewPack>> {
        self.rest()?;
        debug_assert!(self.open.is_empty());
        Ok(self.packs)
    }
}
