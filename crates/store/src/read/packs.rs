//! The packs of a store: their files, kept open, and their tables.

use crate::index::Place;
use crate::read::names::ProvenNames;
use crate::read::proofs::Proofs;
use crate::table::{missing, read_listed_table, read_table};
use freestone_backend::{Backend, Object, Upstream};
use freestone_core::wire::Bytes;
use freestone_core::{ErrorKind, Id, Result};
use freestone_format::pack::object_name;
use freestone_format::segment::Starts;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Packs that are kept open. Each takes a file descriptor.
const OPEN_MAX: usize = 256;
/// Ids of tables that are kept, in all: about 40 bytes each.
const IDS_MAX: usize = 1 << 19;

/// A pack that was opened with the length that the index says. If it is missing, that is damage,
/// and is found when it is read.
struct ListedPack {
    inner: Box<dyn Object>,
    pack: Id,
}

impl ListedPack {
    fn named<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(&self.pack).because(error),
            _ => error,
        })
    }
}

impl Object for ListedPack {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.named(self.inner.read_at(offset, out))
    }

    fn map(&self) -> Result<Bytes> {
        self.named(self.inner.map())
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.inner.is_at_hand(offset, length)
    }

    fn confirm(&self, offset: u64, length: u64) {
        self.inner.confirm(offset, length);
    }

    fn refute(&self, offset: u64, length: u64) -> bool {
        self.inner.refute(offset, length)
    }

    fn file(&self) -> Option<&File> {
        self.inner.file()
    }
}

/// Returns true if the object is a file that has no name any more.
fn is_removed(object: &dyn Object) -> bool {
    object.file().and_then(|file| file.metadata().ok()).is_some_and(|file| file.nlink() == 0)
}

/// The packs of a store, opened when they are needed.
pub struct Packs {
    backend: Arc<dyn Backend>,
    open: Mutex<HashMap<Id, Arc<dyn Object>>>,
    starts: Mutex<HashMap<Id, Starts>>,
    /// Set if the backend is a cache.
    upstream: Option<Upstream>,
    proofs: Proofs,
    names: ProvenNames,
}

impl Packs {
    /// Returns the packs of `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            upstream: backend.upstream(),
            backend,
            open: Mutex::default(),
            starts: Mutex::default(),
            proofs: Proofs::default(),
            names: ProvenNames::default(),
        }
    }

    /// Returns the upstream, if the backend is a cache.
    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// Returns true if the backend is a cache, which notes what was proven.
    pub(crate) fn is_cache(&self) -> bool {
        self.upstream.is_some()
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Opens the pack `id`.
    ///
    /// # Errors
    /// It is not there or cannot be opened.
    pub fn open(&self, id: &Id) -> Result<Arc<dyn Object>> {
        self.open_with(id, |name| self.backend.open(name))
    }

    /// Opens the pack of `place`, with the length that the index says. If the backend is far away,
    /// the pack may turn out to be missing only when it is read.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_listed(&self, place: &Place) -> Result<Arc<dyn Object>> {
        let pack = &place.pack;
        // A cache tells by itself what is lost and what is only not here. Of a pack that is named
        // only because something depends on it, the index does not have the length.
        if self.is_cache() || place.pack_length == 0 {
            return self.open(pack);
        }
        self.open_with(pack, |name| match self.backend.open_listed(name, place.pack_length) {
            Ok(inner) => Ok(Some(Box::new(ListedPack { inner, pack: *pack }))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Fills `out` with the bytes from `offset` of the pack `id`, whose length need not be known.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub(crate) fn read_at(&self, id: &Id, offset: u64, out: &mut [u8]) -> Result<()> {
        let is_open = self.open.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id);
        if is_open || !self.backend.is_far() {
            return self.open(id)?.read_at(offset, out);
        }
        // Opening it would bring its length, and bytes that nobody asks for.
        self.backend.read_range(&object_name(id), offset, out).map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(id).because(error),
            _ => error,
        })
    }

    fn open_with(
        &self,
        id: &Id,
        open: impl FnOnce(&str) -> Result<Option<Box<dyn Object>>>,
    ) -> Result<Arc<dyn Object>> {
        if let Some(object) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(object.clone());
        }
        let object: Arc<dyn Object> = open(&object_name(id))?.ok_or_else(|| missing(id))?.into();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it meanwhile. Both use the object that is kept: what was
        // proven of an object is forgotten when nobody has it any more.
        if let Some(kept) = open.get(id) {
            return Ok(kept.clone());
        }
        // A pack that a compaction removed takes its room on the disk until it is closed.
        open.retain(|_, pack| !is_removed(&**pack));
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(*id, object.clone());
        Ok(object)
    }

    /// Returns what is remembered of raw records that were proven.
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Returns the SHA-1s that were computed.
    pub(crate) fn names(&self) -> &ProvenNames {
        &self.names
    }

    /// Returns true if the record at `place` is `id`, by its pack's table.
    ///
    /// # Errors
    /// The pack or its table cannot be read.
    pub fn holds(&self, place: &Place, id: &Id) -> Result<bool> {
        let (starts, offset) = (self.starts(place)?, place.row.offset);
        let first = starts.partition_point(|(start, _)| *start < offset);
        Ok(starts[first..].iter().take_while(|(start, _)| *start == offset).any(|(_, i)| i == id))
    }

    /// Returns which record starts where in the pack of `place`, by its table.
    pub(crate) fn starts(&self, place: &Place) -> Result<Starts> {
        if let Some(starts) = place.starts() {
            return Ok(starts.clone());
        }
        // In one statement: the lock is taken again by who reads the table.
        let known =
            self.starts.lock().unwrap_or_else(PoisonError::into_inner).get(&place.pack).cloned();
        known.map_or_else(|| self.read_starts(place), Ok)
    }

    fn read_starts(&self, place: &Place) -> Result<Starts> {
        let pack = &place.pack;
        let object = self.open_listed(place)?;
        // Where reading is dear, it is one read.
        let rows = match place.table() {
            Some(_) if self.is_cache() || self.backend.is_far() => {
                read_listed_table(&*object, &place.segment_pack())?
            }
            _ => read_table(&*object, pack)?,
        };
        let starts: Starts = Arc::new(rows.iter().map(|row| (row.offset, row.id)).collect());
        let mut known = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(|starts| starts.len()).sum::<usize>() + starts.len() > IDS_MAX {
            known.clear();
        }
        known.insert(*pack, starts.clone());
        Ok(starts)
    }
}
