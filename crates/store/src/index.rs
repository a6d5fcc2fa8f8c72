//! The live index: the segments that a store lists, searched newest first.

pub mod merge;
mod opening;
mod place;
pub mod rows;
mod writing;

pub use place::{LiveSegment, Place};
pub use writing::write_segment;

use crate::fence::Collections;
use freestone_backend::Backend;
use freestone_core::{Error, Id, Result, Sha1};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_format::segment::{PREFIX_BYTES, prefix};
use opening::open_segments;
use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// Packs that a collection may remove: what is there can be read, and nothing new may depend on
    /// it.
    condemned: HashSet<Id>,
    /// Contents that were taken down: nothing new may have them.
    taken_down: BTreeMap<Id, Sha1>,
    /// The packs that the one that adds to the store depends on; `None` for readers.
    relied: Option<RwLock<HashSet<Id>>>,
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

    /// Lists and opens the live segments for one that adds to the store. What a pack has that is
    /// condemned, missing, or shorter than its segment says, is stored again. Packs are looked at
    /// where that costs no requests, and where packs were removed before.
    ///
    /// # Errors
    /// As [`Self::open`]; or the packs or the collections cannot be listed.
    pub fn open_to_add(backend: &dyn Backend) -> Result<Self> {
        // The collections come first: packs that one removes later are listed by the index, and
        // what a collection that is over has removed is not there when the packs are listed.
        let collections = Collections::list(backend)?;
        let index = Self::open(backend)?;
        let named = index.packs()?;
        let ids: HashSet<Id> = named.iter().map(|(id, _)| *id).collect();
        let condemned = collections.condemned(backend, &mut |id| ids.contains(id))?;
        let lost = match backend.is_far() && collections.are_none() {
            true => HashSet::new(),
            false => missing(backend, &named)?,
        };
        let (relied, taken_down) = (Some(RwLock::default()), collections.taken_down);
        Ok(Self { lost, condemned, relied, taken_down, ..index })
    }

    /// Returns the same index, for one that must not depend on `packs` either.
    #[must_use]
    pub fn without(mut self, packs: &HashSet<Id>) -> Self {
        self.condemned.extend(packs);
        self
    }

    /// Returns the packs that were written or relied on since the index was opened to add to the
    /// store.
    pub fn relied(&self) -> HashSet<Id> {
        let relied = self.relied.as_ref();
        relied
            .map_or_else(HashSet::new, |r| r.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Returns true if the content `id` was taken down when the index was opened to add to the store.
    pub fn is_taken_down(&self, id: &Id) -> bool {
        self.taken_down.contains_key(id)
    }

    /// Returns true if any content was taken down when the index was opened to add to the store.
    pub fn has_taken_down(&self) -> bool {
        !self.taken_down.is_empty()
    }

    /// Checks that something new may have the content `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](freestone_core::ErrorKind::Refused) if it was taken down.
    pub fn check_content(&self, id: &Id) -> Result<()> {
        match self.taken_down.get(id) {
            None => Ok(()),
            Some(sha1) => Err(Error::refused(format!(
                "the content with SHA-1 {sha1} was taken down"
            ))
            .hint("remove the file, and push again; nothing may bring it back to this store")),
        }
    }

    /// Returns true if all of the packs are there that were written or relied on since the index was
    /// opened to add to the store, none is condemned now, and no content was taken down since: called
    /// after a barrier.
    ///
    /// # Errors
    /// The collections cannot be read.
    pub fn still_stands(&self, backend: &dyn Backend) -> Result<bool> {
        let (collections, relied) = (Collections::list(backend)?, self.relied());
        if collections.taken_down.keys().any(|id| !self.is_taken_down(id)) {
            return Ok(false);
        }
        if !collections.condemned(backend, &mut |id| relied.contains(id))?.is_empty() {
            return Ok(false);
        }
        // A collection that is over condemns nothing any more, and has removed what it condemned.
        // One that is open may be over before its verdict is read.
        if collections.are_none() {
            return Ok(true);
        }
        let listed = backend.list("packs")?;
        let there = listed.iter().filter_map(|listed| pack::id_of_object(&listed.name));
        Ok(there.filter(|id| relied.contains(id)).count() == relied.len())
    }

    /// Returns true if something new may depend on the record at `place`.
    ///
    /// # Errors
    /// The segment is damaged.
    pub(crate) fn may_rely(&self, place: &Place) -> Result<bool> {
        is_outside(place, &self.condemned)
    }

    /// Notes that something new depends on the record at `place`.
    ///
    /// # Errors
    /// The segment is damaged.
    fn rely(&self, place: &Place) -> Result<()> {
        let Some(relied) = &self.relied else { return Ok(()) };
        let mut at = Some(place.clone());
        while let Some(place) = at {
            let is_known =
                relied.read().unwrap_or_else(PoisonError::into_inner).contains(&place.pack);
            if !is_known {
                relied.write().unwrap_or_else(PoisonError::into_inner).insert(place.pack);
            }
            at = place.base()?;
        }
        Ok(())
    }

    /// Calls `each` with places as [`Self::find`] does, but only with those that something new may
    /// depend on. The one for which it returns true is noted.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_to_rely(
        &self,
        kind: RecordKind,
        id: &Id,
        each: &mut dyn FnMut(Place) -> Result<bool>,
    ) -> Result<bool> {
        self.find(kind, id, &mut |place| {
            if !self.may_rely(&place)? || !each(place.clone())? {
                return Ok(false);
            }
            self.rely(&place)?;
            Ok(true)
        })
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

    /// Returns an index of these segments.
    pub fn of(segments: Vec<Arc<LiveSegment>>) -> Self {
        Self {
            segments: RwLock::new(Arc::new(segments)),
            left_over: Vec::new(),
            follows: false,
            lost: HashSet::new(),
            condemned: HashSet::new(),
            taken_down: BTreeMap::new(),
            relied: None,
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
        if let Some(relied) = &self.relied {
            let packs =
                (0..segment.segment.pack_count()).filter_map(|at| segment.segment.pack(at).ok());
            let mut relied = relied.write().unwrap_or_else(PoisonError::into_inner);
            relied.extend(packs.map(|pack| pack.id));
        }
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
                if is_it && is_outside(&place, &self.lost)? && each(place)? {
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
                if is_outside(&place, &self.lost)? {
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

/// Returns true if neither the record at `place` nor one of its bases is in one of `packs`.
fn is_outside(place: &Place, packs: &HashSet<Id>) -> Result<bool> {
    let mut at = Some(place.clone()).filter(|_| !packs.is_empty());
    let mut depth = 0;
    while let Some(place) = at {
        // A longer chain is refused when it is read.
        if packs.contains(&place.pack) || depth > CHAIN_MAX {
            return Ok(false);
        }
        (at, depth) = (place.base()?, depth + 1);
    }
    Ok(true)
}

/// Returns those of the packs `named` that are missing, or shorter than the length with them.
fn missing(backend: &dyn Backend, named: &[(Id, u64)]) -> Result<HashSet<Id>> {
    let lengths: HashMap<String, u64> =
        backend.list("packs")?.into_iter().map(|listed| (listed.name, listed.length)).collect();
    let is_there = |id: &Id, said: u64| {
        lengths.get(&pack::object_name(id)).is_some_and(|length| *length >= said)
    };
    Ok(named.iter().filter(|(id, said)| !is_there(id, *said)).map(|(id, _)| *id).collect())
}
