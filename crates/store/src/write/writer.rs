//! The writer of one push: records go into packs and packs into segments, each durable before the
//! next.
//!
//! Records go into *lanes*, packs in the making: one that all threads share, and one for each
//! thread that writes a content too large to be written at once, so that its chunks are adjacent.
//! Full packs go through one thread, which makes them durable in the order in which they were
//! sealed and lists them in segments. A record that others depend on counts as known only if it is
//! in a live pack, in a pack sealed before, or in the same lane. So after any crash, a content that
//! is listed has all its chunks. Manifest nodes are different: a listed node says nothing of the
//! contents that it names, and counts only as a part of a complete revision. So a push looks up
//! each content by itself.
//!
//! A dry run has a writer too. It looks up the same things and finds the same errors, but its lanes
//! stay empty: see [`Writer::only_counts`].

use super::bases;
use super::encoding::Effort;
use super::fresh::{Fresh, Written, collision};
use super::lane::Lane;
use super::likeness::Likeness;
use super::new_record::NewRecord;
use super::own_lane::{OwnLane, SEALED, SHARED};
use super::predecessors::Predecessors;
use super::sealer::{Sealer, Sealing, sealer_gone};
use crate::hints;
use crate::index::Index;
use crate::read::PROVEN_BYTES_MAX;
use crate::read::records::Records;
use crate::revisions;
use crate::store::Store;
use freestone_backend::Backend;
use freestone_core::digest::{NewNameHasher, sha1_hasher};
use freestone_core::{Error, Id, Result, Sha1, lock};
use freestone_format::record::RecordKind;
use freestone_format::revision::Revision;
use freestone_format::segment;
use freestone_manifest::content::ContentRecord;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Contents whose SHA-1 is listed at the end, although their chunk was there before. More are
/// stored again instead.
const UNNAMED_MAX: usize = 1 << 16;
/// Contents that a long series remembers as possible bases: as many as a pack has records, since
/// only records of the same pack are used.
const LIKENESS_MAX: usize = 1 << 15;
/// Records that a dry run remembers, about 50 bytes each. It counts a record twice if it has
/// forgotten it.
const COUNTED_MAX: usize = 1 << 16;

/// How a [`Writer`] writes.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Write nothing, and only count what would be written.
    pub dry_run: bool,
    /// Spend about ten times as much time to make records small, for a long series of revisions.
    pub thorough: bool,
    /// Returns the hasher that names contents; only tests use another one than SHA-1.
    pub name_hasher: NewNameHasher,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { dry_run: false, thorough: false, name_hasher: sha1_hasher }
    }
}

/// Lists the live set of a push: the records that count as present from its beginning to its end.
///
/// # Errors
/// The index cannot be listed, or a segment is damaged.
pub fn live_set(store: &Store) -> Result<Records> {
    let index = Arc::new(Index::open_to_add(&**store.backend())?);
    Ok(Records { index, packs: store.packs().clone() })
}

/// The writer of one push.
pub struct Writer {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) records: Records,
    pub(super) options: WriterOptions,
    /// The contents of a long series, by their first bytes.
    pub(super) likeness: Mutex<Likeness<[u8; 4]>>,
    pub(super) shared: Mutex<Option<Lane>>,
    fresh: Arc<Mutex<Fresh>>,
    predecessors: Mutex<Predecessors>,
    written: Arc<Written>,
    /// The thread that full packs go through; none in a dry run.
    sealing: Option<Sealing>,
}

impl Writer {
    /// Returns a writer to `store`. `records` is the live set of the push: a record that it does
    /// not list is written.
    pub fn new(store: &Store, records: Records, options: WriterOptions) -> Self {
        let backend = store.backend().clone();
        let (fresh, written) = (Arc::default(), Arc::default());
        let sealer = || {
            let (backend, records) = (backend.clone(), records.clone());
            let (fresh, written) = (Arc::clone(&fresh), Arc::clone(&written));
            Sealer::new(backend, records, fresh, written, options.thorough)
        };
        let sealing = (!options.dry_run).then(|| Sealing::begin(sealer));
        Self {
            backend,
            records,
            options,
            likeness: Mutex::new(Likeness::new(LIKENESS_MAX)),
            shared: Mutex::new(None),
            fresh,
            predecessors: Mutex::default(),
            written,
            sealing,
        }
    }

    /// Returns the live set that the writer compares with.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Returns how many records were written so far, or counted in a dry run.
    pub fn record_count(&self) -> u64 {
        self.written.records.load(Ordering::Relaxed)
    }

    pub(super) fn effort(&self) -> Effort {
        if self.options.thorough { Effort::Series } else { Effort::Push }
    }

    /// Returns true if a record is there for one that depends on it and goes to `lane`.
    pub(super) fn is_known(&self, kind: RecordKind, id: &Id, lane: u8) -> Result<bool> {
        Ok(self.is_fresh(kind, id, lane) || self.records.has(kind, id)?)
    }

    fn is_fresh(&self, kind: RecordKind, id: &Id, lane: u8) -> bool {
        lock(&self.fresh).records.get(&(kind, *id)).is_some_and(|at| *at == lane || *at == SEALED)
    }

    /// In a dry run, counts a record of `length` plain bytes that would be written, and returns
    /// true: its bytes are not needed. Returns false if this is not a dry run.
    pub fn only_counts(&self, kind: RecordKind, id: Id, length: u64) -> bool {
        if self.options.dry_run {
            let mut fresh = lock(&self.fresh);
            if fresh.records.len() >= COUNTED_MAX {
                *fresh = Fresh::default();
            }
            if fresh.records.insert((kind, id), SEALED).is_none() {
                self.written.records.fetch_add(1, Ordering::Relaxed);
                self.written.bytes.fetch_add(length, Ordering::Relaxed);
            }
        }
        self.options.dry_run
    }

    /// Refuses a content that was taken down, and a SHA-1 that already names another content than
    /// `content`, whose plain BLAKE3 is `plain`. Returns true if it already names this content.
    pub(super) fn check_sha1(&self, sha1: &Sha1, plain: &Id, content: &Id) -> Result<bool> {
        self.records.index.check_content(content)?;
        let fresh = lock(&self.fresh).sha1s.get(sha1).copied();
        if let Some(known) = fresh {
            return if known == *plain { Ok(true) } else { Err(collision(sha1, &known, plain)) };
        }
        let mut is_named = false;
        for place in self.records.index.find_sha1(sha1)? {
            if place.row.prefix == segment::prefix(&content.0)
                && self.records.packs.holds(&place, content)?
            {
                is_named |= self.records.index.may_rely(&place)?;
                continue;
            }
            // The first bytes of the SHA-1 are equal; most likely the others are not.
            let bytes = self.records.decode(&place)?;
            let (known, name) = match place.row.kind {
                RecordKind::ContentRecord => {
                    let record = ContentRecord::decode(&bytes)?;
                    let is_other = record.sha1 == *sha1 && record.blake3 != *plain;
                    // A record that says it falsely must not keep the true content out.
                    if !is_other || !self.has_its_sha1(&bytes, &record)? {
                        continue;
                    }
                    (record.blake3, record.sha1)
                }
                _ => {
                    let mut hasher = (self.options.name_hasher)();
                    hasher.update(&bytes);
                    (freestone_core::digest::plain(&bytes), hasher.finish())
                }
            };
            if name == *sha1 && known != *plain {
                return Err(collision(sha1, &known, plain));
            }
        }
        Ok(is_named)
    }

    /// Returns true if a large content has the SHA-1 that its record says. One that is too long to be
    /// read for that is believed.
    fn has_its_sha1(&self, bytes: &[u8], record: &ContentRecord) -> Result<bool> {
        let Some(id) = RecordKind::ContentRecord.id_of(bytes) else { return Ok(false) };
        if record.length > PROVEN_BYTES_MAX {
            return Ok(true);
        }
        let mut hasher = (self.options.name_hasher)();
        let read = self.records.read_content(&id, record.length, None, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        });
        match read {
            Ok(()) => Ok(hasher.finish() == record.sha1),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the SHA-1 of a small content listed that is there as a chunk of a large one. Returns
    /// false if there are too many: then the content must be stored by itself.
    pub(super) fn name(&self, id: Id, sha1: Sha1) -> Result<bool> {
        let mut fresh = lock(&self.fresh);
        if fresh.unnamed.len() >= UNNAMED_MAX {
            return Ok(false);
        }
        fresh.name(sha1, id)?;
        fresh.unnamed.push((id, sha1));
        Ok(true)
    }

    /// Writes records to the lane that all threads share.
    pub(super) fn add_shared(&self, records: &[NewRecord<'_>]) -> Result<()> {
        self.add_to(&mut lock(&self.shared), SHARED, records)
    }

    /// Writes a record that may have a base to the lane that all threads share. Returns false if
    /// the lane was sealed since the base was chosen, so that the base is in another pack.
    pub(super) fn add_over(&self, record: &NewRecord<'_>) -> Result<bool> {
        let mut shared = lock(&self.shared);
        if !self.lane(&mut shared)?.takes(record.base.as_ref()) {
            return Ok(false);
        }
        self.add_to(&mut shared, SHARED, std::slice::from_ref(record))?;
        Ok(true)
    }

    /// Writes records to a thread's own lane. Those that it has already are skipped.
    pub(super) fn add_own(&self, own: &mut OwnLane, records: &[NewRecord<'_>]) -> Result<()> {
        self.add_to(&mut own.lane, own.number, records)
    }

    fn add_to(&self, lane: &mut Option<Lane>, number: u8, records: &[NewRecord<'_>]) -> Result<()> {
        for record in records {
            if !self.enter(record.kind, record.id, record.sha1, number)? {
                continue;
            }
            self.lane(lane)?.add(record)?;
            self.seal_if_full(lane)?;
        }
        Ok(())
    }

    /// Writes a node or a content record to a thread's own lane, next to others.
    pub(super) fn hold_own(
        &self,
        own: &mut OwnLane,
        record: (RecordKind, Id, &[u8]),
        sha1: Option<(Sha1, Id)>,
    ) -> Result<()> {
        self.hold(&mut own.lane, own.number, record, sha1, None)
    }

    /// Writes the record of a content whose chunks went to the lane that all threads share.
    pub(super) fn hold_shared(
        &self,
        record: (RecordKind, Id, &[u8]),
        sha1: Option<(Sha1, Id)>,
    ) -> Result<()> {
        self.hold(&mut lock(&self.shared), SHARED, record, sha1, None)
    }

    fn hold(
        &self,
        lane: &mut Option<Lane>,
        number: u8,
        record: (RecordKind, Id, &[u8]),
        sha1: Option<(Sha1, Id)>,
        basis: Option<bases::Basis>,
    ) -> Result<()> {
        if self.enter(record.0, record.1, sha1, number)? {
            let effort = if sha1.is_some() { Effort::Push } else { self.effort() };
            self.lane(lane)?.hold_node(record, sha1, basis, effort)?;
            self.seal_if_full(lane)?;
        }
        Ok(())
    }

    /// Writes a node or a revision, unless the store has it. Its base is the node that this push
    /// wrote last at the same position, or the one that `before` returns, which an earlier push
    /// wrote.
    ///
    /// # Errors
    /// The base cannot be read, or writing failed.
    pub fn put_node(
        &self,
        kind: RecordKind,
        id: Id,
        plain: &[u8],
        before: &mut dyn FnMut() -> Result<Option<Id>>,
    ) -> Result<()> {
        let is_known = self.is_known(kind, &id, SHARED)?;
        let own = lock(&self.predecessors).replace(kind, plain, id);
        // The bytes that a dry run reports are those of contents.
        if is_known || self.only_counts(kind, id, 0) {
            return Ok(());
        }
        let mut shared = lock(&self.shared);
        let packs = &self.records.packs;
        let mut basis = None;
        if let (Some(own), Some(lane)) = (own, &*shared) {
            basis = lane.basis(kind, &own, bases::NODE_DEPTH_MAX, packs)?;
        }
        if basis.is_none()
            && let Some(before) = if own.is_some() { own } else { before()? }
        {
            basis = bases::listed(&self.records, kind, &before)?;
        }
        self.hold(&mut shared, SHARED, (kind, id, plain), None, basis)
    }

    /// Writes a revision. It is listed by its commit, if it has one.
    ///
    /// # Errors
    /// As [`Self::put_node`].
    pub fn put_revision(&self, id: Id, revision: &Revision) -> Result<()> {
        if let Some(commit) = revision.commit_prefix() {
            lock(&self.fresh).commits.insert(id, commit);
        }
        let parent = revision.parents.first().copied();
        self.put_node(RecordKind::Revision, id, &revision.encode(), &mut || Ok(parent))
    }

    /// Enters a record that is to go to `lane`. Returns false if it is there already, or in a
    /// sealed pack. A record in another lane, which may never become durable, is written again.
    fn enter(&self, kind: RecordKind, id: Id, sha1: Option<(Sha1, Id)>, lane: u8) -> Result<bool> {
        let mut fresh = lock(&self.fresh);
        if let Some((sha1, plain)) = sha1 {
            fresh.name(sha1, plain)?;
        }
        match fresh.records.get(&(kind, id)) {
            Some(at) if *at == SEALED || *at == lane => Ok(false),
            _ => {
                fresh.records.insert((kind, id), lane);
                self.written.records.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
        }
    }

    fn lane<'a>(&self, lane: &'a mut Option<Lane>) -> Result<&'a mut Lane> {
        match lane {
            Some(lane) => Ok(lane),
            None => Ok(lane.insert(Lane::new(&self.backend)?)),
        }
    }

    fn seal_if_full(&self, lane: &mut Option<Lane>) -> Result<()> {
        match lane {
            Some(open) if open.is_full() => self.seal_lane(lane),
            _ => Ok(()),
        }
    }

    /// Closes the pack of a thread's own lane, if it has one, and has it made durable.
    ///
    /// # Errors
    /// Writing failed.
    pub fn seal(&self, own: &mut OwnLane) -> Result<()> {
        self.seal_lane(&mut own.lane)
    }

    fn seal_lane(&self, lane: &mut Option<Lane>) -> Result<()> {
        let Some(lane) = lane.take() else { return Ok(()) };
        let sealed = lane.seal()?;
        let ids: Vec<(RecordKind, Id)> = sealed.rows.iter().map(|row| (row.kind, row.id)).collect();
        if let Some(sealing) = &self.sealing {
            sealing.take(sealed)?;
        }
        let mut fresh = lock(&self.fresh);
        for id in ids {
            if let Some(at) = fresh.records.get_mut(&id) {
                *at = SEALED;
            }
        }
        Ok(())
    }

    /// Makes durable and lists everything that was written; then creates the file of `revision`,
    /// and says in the hint of the index what is listed. Returns the bytes of the packs and
    /// segments, or in a dry run the plain bytes of the contents that the store does not have.
    ///
    /// # Errors
    /// Writing failed. Then the packs that are durable stay, and are listed if possible.
    pub fn finish(mut self, revision: Option<&Revision>) -> Result<u64> {
        if !self.options.dry_run {
            let outcome = {
                let mut shared = lock(&self.shared);
                self.seal_lane(&mut shared)
            };
            let mut sealer = self.sealing.take().ok_or_else(sealer_gone)?.end()?;
            outcome?;
            sealer.flush()?;
            sealer.list_unnamed()?;
            if let Some(revision) = revision {
                revisions::write_file(&*self.backend, revision, sealer.locator())?;
            }
            hints::write_index(&*self.backend, &[]);
        }
        Ok(self.written.bytes.load(Ordering::Relaxed))
    }

    /// Gives up after `error`, and returns what failed: the cause, if a write failed because the
    /// sealing thread had.
    #[must_use]
    pub fn failure(mut self, error: Error) -> Error {
        self.give_up().unwrap_or(error)
    }

    /// Ends the sealing thread. The packs that it has published are listed all the same, so that
    /// the next push finds what this one stored. If that fails, it costs only space.
    fn give_up(&mut self) -> Option<Error> {
        match self.sealing.take()?.end() {
            Ok(mut sealer) => {
                let _ = sealer.flush();
                None
            }
            Err(cause) => Some(cause),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.give_up();
    }
}
