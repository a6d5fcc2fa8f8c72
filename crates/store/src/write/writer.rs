//! Writing to a store: records into packs, packs into segments, each durable before the next.
//!
//! Records go into *lanes*, packs in the making: one that all threads share, and one for each
//! thread that writes a content too large to be written in one go, so that its chunks lie
//! adjacent. Full packs go through one thread, which makes them durable in the order in which
//! they were sealed and lists them in segments. A record that others lean on is taken for known
//! only if it is in a live pack, in a pack sealed before, or in the same lane: so whatever a
//! crash leaves, a content that is listed has all its chunks. Manifest nodes are different: a node
//! that is listed says nothing of the contents that it names, and counts only as part of a
//! complete revision; so a push looks for each content by itself.

use crate::read::records::Records;
use crate::write::bases::{self, Basis};
use crate::write::encoding::{self, Encoded};
use crate::write::fresh::{Fresh, Written};
use crate::write::lane::{Lane, NewRecord, Sealed};
use crate::write::sealer::Sealer;
use crate::write::similar::{Similar, Sketch};
use freestone_backend::Backend;
use freestone_core::digest::NewNameHasher;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, lock};
use freestone_format::record::RecordKind;
use freestone_format::revision::Revision;
use freestone_format::segment::{self, SegmentParts};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

pub use freestone_format::revision::PackRange;

/// Contents whose SHA-1s are listed behind all else; what is more is stored again, and listed with
/// that. It bounds what is held of them.
const UNNAMED_MAX: usize = 1 << 16;

/// Nodes that are remembered to be bases of their next versions: about 50 bytes each.
const PREDECESSORS_MAX: usize = 1 << 16;

/// Contents that are tried as a base of one because they have much in common, in a long series.
const SIMILAR_TRIED: usize = 2;

/// Contents that are remembered for that, about 600 bytes each: as many as a pack has records, since
/// only what is in the same pack can be a base.
const SIMILAR_MAX: usize = 1 << 15;

/// Contents that are tried because they begin alike, where nothing else is.
const LIKE_TRIED: usize = 3;

/// The number of the lane that all threads share; a thread's own has its number plus one.
pub const SHARED: u8 = 0;
/// The number of no lane: only what is sealed counts as there.
pub const NO_LANE: u8 = u8::MAX - 1;
const SEALED: u8 = u8::MAX;

/// The node that was written last of those that begin at the same path, and the last revision: what
/// comes next is most like it.
#[derive(Default)]
struct Predecessors(HashMap<u64, Id>);

impl Predecessors {
    /// Puts a record in the place of the one before it, and gives that.
    fn replace(&mut self, kind: RecordKind, plain: &[u8], id: Id) -> Option<Id> {
        if self.0.len() >= PREDECESSORS_MAX {
            self.0.clear();
        }
        let mut key = vec![kind.number()];
        match kind {
            RecordKind::ManifestNode => {
                let (level, first) = freestone_manifest::node_position(plain)?;
                key.push(level);
                key.extend_from_slice(&first);
            }
            RecordKind::Revision => {}
            _ => return None,
        }
        self.0.insert(freestone_core::digest::plain(&key).head(), id)
    }
}

/// Writes the records of one push.
pub struct Session {
    backend: Arc<dyn Backend>,
    records: Records,
    name_hasher: NewNameHasher,
    /// Whether what is written is made as small as it gets.
    thorough: bool,
    similar: Mutex<Similar>,
    /// The last contents that begin alike.
    like: Mutex<HashMap<[u8; 4], VecDeque<Id>>>,
    fresh: Arc<Mutex<Fresh>>,
    shared: Mutex<Option<Lane>>,
    predecessors: Mutex<Predecessors>,
    written: Arc<Written>,
    sealer: Option<(mpsc::SyncSender<Sealed>, JoinHandle<Result<Sealer>>)>,
}

/// What a finished session leaves to be named.
pub struct Finished {
    /// The ranges of packs that hold the nodes written.
    pub locator: Vec<PackRange>,
}

impl Session {
    pub fn new(
        backend: Arc<dyn Backend>,
        records: Records,
        name_hasher: NewNameHasher,
        thorough: bool,
    ) -> Self {
        Self {
            backend,
            records,
            name_hasher,
            thorough,
            similar: Mutex::default(),
            like: Mutex::default(),
            fresh: Arc::default(),
            shared: Mutex::new(None),
            predecessors: Mutex::default(),
            written: Arc::default(),
            sealer: None,
        }
        .with_sealer()
    }

    fn with_sealer(mut self) -> Self {
        // One pack waits while one is made durable; then who seals waits.
        let (sender, receiver) = mpsc::sync_channel(1);
        let state = Sealer {
            backend: self.backend.clone(),
            records: self.records.clone(),
            fresh: self.fresh.clone(),
            written: self.written.clone(),
            thorough: self.thorough,
            parts: SegmentParts::default(),
            listed: Vec::new(),
            leaned_on: HashSet::new(),
            locator: Vec::new(),
        };
        let thread = std::thread::spawn(move || state.run(&receiver));
        self.sealer = Some((sender, thread));
        self
    }

    /// What was written so far, also after the session is finished.
    pub fn counter(&self) -> Arc<Written> {
        self.written.clone()
    }

    /// Whether a record is there for one that leans on it and goes to `lane`.
    pub fn is_known(&self, kind: RecordKind, id: &Id, lane: u8) -> Result<bool> {
        Ok(self.is_fresh(kind, id, lane) || self.records.has(kind, id)?)
    }

    fn is_fresh(&self, kind: RecordKind, id: &Id, lane: u8) -> bool {
        lock(&self.fresh).records.get(&(kind, *id)).is_some_and(|at| *at == lane || *at == SEALED)
    }

    /// Refuses a SHA-1 that already names another content than `content`, whose plain BLAKE3 is
    /// `plain`; says whether it names this one.
    pub fn check_sha1(&self, sha1: &Sha1, plain: &Id, content: &Id) -> Result<bool> {
        let fresh = lock(&self.fresh).sha1s.get(sha1).copied();
        if let Some(known) = fresh {
            return if known == *plain { Ok(true) } else { Err(collision(sha1, &known, plain)) };
        }
        let mut is_named = false;
        for place in self.records.index.find_sha1(sha1)? {
            if place.row.prefix == segment::prefix(&content.0)
                && self.records.packs.holds(&place, content)?
            {
                is_named = true;
                continue;
            }
            // The first bytes of the SHA-1 agree; most likely that is all.
            let bytes = self.records.decode(&place)?;
            let (known, name) = match place.row.kind {
                RecordKind::ContentRecord => {
                    let record = freestone_manifest::content::ContentRecord::decode(&bytes)?;
                    (record.blake3, record.sha1)
                }
                _ => {
                    let mut hasher = (self.name_hasher)();
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

    /// Has the SHA-1 of a small content listed that is there as a chunk of a large one; false if
    /// that cannot be, so that it has to be stored by itself.
    pub fn name(&self, id: Id, sha1: Sha1) -> Result<bool> {
        let mut fresh = lock(&self.fresh);
        if fresh.unnamed.len() >= UNNAMED_MAX {
            return Ok(false);
        }
        let known = *fresh.sha1s.entry(sha1).or_insert(id);
        if known != id {
            return Err(collision(&sha1, &known, &id));
        }
        fresh.unnamed.push((id, sha1));
        Ok(true)
    }

    /// Writes records to the lane that all share.
    pub fn add_shared(&self, records: &[NewRecord<'_>]) -> Result<()> {
        self.add_to(&mut lock(&self.shared), SHARED, records)
    }

    /// Writes a record that has a base to the lane that all share; false if that was sealed since
    /// the base was chosen, so that it lies in another pack now.
    pub fn add_over(&self, record: &NewRecord<'_>) -> Result<bool> {
        let mut shared = lock(&self.shared);
        if !self.lane(&mut shared)?.takes(record.base.as_ref()) {
            return Ok(false);
        }
        self.add_to(&mut shared, SHARED, std::slice::from_ref(record))?;
        Ok(true)
    }

    /// What a new version of the content `id`, which is one chunk, may have as its base.
    pub fn basis(&self, id: &Id) -> Result<Option<Basis>> {
        let kind = RecordKind::Chunk;
        if let Some(lane) = &*lock(&self.shared)
            && let Some(basis) =
                lane.basis(kind, id, bases::CONTENT_DEPTH_MAX, &self.records.packs)?
        {
            return Ok(Some(basis));
        }
        bases::listed(&self.records, kind, id)
    }

    /// What a content of a long series may have as its base: what was at its path before, and what has
    /// most in common with it of what came before it.
    pub fn bases(&self, before: Option<&Id>, sketch: &Sketch, is_text: bool) -> Result<Vec<Basis>> {
        let mut found: Vec<Basis> = match before {
            Some(before) => self.basis(before)?.into_iter().collect(),
            None => Vec::new(),
        };
        let similar = lock(&self.similar).best(sketch, SIMILAR_TRIED);
        let like = lock(&self.like).get(&sketch.beginning()).cloned().unwrap_or_default();
        if let Some(lane) = &*lock(&self.shared) {
            let (kind, depth) = (RecordKind::Chunk, bases::CONTENT_DEPTH_MAX);
            for id in similar.iter().filter(|id| before != Some(id)) {
                found.extend(lane.basis(kind, id, depth, &self.records.packs)?);
            }
            if found.is_empty() && is_text {
                // It begins a chain of its own, which others are not to lengthen.
                for id in &like {
                    found.extend(lane.first(kind, id, &self.records.packs)?);
                }
            }
        }
        Ok(found)
    }

    /// Remembers a content that was written, to be the base of others.
    pub fn remember(&self, id: Id, sketch: &Sketch) {
        let mut similar = lock(&self.similar);
        if similar.count() >= SIMILAR_MAX {
            *similar = Similar::default();
            lock(&self.like).clear();
        }
        similar.add(id, sketch);
        let mut like = lock(&self.like);
        let last = like.entry(sketch.beginning()).or_default();
        last.push_back(id);
        if last.len() > LIKE_TRIED {
            last.pop_front();
        }
    }

    /// Whether what is written is made as small as it gets.
    pub fn is_thorough(&self) -> bool {
        self.thorough
    }

    /// Writes records to a lane; those that it has already are passed over.
    pub fn add_to(
        &self,
        lane: &mut Option<Lane>,
        number: u8,
        records: &[NewRecord<'_>],
    ) -> Result<()> {
        for record in records {
            if !self.enter(record.kind, record.id, record.sha1, number)? {
                continue;
            }
            self.lane(lane)?.add(record)?;
            self.seal_if_full(lane)?;
        }
        Ok(())
    }

    /// Writes a node to a lane, to lie with others.
    pub fn hold_in(
        &self,
        lane: &mut Option<Lane>,
        number: u8,
        kind: RecordKind,
        id: Id,
        plain: &[u8],
        sha1: Option<(Sha1, Id)>,
    ) -> Result<()> {
        self.hold_over(lane, number, (kind, id, plain), sha1, None)
    }

    fn hold_over(
        &self,
        lane: &mut Option<Lane>,
        number: u8,
        (kind, id, plain): (RecordKind, Id, &[u8]),
        sha1: Option<(Sha1, Id)>,
        basis: Option<Basis>,
    ) -> Result<()> {
        if self.thorough && sha1.is_none() {
            if self.enter(kind, id, None, number)? {
                self.lane(lane)?.hold_best(kind, id, plain, basis, encoding::NODE_LEVEL)?;
                self.seal_if_full(lane)?;
            }
            return Ok(());
        }
        let alone = || encoding::encode(plain);
        let Encoded { codec, stored } = match &basis {
            Some(basis) => encoding::encode_over(plain, basis, alone)?,
            None => alone()?,
        };
        if self.enter(kind, id, sha1, number)? {
            let base = encoding::base_of(codec, basis);
            let plain = plain.len() as u64;
            let record = NewRecord {
                kind,
                id,
                codec,
                stored: &stored,
                plain,
                content_offset: None,
                sha1,
                base,
            };
            self.lane(lane)?.hold(&record)?;
            self.seal_if_full(lane)?;
        }
        Ok(())
    }

    /// Writes a node or a revision to the lane that all share, unless the store has it.
    pub fn put_node(&self, kind: RecordKind, id: Id, plain: &[u8]) -> Result<()> {
        self.put_node_over(kind, id, plain, &mut || Ok(None))
    }

    /// The same; what `before` gives was there before it, in an earlier push. What this one wrote
    /// of the same node is nearer, and known here.
    pub fn put_node_over(
        &self,
        kind: RecordKind,
        id: Id,
        plain: &[u8],
        before: &mut dyn FnMut() -> Result<Option<Id>>,
    ) -> Result<()> {
        let known = self.is_known(kind, &id, SHARED)?;
        let own = lock(&self.predecessors).replace(kind, plain, id);
        if known {
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
        self.hold_over(&mut shared, SHARED, (kind, id, plain), None, basis)
    }

    /// Writes a revision, whose parent is `parent`; it is listed by its commit, if it has one.
    pub fn put_revision(&self, id: Id, revision: &Revision) -> Result<()> {
        if let Some(commit) = revision.commit_prefix() {
            lock(&self.fresh).commits.insert(id, commit);
        }
        let parent = revision.parents.first().copied();
        self.put_node_over(RecordKind::Revision, id, &revision.encode(), &mut || Ok(parent))
    }

    /// Writes the record of a content whose chunks went to the lane that all share.
    pub fn put_content_record(&self, id: Id, plain: &[u8], sha1: (Sha1, Id)) -> Result<()> {
        let kind = RecordKind::ContentRecord;
        self.hold_in(&mut lock(&self.shared), SHARED, kind, id, plain, Some(sha1))
    }

    /// Enters a record that is to go to `lane`; false if it is there already, or in a sealed
    /// pack. One that is in another lane, which may never become durable, is written again.
    fn enter(&self, kind: RecordKind, id: Id, sha1: Option<(Sha1, Id)>, lane: u8) -> Result<bool> {
        let mut fresh = lock(&self.fresh);
        if let Some((sha1, plain)) = sha1 {
            let known = *fresh.sha1s.entry(sha1).or_insert(plain);
            if known != plain {
                return Err(collision(&sha1, &known, &plain));
            }
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
            Some(open) if open.is_full() => self.seal(lane),
            _ => Ok(()),
        }
    }

    /// Closes a lane's pack, if it has one, and has it made durable.
    pub fn seal(&self, lane: &mut Option<Lane>) -> Result<()> {
        let Some(lane) = lane.take() else { return Ok(()) };
        let sealed = lane.seal()?;
        let ids: Vec<(RecordKind, Id)> = sealed.rows.iter().map(|row| (row.kind, row.id)).collect();
        if let Some((sender, _)) = &self.sealer {
            // If the thread is gone, it failed; what failed is told by `finish`.
            sender.send(sealed).map_err(|_| sealer_gone())?;
        }
        let mut fresh = lock(&self.fresh);
        for id in ids {
            if let Some(at) = fresh.records.get_mut(&id) {
                *at = SEALED;
            }
        }
        Ok(())
    }

    /// Makes durable and lists all that was written.
    pub fn finish(mut self) -> Result<Finished> {
        let outcome = {
            let mut shared = lock(&self.shared);
            self.seal(&mut shared)
        };
        let Some((sender, thread)) = self.sealer.take() else {
            return Err(sealer_gone());
        };
        drop(sender);
        let mut state = thread.join().map_err(|_| sealer_gone())??;
        outcome?;
        state.flush()?;
        state.list_unnamed()?;
        Ok(Finished { locator: state.locator })
    }

    /// Gives up; tells what failed, where a write failed because the sealing thread was gone.
    pub fn failure(mut self, error: Error) -> Error {
        self.give_up().unwrap_or(error)
    }

    /// Ends the sealing thread. The packs that it has published are listed all the same, so that
    /// the next push finds what this one stored; what fails about that costs space only.
    fn give_up(&mut self) -> Option<Error> {
        let (sender, thread) = self.sealer.take()?;
        drop(sender);
        match thread.join() {
            Ok(Ok(mut state)) => {
                let _ = state.flush();
                None
            }
            Ok(Err(cause)) => Some(cause),
            Err(_) => None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn sealer_gone() -> Error {
    Error::new(ErrorKind::Failed, "the thread that writes packs has failed")
}

fn collision(sha1: &Sha1, known: &Id, new: &Id) -> Error {
    Error::refused(format!(
        "two different contents have the SHA-1 {sha1}: the store has {known}, this one is {new}"
    ))
    .hint("one of the two was made to collide; freestone keeps the one that it has")
}
