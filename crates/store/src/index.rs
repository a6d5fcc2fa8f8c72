//! The live index: the segments that a store lists, searched newest first.

pub mod merge;
mod opening;
mod place;
pub mod rows;
mod writing;

pub use place::{LiveSegment, Place};
pub use writing::write_segment;

use freestone_backend::Backend;
use freestone_core::{Error, Id, Result, Sha1};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_format::segment::{PREFIX_BYTES, prefix};
use opening::open_segments;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Bases of a record that are looked at: readers refuse longer chains.
const CHAIN_MAX: usize = 32;

/// The segments of a store as they were listed, and those that were added since.
pub struct Index {
    segments: RwLock<Arc<Vec<Arc<LiveSegment>>>>,
    /// Objects of segments that were merged and not removed.
    left_over: Vec<String>,
    /// Whether it is listed again when something is not found.
    follows: bool,
    /// Packs that are missing or cut off: what the segments say of them does not count.
    lost: HashSet<Id>,
}

impl Index {
    /// Lists and opens the live segments.
    ///
    /// # Errors
    /// Listing failed, or a segment is damaged.
    pub fn open(backend: &dyn Backend) -> Result<Self> {
        let (segments, left_over) = open_segments(backend)?;
        Ok(Self { left_over, ..Self::of(segments) })
    }

    /// Lists and opens the live segments for one that adds to the store. Where that costs no
    /// requests, every pack is looked at: one that is missing or shorter than its segment says has
    /// nothing, so that what it had is stored again.
    ///
    /// # Errors
    /// As [`Self::open`]; or the packs cannot be listed.
    pub fn open_to_add(backend: &dyn Backend) -> Result<Self> {
        let index = Self::open(backend)?;
        if backend.is_far() {
            return Ok(index);
        }
        let lengths: HashMap<String, u64> =
            backend.list("packs")?.into_iter().map(|listed| (listed.name, listed.length)).collect();
        let mut lost = HashSet::new();
        for (id, said) in index.packs()? {
            let is_whole = |length: &u64| *length >= said;
            if !lengths.get(&pack::object_name(&id)).is_some_and(is_whole) {
                lost.insert(id);
            }
        }
        Ok(Self { lost, ..index })
    }

    /// Checks that every pack is there, for one that depends on records without reading them.
    ///
    /// # Errors
    /// A pack is missing or cut off, as [`Self::open_to_add`] found.
    pub fn check_whole(&self) -> Result<()> {
        match self.lost.iter().min() {
            None => Ok(()),
            Some(id) => Err(Error::corrupt(format!("pack {id} is missing or cut off"))
                .hint("`freestone verify` lists what is damaged, and what is lost with it")),
        }
    }

    /// Returns true if the record at `place` and its bases are in packs that are whole.
    fn is_whole(&self, place: &Place) -> Result<bool> {
        let mut at = Some(place.clone()).filter(|_| !self.lost.is_empty());
        let mut depth = 0;
        while let Some(place) = at {
            // A longer chain is refused when it is read.
            if self.lost.contains(&place.pack) || depth > CHAIN_MAX {
                return Ok(false);
            }
            (at, depth) = (place.base()?, depth + 1);
        }
        Ok(true)
    }

    /// Returns an index of these segments.
    pub fn of(segments: Vec<Arc<LiveSegment>>) -> Self {
        Self {
            segments: RwLock::new(Arc::new(segments)),
            left_over: Vec::new(),
            follows: false,
            lost: HashSet::new(),
        }
    }

    /// Makes this the index of a reader: it lists itself again when a look-up fails, because a
    /// compaction may have moved the record. For a push only what it listed when it began counts.
    pub(crate) fn following(self) -> Self {
        Self { follows: true, ..self }
    }

    /// Lists the segments again, if this is the index of a reader. Returns true if they have
    /// changed.
    pub(crate) fn follow(&self, backend: &dyn Backend) -> Result<bool> {
        if !self.follows {
            return Ok(false);
        }
        let (now, _) = open_segments(backend)?;
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let same = now.iter().map(|live| &live.name).eq(segments.iter().map(|live| &live.name));
        *segments = Arc::new(now);
        Ok(!same)
    }

    /// Returns the names of segments that were merged and then not removed, since the merge was
    /// killed. They must not outlive the merged segment, or they would be live again.
    pub fn left_over(&self) -> &[String] {
        &self.left_over
    }

    /// Returns the segments, newest first.
    pub fn segments(&self) -> Arc<Vec<Arc<LiveSegment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a segment that was just written.
    pub(crate) fn add(&self, segment: LiveSegment) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut list = Vec::with_capacity(segments.len() + 1);
        list.push(Arc::new(segment));
        list.extend(segments.iter().cloned());
        *segments = Arc::new(list);
    }

    /// Replaces segments by the one that they were merged to.
    pub(crate) fn replace(&self, old: &[Arc<LiveSegment>], merged: LiveSegment) {
        let old: HashSet<&str> = old.iter().map(|old| old.name.as_str()).collect();
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let is_kept = |segment: &&Arc<LiveSegment>| !old.contains(segment.name.as_str());
        let mut list: Vec<Arc<LiveSegment>> = segments.iter().filter(is_kept).cloned().collect();
        let at = list.partition_point(|segment| segment.tier < merged.tier);
        list.insert(at, Arc::new(merged));
        *segments = Arc::new(list);
    }

    /// Calls `each` with every place where the record `id` may be, since the first bytes of the id
    /// are there, until it returns true. Returns whether it did. What is there is not proven.
    ///
    /// # Errors
    /// A segment is damaged, and `each` never returned true; or an error of `each`.
    pub fn find(
        &self,
        kind: RecordKind,
        id: &Id,
        each: &mut dyn FnMut(Place) -> Result<bool>,
    ) -> Result<bool> {
        let mut failure = None;
        for segment in self.segments().iter() {
            let rows = segment.segment.find(id).unwrap_or_else(|error| {
                // Another segment may say the same of the record, undamaged.
                failure.get_or_insert(error.context(&segment.name));
                0..0
            });
            for at in rows {
                let place = match Place::of(segment, at) {
                    Ok(place) => place,
                    Err(error) => {
                        failure.get_or_insert(error.context(&segment.name));
                        continue;
                    }
                };
                let is_it = place.row.kind == kind && place.row.prefix == prefix(&id.0);
                if is_it && self.is_whole(&place)? && each(place)? {
                    return Ok(true);
                }
            }
        }
        failure.map_or(Ok(false), Err)
    }

    /// Returns the places where contents with the SHA-1 `sha1` may be.
    ///
    /// # Errors
    /// A segment is damaged.
    pub fn find_sha1(&self, sha1: &Sha1) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for segment in self.segments().iter() {
            let failed = |error: Error| error.context(&segment.name);
            for at in segment.segment.find_sha1(sha1).map_err(failed)? {
                let place = at.and_then(|at| Place::of(segment, at)).map_err(failed)?;
                if self.is_whole(&place)? {
                    places.push(place);
                }
            }
        }
        Ok(places)
    }

    /// Returns the places where revisions may be whose commits begin with `low` to `high`.
    ///
    /// # Errors
    /// A segment is damaged.
    pub fn find_commits(
        &self,
        low: [u8; PREFIX_BYTES],
        high: [u8; PREFIX_BYTES],
    ) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for segment in self.segments().iter() {
            let failed = |error: Error| error.context(&segment.name);
            for at in segment.segment.find_commits(low, high).map_err(failed)? {
                places.push(at.and_then(|at| Place::of(segment, at)).map_err(failed)?);
            }
        }
        Ok(places)
    }

    /// Returns all packs that the segments name, with the lengths that they say.
    ///
    /// # Errors
    /// A segment is damaged.
    pub fn packs(&self) -> Result<Vec<(Id, u64)>> {
        let mut packs = Vec::new();
        for segment in self.segments().iter() {
            for at in 0..segment.segment.pack_count() {
                let pack = segment.segment.pack(at).map_err(|e| e.context(&segment.name))?;
                packs.push((pack.id, pack.length));
            }
        }
        packs.sort_unstable();
        packs.dedup();
        Ok(packs)
    }
}
