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
    /// Whether it is listed anew when something is not found.
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

    /// An index of these segments.
    pub fn of(segments: Vec<Arc<LiveSegment>>) -> Self {
        Self { segments: RwLock::new(Arc::new(segments)), left_over: Vec::new(), follows: false }
    }

    /// The index for one that only reads: what was moved by a compaction since it was listed is
    /// looked for again. For a push only what it listed when it began counts.
    pub(crate) fn following(self) -> Self {
        Self { follows: true, ..self }
    }

    /// Lists the segments anew, if this index follows; whether there are others now.
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

    /// The names of segments that a merge took the place of and did not come to remove. They must
    /// not outlive the merged segment, or they would be live again.
    pub(crate) fn left_over(&self) -> &[String] {
        &self.left_over
    }

    /// The segments, newest first.
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

    /// Puts a merged segment in the place of those that it was made of.
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

    /// Where records with the first bytes of `id` may be; what is there has to be proven.
    ///
    /// # Errors
    /// A segment is damaged.
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

    /// Where contents may be that have the SHA-1 `sha1`.
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

    /// Where revisions may be whose commits' first bytes lie from `low` to `high`.
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

    /// All packs that the segments name, with the lengths they say.
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
