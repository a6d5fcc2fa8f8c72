//! Opening the segments that a store lists.

use super::place::LiveSegment;
use super::rows;
use crate::table;
use freestone_backend::{Backend, Listed};
use freestone_core::{Error, ErrorKind, Result, lock, threads};
use freestone_format::pack;
use freestone_format::segment::{Segment, parse_file_name};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How often a listing is repeated because a segment of it was merged meanwhile.
const LISTING_TRIES: usize = 20;
/// Segments that are opened at once if the backend is far away, where each takes a request.
const OPENERS: usize = 8;

/// Opens the live segments, and returns them with the names of those that were merged.
pub(super) fn open_segments(backend: &dyn Backend) -> Result<(Vec<Arc<LiveSegment>>, Vec<String>)> {
    // Segments of earlier tries stay open: as a rule only one segment makes another try necessary.
    let mut opened: HashMap<String, LiveSegment> = HashMap::new();
    let mut listing = backend.list("index")?;
    for _ in 0..LISTING_TRIES {
        let unknown: Vec<&Listed> =
            listing.iter().filter(|listed| !opened.contains_key(&listed.name)).collect();
        let (segments, is_one_gone) = open_listed(backend, &unknown)?;
        opened.extend(segments.into_iter().map(|live| (live.name.clone(), live)));
        let now = backend.list("index")?;
        // A segment that is gone was merged into one that the new listing shows. A listing during a
        // merge may show neither the old segments nor the new one; then the new one is there by
        // now.
        let before: HashSet<&str> = listing.iter().map(|listed| listed.name.as_str()).collect();
        let is_new = |now: &Listed| !before.contains(now.name.as_str());
        if is_one_gone || now.iter().any(is_new) {
            listing = now;
            continue;
        }
        let segments: Vec<LiveSegment> =
            listing.iter().filter_map(|listed| opened.remove(&listed.name)).collect();
        let ids: HashSet<[u8; 16]> = segments.iter().map(|live| live.segment.id()).collect();
        let mut superseded: HashSet<[u8; 16]> = HashSet::new();
        for live in &segments {
            for id in live.segment.supersedes() {
                let id = id.map_err(|error| error.context(&live.name))?;
                // Most of them are gone.
                superseded.extend(ids.get(&id));
            }
        }
        let (merged, mut segments): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|live| superseded.contains(&live.segment.id()));
        // Low tiers are the newest; within a tier the names sort by time.
        segments.sort_by(|a, b| (a.tier, &b.name).cmp(&(b.tier, &a.name)));
        let left_over = merged.into_iter().map(|live| live.name).collect();
        return Ok((segments.into_iter().map(Arc::new).collect(), left_over));
    }
    Err(Error::new(ErrorKind::Storage, "the index changes faster than it can be listed")
        .hint("run the command again when fewer push to the store"))
}

/// Opens the segments of a listing, until one is found to be gone. Returns those that were opened,
/// and whether one is gone.
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
                Ok(segment) => opened.extend(segment),
                Err(error) => {
                    // The others need not continue.
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
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..openers).map_while(|_| threads::spawn(scope, open)).collect();
        let mut outcomes = vec![open()];
        outcomes.extend(workers.into_iter().map(threads::join));
        outcomes
    });
    let parts: Vec<(Vec<LiveSegment>, bool)> = outcomes.into_iter().collect::<Result<_>>()?;
    let is_one_gone = parts.iter().any(|(_, is_one_gone)| *is_one_gone);
    Ok((parts.into_iter().flat_map(|(opened, _)| opened).collect(), is_one_gone))
}

/// Opens a segment. Returns `None` if only a cache is read, and it does not have the segment or the
/// table that the segment needs: then nothing that the segment lists is here.
fn open_segment(
    backend: &dyn Backend,
    listed: &Listed,
    tier: u8,
    id: [u8; 16],
) -> Result<Option<LiveSegment>> {
    match open_present(backend, listed, tier, id) {
        Err(error) if error.kind() == ErrorKind::NotFound && is_offline(backend) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Returns true if only a cache is read, which may lack what its index names.
fn is_offline(backend: &dyn Backend) -> bool {
    backend.upstream().is_some_and(|upstream| upstream.offline)
}

fn open_present(
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
            .hint("`freestone store reindex` makes the index again"));
    }
    let segment = match with_rows(backend, segment) {
        // Both were replaced meanwhile.
        Err(error) if error.is_damage() && backend.open(&listed.name)?.is_none() => {
            return Err(Error::not_found(format!("{} is gone", listed.name)).because(error));
        }
        outcome => outcome.map_err(|error| error.context(&listed.name))?,
    };
    Ok(LiveSegment { name: listed.name.clone(), tier, segment })
}

/// Segments to which rows were added. They are kept, since an index is listed more than once in a
/// process. Their ids are hashes of all of them, so stores in one process can share them.
static WITH_ROWS: Mutex<VecDeque<Segment>> = Mutex::new(VecDeque::new());
/// How many of them are kept: a few MiB each at most.
const WITH_ROWS_MAX: usize = 4;

/// Returns the segment with the rows that it left out, if it did.
pub(crate) fn with_rows(backend: &dyn Backend, segment: Segment) -> Result<Segment> {
    if !segment.rows_left_out() {
        return Ok(segment);
    }
    // It is known by its id, which damage may leave as it is.
    segment.verify()?;
    let kept = || lock(&WITH_ROWS);
    if let Some(known) = kept().iter().find(|known| known.id() == segment.id()) {
        return Ok(known.clone());
    }
    let pack = segment.pack(0)?;
    let object = backend.open_listed(&pack::object_name(&pack.id), pack.length);
    let rows = object.and_then(|object| table::read_listed_table(&*object, &pack));
    let rows = rows.map_err(|error| match error.kind() {
        ErrorKind::NotFound if !is_offline(backend) => table::missing(&pack.id).because(error),
        _ => error,
    })?;
    let whole = rows::with_rows(&segment, &rows)?;
    let mut kept = kept();
    kept.truncate(WITH_ROWS_MAX - 1);
    kept.push_front(whole.clone());
    Ok(whole)
}
