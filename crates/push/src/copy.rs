//! Copies revisions, and the ref entries that name them, to another store. Only what is missing
//! there is written.
//!
//! A copy is a push whose source is a store: records are read and proven, written to packs of the
//! target, listed, and named by a revision and by ref entries, in that order. So a copy that was
//! interrupted leaves a consistent store; run it again to continue. A record without a base is
//! copied as it is stored. The others are stored in a new way, since their bases may not be there.

use crate::entry::first_record;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{ChunkSource, NodeKind, NodeSource};
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, ExtentSource, Id, Result, Sha1, Watch};
use freestone_format::forgotten::TakenDown;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::ref_entry::RefEntry;
use freestone_format::ref_place::RefPlace;
use freestone_format::revision::Revision;
use freestone_manifest::content::{ContentRecord, distinct_pieces, visit_nodes};
use freestone_manifest::{EntryKind, Items, Node, Subtree};
use freestone_store::fence::Collections;
use freestone_store::index::merge::merge_tiers;
use freestone_store::read::records::missing;
use freestone_store::write::{ChunkOf, Writer, WriterOptions, live_set};
use freestone_store::{Records, Store, hints, open_manifest};
use std::collections::{BTreeMap, HashSet};

/// Ids that are remembered as being at the target. More are looked up again.
const SEEN_MAX: usize = 1 << 18;

/// The options of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Whether to write nothing.
    pub dry_run: bool,
}

/// What was copied, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Revisions that the target did not have.
    pub revisions: u64,
    /// Records that it did not have.
    pub records: u64,
    /// Bytes of these records as they are stored in the source.
    pub bytes: u64,
    /// Bytes that the target grew by: packs and segments. None in a dry run.
    pub bytes_stored: u64,
    /// Entries of refs that were made.
    pub ref_entries: u64,
}

/// A copy from one store to another, of any number of revisions and refs.
pub struct Copier<'a> {
    source: &'a Store,
    target: &'a Store,
    options: CopyOptions,
    /// Counts the plain bytes of chunks that were copied.
    watch: Watch<'a>,
    from: Records,
    /// The live set of the target.
    to: Records,
    /// The collections of the target before the live set was read. A collection that began later
    /// may have removed what is found there.
    collections: Collections,
    /// Contents that were taken down at the source.
    taken_down: BTreeMap<Id, Sha1>,
    /// Manifest nodes and contents that are at the target with everything below them.
    seen: HashSet<Id>,
    revisions: HashSet<Id>,
    copied: Copied,
}

impl<'a> Copier<'a> {
    /// Returns a copy from `source` to `target` that has copied nothing so far. `watch` counts the
    /// plain bytes of contents.
    ///
    /// # Errors
    /// The target cannot be written to, or an index cannot be read.
    pub fn new(
        source: &'a Store,
        target: &'a Store,
        options: CopyOptions,
        watch: Watch<'a>,
    ) -> Result<Self> {
        if !options.dry_run {
            target.check_writable()?;
        }
        let collections = Collections::list(&**target.backend())?;
        Ok(Self {
            taken_down: Collections::list(&**source.backend())?.taken_down,
            collections,
            source,
            target,
            options,
            watch,
            from: source.records()?,
            to: live_set(target)?,
            seen: HashSet::new(),
            revisions: HashSet::new(),
            copied: Copied::default(),
        })
    }

    /// Returns what was copied so far.
    pub fn copied(&self) -> Copied {
        self.copied
    }

    /// Copies a revision with everything that it needs, unless the target has it.
    ///
    /// # Errors
    /// Something of it is missing or damaged, the target cannot be written, or the watch was
    /// cancelled.
    pub fn revision(&mut self, id: &Id) -> Result<()> {
        // Where revisions were collected, one that is there may not be whole.
        let is_new = self.collections.are_none();
        if self.revisions.contains(id) || (is_new && self.target.revision(id)?.is_some()) {
            return Ok(());
        }
        let revision = self.source.revision(id)?;
        let revision =
            revision.ok_or_else(|| Error::not_found(format!("there is no revision {id}")))?;
        let options = WriterOptions { dry_run: self.options.dry_run, ..WriterOptions::default() };
        let writer = Writer::new(self.target, self.to.clone(), options);
        if let Err(error) = self.all_of(id, &revision, &writer) {
            return Err(self.of_a_collection(writer.failure(error)));
        }
        let written = writer.finish(Some(&revision));
        let bytes = written.map_err(|error| self.of_a_collection(error))?;
        if !self.options.dry_run {
            self.copied.bytes_stored += bytes;
        }
        self.revisions.insert(*id);
        self.copied.revisions += 1;
        Ok(())
    }

    fn all_of(&mut self, id: &Id, revision: &Revision, writer: &Writer) -> Result<()> {
        open_manifest(self.from.clone(), revision)?;
        self.node(&revision.root, None, writer)?;
        self.count(revision.encode().len() as u64);
        writer.put_revision(*id, revision)
    }

    /// Copies the entries of a ref that come after those of the target, up to entry `n`, with the
    /// revisions that they name. If the target does not have the ref, it begins with entry `n`
    /// there, so that `REF@N` means the same in both stores.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the target's ref is another one; or as [`Self::revision`].
    pub fn ref_entries(&mut self, name: &str, n: u64) -> Result<()> {
        let (source, target) = (self.source.refs(), self.target.refs());
        let entry = |n: u64| -> Result<RefEntry> {
            source.entry(name, n)?.ok_or_else(|| {
                Error::not_found(format!(
                    "ref {name} has no entry {n}, which {name}@{} names",
                    n + 1
                ))
            })
        };
        let conflict = || {
            Error::new(ErrorKind::Conflict, format!("ref {name} of the target is another ref"))
                .hint(format!(
                    "its entries do not continue the source's. Copy the revision by its id, and \
                     name it there: freestone -s TARGET ref set {name} ID"
                ))
        };
        let mut head = match self.options.dry_run {
            true => target.head(name)?.unwrap_or_else(RefPlace::unborn),
            false => target.begin(name)?,
        };
        let first = match &head.entry {
            None => n,
            Some(newest) => {
                // The target's newest entry must be an entry of this ref, too.
                if source.entry(name, newest.n)?.as_ref() != Some(newest) {
                    return Err(conflict());
                }
                newest.n + 1
            }
        };
        let backend = &**self.target.backend();
        if first <= n && !self.options.dry_run {
            // What is there may come from a copy that was killed before it was durable, or in a
            // hint.
            target.settle(None)?;
            hints::write_index(backend, &[]);
        }
        // The head was read after this copy began: a barrier that is there already makes no one look
        // again.
        let is_certain = self.options.dry_run || Collections::list(backend)? == self.collections;
        for n in first..=n {
            let entry = entry(n)?;
            let revision = entry.revision();
            if let Some(id) = &revision {
                self.revision(id)?;
            }
            self.copied.ref_entries += 1;
            if self.options.dry_run {
                continue;
            }
            let is_whole = || match &revision {
                Some(id) => self.target.check_all_of(id),
                None => Ok(()),
            };
            if !is_certain {
                is_whole().map_err(|error| self.of_a_collection(error))?;
            }
            let added = target.add(name, &head, entry.clone(), &mut { is_whole });
            added.map_err(|error| match error.kind() {
                ErrorKind::Conflict => conflict(),
                _ => self.of_a_collection(error),
            })?;
            // Its place may be later by now. Then the next entry finds its place taken, and looks
            // again.
            head = RefPlace::of_entry(head.place.saturating_add(1).max(entry.n), entry);
        }
        if !self.options.dry_run {
            // The places of such a copy need not be in a hint, either.
            hints::write_ref(backend, name, head.place, true);
        }
        Ok(())
    }

    /// Ends the copy, and returns what was copied. Merging segments is housekeeping: if it fails,
    /// later look-ups take longer, and that is all.
    pub fn finish(self) -> Copied {
        if self.copied.revisions > 0 && !self.options.dry_run {
            let _ = merge_tiers(&**self.target.backend(), &self.to.index);
        }
        self.target.refresh();
        self.copied
    }

    /// Returns the error to report for `error`: what is missing may be what a collection has removed
    /// from the target since the copy began.
    fn of_a_collection(&self, error: Error) -> Error {
        let now = Collections::list(&**self.target.backend());
        if !error.is_damage() || now.is_ok_and(|now| now == self.collections) {
            return error;
        }
        Error::new(
            ErrorKind::Conflict,
            "a collection has removed what this copy found at the target",
        )
        .because(error)
        .hint("run the command again: it copies that, too")
    }

    fn count(&mut self, stored: u64) {
        self.copied.records += 1;
        self.copied.bytes += stored;
    }

    fn note_seen(&mut self, id: Id) {
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        self.seen.insert(id);
    }

    /// Copies a manifest node, after everything below it. `said` is its level and what its parent
    /// says of it.
    fn node(&mut self, id: &Id, said: Option<(u8, &Subtree)>, writer: &Writer) -> Result<()> {
        if self.seen.contains(id) {
            return Ok(());
        }
        self.watch.check()?;
        let bytes = self.from.node(NodeKind::Manifest, id)?;
        let node = Node::decode_below(&bytes, id, said)?;
        match &node.items {
            Items::Children(children) => {
                for child in children {
                    self.node(&child.id, Some((node.level, child)), writer)?;
                }
            }
            Items::Entries(entries) => {
                for entry in entries {
                    if let EntryKind::File { size, sha1, content, .. } = &entry.kind {
                        self.content(content, *size, sha1, writer)?;
                    }
                }
            }
        }
        self.put(RecordKind::ManifestNode, id, &bytes, writer)?;
        self.note_seen(*id);
        Ok(())
    }

    /// Copies a node of a manifest or of a content.
    fn put(&mut self, kind: RecordKind, id: &Id, bytes: &[u8], writer: &Writer) -> Result<()> {
        if writer.has(kind, id)? {
            return Ok(());
        }
        let stored = self.from.places(kind, id)?.first().map_or(0, |place| place.row.stored);
        self.count(stored);
        writer.put_node(kind, *id, bytes, &mut || Ok(None))
    }

    fn content(&mut self, id: &Id, size: u64, sha1: &Sha1, writer: &Writer) -> Result<()> {
        if self.seen.contains(id) || self.collections.taken_down.contains_key(id) {
            return Ok(());
        }
        self.watch.check()?;
        let kind = first_record(size);
        if self.taken_down.contains_key(id) && !writer.has(kind, id)? {
            // The source has no more than that. At the target, too, it is no damage.
            return self.take_down(TakenDown { content: *id, sha1: *sha1 });
        }
        if size <= CONTENT_WHOLE_BYTES_MAX {
            self.chunk(id, size, ChunkOf::Content(*sha1), writer)?;
        } else if !writer.has(RecordKind::ContentRecord, id)? {
            self.large(id, size, sha1, writer)?;
        }
        self.note_seen(*id);
        Ok(())
    }

    fn take_down(&mut self, content: TakenDown) -> Result<()> {
        if !self.options.dry_run {
            self.target.backend().create(&content.object_name(), b"")?;
            self.collections.taken_down.insert(content.content, content.sha1);
        }
        Ok(())
    }

    /// Copies a content that has a record: its chunks, its nodes, its record.
    fn large(&mut self, id: &Id, size: u64, sha1: &Sha1, writer: &Writer) -> Result<()> {
        let from = self.from.clone();
        let record = ContentRecord::read(&from, id)?;
        distinct_pieces(&from, id, size, Some(sha1), &mut |piece| match piece.source {
            ExtentSource::Chunk(chunk) => {
                self.chunk(&chunk, piece.length, ChunkOf::Larger(piece.offset), writer)
            }
            _ => Ok(()),
        })?;
        visit_nodes(&from, id, &mut |kind, node| {
            if kind == NodeKind::Content {
                let bytes = from.node(kind, node)?;
                self.put(RecordKind::ContentNode, node, &bytes, writer)?;
            }
            Ok(true)
        })?;
        self.count(record.encode().len() as u64);
        if writer.only_counts(RecordKind::ContentRecord, *id, 0) {
            return Ok(());
        }
        writer.put_copied_record(*id, &record)
    }

    fn chunk(&mut self, id: &Id, length: u64, of: ChunkOf, writer: &Writer) -> Result<()> {
        let kind = RecordKind::Chunk;
        if writer.has(kind, id)? {
            return Ok(());
        }
        self.watch.check()?;
        let place = self.from.places(kind, id)?.into_iter().next();
        let place = place.ok_or_else(|| missing(kind, id))?;
        self.count(place.row.stored);
        if writer.only_counts(kind, *id, length) {
            return Ok(());
        }
        let (mut plain, mut stored) = (Vec::new(), Vec::new());
        self.from.chunk_in(id, length, &mut plain)?;
        // A frame is shorter than what it holds; what the index says is not proven.
        if place.row.codec == Codec::Zstd && place.row.stored < length {
            stored.resize(to_usize(place.row.stored), 0);
            let read = self.from.packs.open(&place.pack)?.read_at(place.row.offset, &mut stored);
            if read.is_err() {
                // The chunk was read from another place.
                stored.clear();
            }
        }
        writer.put_copied_chunk(*id, &plain, (place.row.codec, &stored), of)?;
        self.watch.add(length);
        Ok(())
    }
}
