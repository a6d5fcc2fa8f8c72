//! The live index: the segments that a store lists, searched newest first.

mod place;

pub use crate::listing;
pub use place::{LiveSegment, Place};

use crate::listing::Rows;
use crate::table;
use freestone_backend::{Backend, Listed};
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, threads};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_format::segment::{
    PREFIX_BYTES, Segment, SegmentParts, file_name, parse_file_name, prefix,
};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How often a listing is made anew because a segment of it was merged away meanwhile.
const LISTING_TRIES: usize = 20;
/// A segment of at most this length is not opened anew when it was written, but held in memory.
const HELD_BYTES_MAX: usize = 128 << 10;
/// Segments that are opened at once where each takes a request to somewhere far.
const OPENERS: usize = 8;

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
    pub fn left_over(&self) -> &[String] {
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

/// The live segments, and the names of those that were merged.
fn open_segments(backend: &dyn Backend) -> Result<(Vec<Arc<LiveSegment>>, Vec<String>)> {
    // Those of earlier tries stay open: what makes another one necessary is as a rule one segment.
    let mut opened: HashMap<String, LiveSegment> = HashMap::new();
    let mut listing = backend.list("index")?;
    for _ in 0..LISTING_TRIES {
        let unknown: Vec<&Listed> =
            listing.iter().filter(|listed| !opened.contains_key(&listed.name)).collect();
        let (segments, is_one_gone) = open_listed(backend, &unknown)?;
        opened.extend(segments.into_iter().map(|live| (live.name.clone(), live)));
        let now = backend.list("index")?;
        // A segment that is gone was merged into one that the new listing shows. And a listing that a
        // merge ran through may show neither the old segments nor the new one; then the new one is
        // there by now.
        let is_new = |now: &Listed| !listing.iter().any(|before| before.name == now.name);
        if is_one_gone || now.iter().any(is_new) {
            listing = now;
            continue;
        }
        let segments: Vec<LiveSegment> =
            listing.iter().filter_map(|listed| opened.remove(&listed.name)).collect();
        let superseded: HashSet<Vec<u8>> = segments
            .iter()
            .flat_map(|live| live.segment.supersedes().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect();
        let (merged, mut segments): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|live| superseded.contains(&live.segment.id()[..]));
        // Low tiers are the newest; within a tier the names sort by time.
        segments.sort_by(|a, b| (a.tier, &b.name).cmp(&(b.tier, &a.name)));
        let left_over = merged.into_iter().map(|live| live.name).collect();
        return Ok((segments.into_iter().map(Arc::new).collect(), left_over));
    }
    Err(Error::new(ErrorKind::Storage, "the index changes faster than it can be listed")
        .hint("run the command again when fewer push to the store"))
}

/// The segments of a listing, as far as they were opened before one was found to be gone; and whether one
/// is.
fn open_listed(backend: &dyn Backend, listing: &[&Listed]) -> Result<(Vec<LiveSegment>, bool)> {
    let named: Vec<(&Listed, u8, [u8; 16])> = listing
        .iter()
        .filter_map(|listed| {
            let (tier, id) = parse_file_name(listed.name.trim_start_matches("index/"))?;
            Some((*listed, tier, id))
        })
        .collect();
    let openers = if backend.is_far() { OPENERS.min(named.len()) } else { 1 };
    let next = AtomicUsize::new(0);
    let open = || -> Result<(Vec<LiveSegment>, bool)> {
        let mut opened = Vec::new();
        while let Some((listed, tier, id)) = named.get(next.fetch_add(1, Ordering::Relaxed)) {
            match open_segment(backend, listed, *tier, *id) {
                Ok(segment) => opened.push(segment),
                Err(error) => {
                    // The others need not go on.
                    next.store(named.len(), Ordering::Relaxed);
                    return match error.kind() {
                        ErrorKind::NotFound => Ok((opened, true)),
                        _ => Err(error),
                    };
                }
            }
        }
        Ok((opened, false))
    };
    if openers < 2 {
        return open();
    }
    let outcomes: Vec<_> =
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..openers).map_while(|_| threads::spawn(scope, open)).collect();
            let mut outcomes = vec![open()];
            outcomes.extend(workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }));
            outcomes
        });
    let parts: Vec<(Vec<LiveSegment>, bool)> = outcomes.into_iter().collect::<Result<_>>()?;
    let is_one_gone = parts.iter().any(|(_, is_one_gone)| *is_one_gone);
    Ok((parts.into_iter().flat_map(|(opened, _)| opened).collect(), is_one_gone))
}

fn open_segment(
    backend: &dyn Backend,
    listed: &Listed,
    tier: u8,
    id: [u8; 16],
) -> Result<LiveSegment> {
    let object = backend.open_listed(&listed.name, listed.length);
    let bytes = object.and_then(|object| object.map());
    let segment = bytes.and_then(Segment::open).map_err(|error| error.context(&listed.name))?;
    if segment.id() != id {
        return Err(Error::corrupt(format!("{} is damaged", listed.name))
            .hint("`freestone store reindex` makes the index anew"));
    }
    let segment = match with_rows(backend, segment) {
        // Both were replaced meanwhile.
        Err(error)
            if error.kind() == ErrorKind::Corrupt && backend.open(&listed.name)?.is_none() =>
        {
            return Err(Error::not_found(format!("{} is gone", listed.name)).because(error));
        }
        outcome => outcome.map_err(|error| error.context(&listed.name))?,
    };
    Ok(LiveSegment { name: listed.name.clone(), tier, segment })
}

/// Segments to which rows were added, by their ids: an index is listed more than once in a process.
static WITH_ROWS: Mutex<VecDeque<Segment>> = Mutex::new(VecDeque::new());
/// How many of them are kept: a few MiB each at most.
const WITH_ROWS_MAX: usize = 4;

/// The segment with the rows that it left out, if it did.
pub(crate) fn with_rows(backend: &dyn Backend, segment: Segment) -> Result<Segment> {
    if !segment.rows_left_out() {
        return Ok(segment);
    }
    // It is known by its id, which damage may leave as it is.
    segment.verify()?;
    let kept = || WITH_ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept().iter().find(|known| known.id() == segment.id()) {
        return Ok(known.clone());
    }
    let pack = segment.pack(0)?;
    let object = backend.open_listed(&pack::object_name(&pack.id), pack.length);
    let rows = object.and_then(|object| table::read_listed_table(&*object, &pack));
    let rows = rows.map_err(|error| match error.kind() {
        ErrorKind::NotFound => table::missing(&pack.id).because(error),
        _ => error,
    })?;
    let whole = listing::with_rows(&segment, &rows)?;
    let mut kept = kept();
    kept.truncate(WITH_ROWS_MAX - 1);
    kept.push_front(whole.clone());
    Ok(whole)
}

/// Writes a segment and opens it.
///
/// As soon as it is there another pusher may merge it with others and remove it. What it says is
/// right all the same, so then it is read from memory, as are those that take little of it.
///
/// # Errors
/// The segment cannot be written or opened.
pub fn write_segment(
    backend: &dyn Backend,
    tier: u8,
    parts: SegmentParts,
    rows: Rows,
) -> Result<LiveSegment> {
    let (bytes, id) = match rows == Rows::LeftOut && listing::rows_follow_from_table(&parts) {
        true => parts.encode_without_rows(),
        false => parts.encode(),
    };
    let name = format!("index/{}", file_name(tier, freestone_backend::clock::now_ns(), &id));
    backend.create(&name, &bytes)?;
    let map = || match backend.open(&name)? {
        Some(object) => object.map().map(Some),
        None => Ok(None),
    };
    let mapped = match bytes.len() {
        0..=HELD_BYTES_MAX => None,
        _ => match map() {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            outcome => outcome?,
        },
    };
    let segment = Segment::open(mapped.unwrap_or_else(|| Arc::new(bytes)))?;
    let segment = with_rows(backend, segment)?;
    Ok(LiveSegment { segment, name, tier })
}
