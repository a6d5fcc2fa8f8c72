//! Fetching everything that a revision needs.
//!
//! First its manifest: the ranges that the revision's locator names at once, then, level by level,
//! the nodes that are in none of them. Then its contents, in windows that bound the memory: what is
//! not here is looked up in the index, sorted in the order of the packs, and fetched with few
//! requests, several at once. Each record is proven before it counts as here.

pub(crate) mod needs;
mod requests;
pub(crate) mod walk;

pub use walk::Subject;

use crate::cache::Cache;
use crate::cache::sparse::{self, PackRanges};
use crate::follower::Follower;
use crate::opening::Opened;
use freestone_core::threads::each;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Id, Result, lock};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_format::revision::PackRange;
use freestone_store::read::records;
use freestone_store::{Records, Store, revisions};
use needs::{Absent, Need};
use requests::{REQUEST_BYTES_MAX, Request, coalesce};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use walk::Walk;

/// Requests that are made at the same time.
const FETCHERS: usize = 8;
/// Bytes that are fetched before they are proven and written.
const WINDOW_BYTES: u64 = 48 << 20;
/// Bytes of a locator that are fetched before anything is known to need them.
const PRIMED_BYTES_MAX: u64 = 16 << 20;

/// How it is fetched.
#[derive(Default)]
pub struct Fetch<'a> {
    /// True if contents are only summed up, and not fetched. The manifest is.
    pub dry_run: bool,
    /// Called with the number of bytes that arrived.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Set to stop.
    pub cancel: Option<&'a AtomicBool>,
}

/// What was fetched, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Requests for ranges of packs.
    pub requests: u64,
    /// Bytes that arrived, or would.
    pub bytes: u64,
    /// Records that were not here.
    pub records: u64,
    /// Stored bytes of these records, and of what they are based on.
    pub stored: u64,
}

/// Begins to fetch the manifest of revision `id` if the store follows an upstream: what its locator
/// names, in as few requests as possible. This only saves time.
///
/// # Errors
/// The upstream cannot be reached.
pub fn prime(opened: &Opened, id: &Id) -> Result<()> {
    let (Some(follower), store) = (opened.online(), &opened.store) else { return Ok(()) };
    let (revision, locator) = match revisions::read_file(&**store.backend(), id) {
        Ok(Some(file)) => file,
        Err(error) if error.kind() == ErrorKind::Storage => return Err(error),
        // It is only a hint.
        _ => return Ok(()),
    };
    let need = Need { kind: RecordKind::ManifestNode, id: revision.root };
    // The root may be based on a node that came with an older revision.
    let pack = |id: &Id| follower.0.pack(id);
    let root = needs::absent(pack, &store.records()?, &need, None, true).unwrap_or_default();
    follower.0.prime(&locator, root.map(|absent| absent.ranges).unwrap_or_default())
}

/// Fetches everything of `subject` that is not here, proven. Does nothing if the store does not
/// follow an upstream.
///
/// If the cache cannot be written to, or has no room, this ends early without an error: what is
/// not here is fetched when it is read. [`Follower::take_failure`] returns the reason.
///
/// # Errors
/// The upstream cannot be reached, or a record is missing or damaged.
pub fn fetch(opened: &Opened, subject: &Subject, how: &Fetch<'_>) -> Result<Fetched> {
    let Some(follower) = &opened.follower else { return Ok(Fetched::default()) };
    match fetch_with(&opened.store, follower, subject, how) {
        // The index does not list what was pushed since it was listed.
        Err(error) if error.is_damage() && !follower.is_offline() => {
            // Or the disk has damaged the cached index.
            if follower.0.drop_damaged_segments().is_err() {
                return Err(error);
            }
            opened.store.refresh();
            fetch_with(&opened.store, follower, subject, how)
        }
        outcome => outcome,
    }
}

fn fetch_with(
    store: &Store,
    follower: &Follower,
    subject: &Subject,
    how: &Fetch<'_>,
) -> Result<Fetched> {
    let records = store.records()?;
    follower.0.fetching.fetch_add(1, Ordering::Relaxed);
    let _ends = Ends(&follower.0);
    let fetching = Fetching {
        cache: &follower.0,
        records: &records,
        how,
        begun: sparse::now(),
        fetched: Mutex::default(),
    };
    let mut overlay = how.dry_run.then(PackRanges::new);
    let mut contents = Fetched::default();
    let walk = Walk::new(&records, subject);
    walk.run(&mut |kind_is_content, needs| {
        match &mut overlay {
            Some(overlay) if kind_is_content => fetching.preview(needs, overlay, &mut contents),
            _ => fetching.bring(needs),
        }?;
        Ok(true)
    })?;
    if let Err(error) = follower.0.flush(false) {
        follower.0.could_not_keep(error);
    }
    let mut fetched = *lock(&fetching.fetched);
    if how.dry_run {
        fetched = contents;
    }
    Ok(fetched)
}

/// Ends a fetch that was counted.
struct Ends<'a>(&'a Cache);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One fetch.
struct Fetching<'a> {
    cache: &'a Cache,
    records: &'a Records,
    how: &'a Fetch<'a>,
    /// When it began: milliseconds since 1970. What was used since is not evicted for it.
    begun: u64,
    fetched: Mutex<Fetched>,
}

/// Returns the ranges of what is absent, sorted.
fn sorted_ranges(absent: &[Absent]) -> Vec<(Id, Range<u64>)> {
    let mut ranges: Vec<_> = absent.iter().flat_map(|absent| absent.ranges.clone()).collect();
    ranges.sort_unstable_by_key(|(pack, range)| (*pack, range.start, range.end));
    ranges.dedup();
    ranges
}

impl Fetching<'_> {
    /// Returns which of `needs` are not here, each once.
    fn absent(&self, needs: &[Need], overlay: Option<&PackRanges>) -> Result<Vec<Absent>> {
        let mut needs = needs.to_vec();
        needs.sort_unstable();
        needs.dedup();
        let is_use = !self.cache.client.offline;
        let pack = |id: &Id| self.cache.pack(id);
        let mut absent = Vec::new();
        for need in &needs {
            absent.extend(needs::absent(pack, self.records, need, overlay, is_use)?);
        }
        absent.sort_by(|a, b| {
            let key = |absent: &Absent| absent.ranges.first().map(|(p, range)| (*p, range.start));
            key(a).cmp(&key(b))
        });
        Ok(absent)
    }

    /// Sums up what `needs` would cost.
    fn preview(&self, needs: &[Need], overlay: &mut PackRanges, sum: &mut Fetched) -> Result<()> {
        let absent = self.absent(needs, Some(overlay))?;
        for window in windows(&absent) {
            let ranges = sorted_ranges(window);
            let requests = coalesce(&ranges);
            sum.requests += requests.len() as u64;
            sum.bytes += requests.iter().map(|r| r.range.end - r.range.start).sum::<u64>();
            sum.records += window.len() as u64;
            sum.stored += ranges.iter().map(|(_, range)| range.end - range.start).sum::<u64>();
            for (pack, range) in ranges {
                overlay.entry(pack).or_default().add(range);
            }
        }
        Ok(())
    }

    /// Fetches those of `needs` that are not here.
    fn bring(&self, needs: &[Need]) -> Result<()> {
        let absent = self.absent(needs, None)?;
        for window in windows(&absent) {
            // What cannot be kept is fetched when it is read.
            if self.cache.has_failed() {
                break;
            }
            self.bring_window(window)?;
        }
        Ok(())
    }

    /// Returns true if the bytes of a record wait in the stash to be proven.
    fn is_stashed(&self, absent: &Absent) -> bool {
        let stash = self.cache.stash();
        absent.ranges.iter().all(|(pack, range)| stash.find(pack, range).is_some())
    }

    fn bring_window(&self, window: &[Absent]) -> Result<()> {
        let stashed: Vec<bool> = window.iter().map(|absent| self.is_stashed(absent)).collect();
        let mut ranges: Vec<_> = window
            .iter()
            .zip(&stashed)
            .filter(|(_, stashed)| !**stashed)
            .flat_map(|(absent, _)| absent.ranges.clone())
            .collect();
        ranges.sort_unstable_by_key(|(pack, range)| (*pack, range.start, range.end));
        ranges.dedup();
        let requests = coalesce(&ranges);
        let bytes: u64 = requests.iter().map(|r| r.range.end - r.range.start).sum();
        if let Err(error) = self.cache.evict(bytes, Some(self.begun)) {
            self.cache.could_not_keep(error);
        }
        self.cache.request(&requests, self.how)?;
        self.prove(window)?;
        for request in &requests {
            self.cache.stash().drop_at(&request.pack, request.range.start);
        }
        let mut fetched = lock(&self.fetched);
        fetched.requests += requests.len() as u64;
        fetched.bytes += bytes;
        fetched.records += window.len() as u64;
        fetched.stored += sorted_ranges(window).iter().map(|(_, r)| r.end - r.start).sum::<u64>();
        Ok(())
    }

    /// Reads what arrived, which proves and keeps it.
    fn prove(&self, window: &[Absent]) -> Result<()> {
        each(window, FETCHERS, |absent| {
            check_cancel(self.how)?;
            let mut bytes = Vec::new();
            match self.records.read(absent.need.kind, &absent.need.id, &mut bytes)? {
                true => Ok(()),
                false => Err(records::missing(absent.need.kind, &absent.need.id)),
            }
        })
    }
}

fn check_cancel(how: &Fetch<'_>) -> Result<()> {
    match how.cancel {
        Some(cancel) if cancel.load(Ordering::Relaxed) => Err(Error::interrupted()),
        _ => Ok(()),
    }
}

/// Cuts a list into parts whose bytes are bounded.
fn windows(absent: &[Absent]) -> impl Iterator<Item = &[Absent]> {
    let mut rest = absent;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take_while(|absent| {
                bytes += absent.ranges.iter().map(|(_, r)| r.end - r.start).sum::<u64>();
                bytes <= WINDOW_BYTES
            })
            .count()
            // A single record, with what it is based on, is always taken.
            .max(1);
        let window;
        (window, rest) = rest.split_at_checked(count)?;
        Some(window)
    })
}

impl Cache {
    /// Fetches ranges into the stash.
    fn request(&self, requests: &[Request], how: &Fetch<'_>) -> Result<()> {
        each(requests, FETCHERS, |request| {
            check_cancel(how)?;
            let length = request.range.end - request.range.start;
            let mut bytes = vec![0; to_usize(length)];
            let name = pack::object_name(&request.pack);
            match self.client.read(&name, request.range.start, &mut bytes) {
                Ok(()) => self.stash().put(&request.pack, request.range.start, bytes),
                // The reader of the records reports which of them are lost.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
            if let Some(progress) = how.progress {
                progress(length);
            }
            Ok(())
        })
    }

    /// Fetches what a locator names into the stash, with `ranges`. Does nothing if some of it is
    /// here: then what is missing is found node by node.
    fn prime(&self, locator: &[PackRange], mut ranges: Vec<(Id, Range<u64>)>) -> Result<()> {
        let mut bytes = 0;
        // The root was written last.
        for run in locator.iter().rev() {
            let range = run.offset..run.offset.saturating_add(run.length);
            if self.pack(&run.pack)?.bytes_within(&range) > 0 {
                return Ok(());
            }
            bytes += run.length.min(PRIMED_BYTES_MAX + 1);
            if bytes > PRIMED_BYTES_MAX {
                break;
            }
            let mut start = range.start;
            while start < range.end {
                let end = range.end.min(start.saturating_add(REQUEST_BYTES_MAX));
                ranges.push((run.pack, start..end));
                start = end;
            }
        }
        ranges.sort_unstable_by_key(|(pack, range)| (*pack, range.start, range.end));
        ranges.dedup();
        self.request(&coalesce(&ranges), &Fetch::default())
    }
}
