//! The live index: the segments that a store lists, searched newest first.

pub mod merge;
mod opening;
mod place;
pub mod rows;
mod writing;

pub use place::{LiveSegment, Place};
pub use writing::write_segment;

use freestone_backend::Backend;
use freestone_core::{Id, Result, Sha1};
use freestone_format::record::RecordKind;
use freestone_format::segment::{PREFIX_BYTES, prefix};
use opening::open_segments;
use std::sync::{Arc, PoisonError, RwLock};

/// The segments of a store as they were listed, and those that were added since.
pub struct Index {
    segments: RwLock<Arc<Vec<Arc<LiveSegment>>>>,
    /// Objects of segments that were merged and not removed.
    left_over: Vec<String>,
    /// Whether it is listed again when something is not found.
    follows: bool,
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

    /// Returns an index of these segments.
    pub fn of(segments: Vec<Arc<LiveSegment>>) -> Self {
        Self { segments: RwLock::new(Arc::new(segments)), left_over: Vec::new(), follows: false }
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
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Arc<LiveSegment>> = segments
            .iter()
            .filter(|segment| !old.iter().any(|old| old.name == segment.name))
            .cloned()
            .collect();
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
            for at in segment.segment.find(id) {
                let place = match Place::of(segment, at) {
                    Ok(place) => place,
                    // Another segment may say the same of the record, undamaged.
                    Err(error) => {
                        failure.get_or_insert(error.context(&segment.name));
                        continue;
                    }
                };
                if place.row.kind == kind && place.row.prefix == prefix(&id.0) && each(place)? {
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
            for at in segment.segment.find_sha1(sha1) {
                places.push(Place::of(segment, at).map_err(|e| e.context(&segment.name))?);
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
            for at in segment.segment.find_commits(low, high) {
                places.push(Place::of(segment, at).map_err(|e| e.context(&segment.name))?);
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
                let pack = segment.segment.pack(at)?;
                packs.push((pack.id, pack.length));
            }
        }
        packs.sort_unstable();
        packs.dedup();
        Ok(packs)
    }
}
