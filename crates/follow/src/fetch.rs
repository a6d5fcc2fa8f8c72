//! Fetching: all that a revision needs is made to be here, proven.
//!
//! First its manifest: the ranges that the revision's locator names in one go, then, level by
//! level, the nodes that are in none of them. Then its contents, in windows that bound what is held
//! in memory: what is not here is looked up in the index, put in the order of the packs, and asked
//! for with few requests, several at once. Each record is proven before it counts as here.

mod walk;

use super::needs::{Absent, Need, Overlay};
use super::requests::{REQUEST_BYTES_MAX, Request, coalesce};
use super::{Follower, Inner};
use crate::read::records::Records;
use crate::store::Store;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_format::revision::PackRange;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub(super) use walk::Walk;

/// Requests that are under way at once.
const FETCHERS: usize = 8;
/// Bytes that are fetched before they are proven and written.
const WINDOW_BYTES: u64 = 48 << 20;
/// Bytes of a locator that are fetched before anything is known to need them.
const PRIMED_BYTES_MAX: u64 = 16 << 20;

/// What is to be fetched.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The manifest's root.
    pub root: Id,
    /// Only what is at or below this path; `None` for everything.
    pub below: Option<Vec<u8>>,
    /// Whether the contents too, or the manifest alone.
    pub contents: bool,
}

/// How it is fetched.
#[derive(Default)]
pub struct Fetch<'a> {
    /// Whether contents are only summed up, and not fetched. The manifest is.
    pub dry_run: bool,
    /// Told the bytes that came in.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Set to stop.
    pub cancel: Option<&'a AtomicBool>,
}

/// What was fetched, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Requests for ranges of packs.
    pub requests: u64,
    /// Bytes that came in, or would.
    pub bytes: u64,
    /// Records that were not here.
    pub records: u64,
    /// Stored bytes of these records, and of what they are based on.
    pub stored: u64,
}

impl Store {
    /// Begins to fetch the manifest of revision `id` where this store follows an upstream: what its
    /// locator says, in as few requests as that takes. Only saves time.
    ///
    /// # Errors
    /// The upstream is out of reach.
    pub fn prime(&self, id: &Id) -> Result<()> {
        let Some(follower) = self.following() else { return Ok(()) };
        if follower.is_offline() {
            return Ok(());
        }
        let (revision, locator) = match crate::revisions::read_file(&**self.backend(), id) {
            Ok(Some(file)) => file,
            Err(error) if error.kind() == ErrorKind::Storage => return Err(error),
            // It is only a hint.
            _ => return Ok(()),
        };
        let need = Need { kind: RecordKind::ManifestNode, id: revision.root };
        // The root may be based on a node that came with an older revision.
        let root = follower.0.absent(&self.records()?, &need, None).unwrap_or_default();
        follower.0.prime(&locator, root.map(|absent| absent.ranges).unwrap_or_default())
    }

    /// Makes all that `subject` needs to be here, proven; nothing to do where this store follows no
    /// upstream.
    ///
    /// # Errors
    /// The upstream is out of reach, a record is missing or damaged, or there is no room.
    pub fn fetch(&self, subject: &Subject, how: &Fetch<'_>) -> Result<Fetched> {
        let Some(follower) = self.following() else { return Ok(Fetched::default()) };
        match self.fetch_with(follower, subject, how) {
            // What was pushed since the index was listed is not in it.
            Err(error) if error.kind() == ErrorKind::Corrupt && !follower.is_offline() => {
                // Or the disk has damaged what is kept of it.
                if follower.0.drop_damaged_segments().is_err() {
                    return Err(error);
                }
                self.refresh();
                self.fetch_with(follower, subject, how)
            }
            outcome => outcome,
        }
    }

    fn fetch_with(
        &self,
        follower: &Follower,
        subject: &Subject,
        how: &Fetch<'_>,
    ) -> Result<Fetched> {
        let records = self.records()?;
        follower.0.fetching.fetch_add(1, Ordering::Relaxed);
        let _ends = Ends(&follower.0);
        let fetching = Fetching {
            inner: &follower.0,
            records: &records,
            how,
            begun: super::sparse::now(),
            fetched: Mutex::default(),
        };
        let mut overlay = how.dry_run.then(Overlay::new);
        let mut contents = Fetched::default();
        let walk = Walk::new(&records, subject);
        walk.run(&mut |kind_is_content, needs| {
            match &mut overlay {
                Some(overlay) if kind_is_content => fetching.preview(needs, overlay, &mut contents),
                _ => fetching.bring(needs),
            }?;
            Ok(true)
        })?;
        follower.flush()?;
        let mut fetched = *fetching.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if how.dry_run {
            fetched = contents;
        }
        Ok(fetched)
    }
}

/// Ends a fetching that was counted.
struct Ends<'a>(&'a Inner);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One fetching of something.
struct Fetching<'a> {
    inner: &'a Inner,
    records: &'a Records,
    how: &'a Fetch<'a>,
    /// When it began: milliseconds since 1970. What was used since is not given up for it.
    begun: u64,
    fetched: Mutex<Fetched>,
}

/// The ranges of what is absent, sorted.
fn sorted_ranges(absent: &[Absent]) -> Vec<(Id, Range<u64>)> {
    let mut ranges: Vec<_> = absent.iter().flat_map(|absent| absent.ranges.clone()).collect();
    ranges.sort_unstable_by_key(|(pack, range)| (*pack, range.start, range.end));
    ranges.dedup();
    ranges
}

impl Fetching<'_> {
    /// Which of `needs` are not here, each once.
    fn absent(&self, needs: &[Need], overlay: Option<&Overlay>) -> Result<Vec<Absent>> {
        let mut needs = needs.to_vec();
        needs.sort_unstable();
        needs.dedup();
        let mut absent = Vec::new();
        for need in &needs {
            absent.extend(self.inner.absent(self.records, need, overlay)?);
        }
        absent.sort_by(|a, b| {
            let key = |absent: &Absent| absent.ranges.first().map(|(p, range)| (*p, range.start));
            key(a).cmp(&key(b))
        });
        Ok(absent)
    }

    /// Sums up what `needs` would cost.
    fn preview(&self, needs: &[Need], overlay: &mut Overlay, sum: &mut Fetched) -> Result<()> {
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

    /// Makes `needs` to be here, proven.
    fn bring(&self, needs: &[Need]) -> Result<()> {
        let absent = self.absent(needs, None)?;
        for window in windows(&absent) {
            self.bring_window(window)?;
        }
        Ok(())
    }

    fn bring_window(&self, window: &[Absent]) -> Result<()> {
        let stashed: Vec<bool> =
            window.iter().map(|absent| self.inner.is_stashed(absent)).collect();
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
        self.inner.evict(bytes, Some(self.begun))?;
        self.inner.request(&requests, self.how)?;
        self.prove(window)?;
        for request in &requests {
            self.inner.stash().drop_at(&request.pack, request.range.start);
        }
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.requests += requests.len() as u64;
        fetched.bytes += bytes;
        fetched.records += window.len() as u64;
        fetched.stored += sorted_ranges(window).iter().map(|(_, r)| r.end - r.start).sum::<u64>();
        Ok(())
    }

    /// Reads what came in, which proves and keeps it.
    fn prove(&self, window: &[Absent]) -> Result<()> {
        each(window, |absent| {
            check_cancel(self.how)?;
            let mut bytes = Vec::new();
            match self.records.read(absent.need.kind, &absent.need.id, &mut bytes)? {
                true => Ok(()),
                false => Err(crate::read::records::missing(absent.need.kind, &absent.need.id)),
            }
        })
    }
}

fn check_cancel(how: &Fetch<'_>) -> Result<()> {
    match how.cancel {
        Some(cancel) if cancel.load(Ordering::Relaxed) => {
            Err(Error::new(ErrorKind::Failed, "interrupted"))
        }
        _ => Ok(()),
    }
}

/// Does `work` for each of `things`, several at once.
fn each<T: Sync>(things: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || -> Result<()> {
        while !failed.load(Ordering::Relaxed)
            && let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed))
        {
            work(thing).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    if things.len() < 2 {
        return run();
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..FETCHERS.min(things.len())).map(|_| scope.spawn(run)).collect();
        let outcomes: Vec<_> =
            workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        outcomes.into_iter().try_for_each(|outcome| match outcome {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Parts of a list whose bytes are bounded.
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

impl Inner {
    /// Fetches ranges into the stash.
    fn request(&self, requests: &[Request], how: &Fetch<'_>) -> Result<()> {
        each(requests, |request| {
            check_cancel(how)?;
            let length = request.range.end - request.range.start;
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            let name = pack::object_name(&request.pack);
            match self.client.read(&name, request.range.start, &mut bytes) {
                Ok(()) => self.stash().put(&request.pack, request.range.start, bytes),
                // Who reads the records tells which of them are lost.
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
            if let Some(progress) = how.progress {
                progress(length);
            }
            Ok(())
        })
    }

    /// Fetches what a locator names into the stash, with `ranges`, unless some of it is here: then
    /// what is missing is found node by node.
    fn prime(&self, locator: &[PackRange], mut ranges: Vec<(Id, Range<u64>)>) -> Result<()> {
        let mut bytes = 0;
        // The root was written last.
        for run in locator.iter().rev() {
            let range = run.offset..run.offset.saturating_add(run.length);
            if self.pack(&run.pack).bytes_within(&range) > 0 {
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
