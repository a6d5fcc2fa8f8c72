//! Long work reports how far it is, and stops when it is cancelled, with nothing lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_backend::directory::{Directory, Step, Watcher};
use freestone_core::{Id, Result, Watch};
use freestone_maintain::{self as maintain, CompactOptions, VerifyOptions};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, findings, push_tree, text};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The number of pushes of [`new_store`], each of which writes a pack.
const PUSHES: u64 = 4;

fn new_store(root: &Path) -> (Store, Vec<Id>) {
    let store = Store::init(root).unwrap();
    let push = |n: u64| {
        let tree = MemorySource::of([("a", text(500, n)), ("b/c", text(2000, 7))]);
        let time = i64::try_from(n).unwrap();
        push_tree(&store, &tree, &PushOptions { time, ..PushOptions::default() }).unwrap().id
    };
    let ids = (0..PUSHES).map(push).collect();
    store.refresh();
    (store, ids)
}

/// Counts what is done, and cancels the work when it is `cancel_at`.
struct Counter {
    done: AtomicU64,
    total: AtomicU64,
    cancel: AtomicBool,
}

impl Counter {
    fn watch<T>(cancel_at: u64, work: impl FnOnce(Watch<'_>) -> T) -> (T, Self) {
        let counter = Self {
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            cancel: AtomicBool::new(cancel_at == 0),
        };
        let add = |units| {
            let done = counter.done.fetch_add(units, Relaxed) + units;
            counter.cancel.fetch_or(done >= cancel_at, Relaxed);
        };
        let total = |units| counter.total.store(units, Relaxed);
        let outcome = work(Watch::new(&counter.cancel, &add).with_total(&total));
        (outcome, counter)
    }

    /// What was done, and how much there was to do.
    fn figures(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }
}

fn assert_interrupted<T>(outcome: Result<T>) {
    assert_eq!(outcome.err().unwrap().to_string(), "interrupted");
}

#[test]
fn verifying_reports_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = new_store(&folder.path().join("store"));
    let verify =
        |watch: Watch<'_>| maintain::verify(&store, VerifyOptions::default(), watch, &mut |_| ());
    let (report, counter) = Counter::watch(u64::MAX, verify);
    let report = report.unwrap();
    let all = report.records + report.entries;
    assert_eq!(counter.figures(), (all, 0));
    for at in [0, 1, report.records, all - 1] {
        assert_interrupted(Counter::watch(at, verify).0);
    }
}

#[test]
fn summing_up_reports_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = new_store(&folder.path().join("store"));
    let stats = |watch: Watch<'_>| maintain::stats(&store, watch);
    let (sum, counter) = Counter::watch(u64::MAX, stats);
    assert_eq!(sum.unwrap(), maintain::stats(&store, Watch::default()).unwrap());
    assert_eq!(counter.figures(), (2 * PUSHES, 2 * PUSHES));
    for at in 0..2 * PUSHES {
        assert_interrupted(Counter::watch(at, stats).0);
    }
}

#[test]
fn compacting_reports_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ids) = new_store(&folder.path().join("store"));
    let options = CompactOptions { level: 3, ..CompactOptions::default() };
    let compact = |watch: Watch<'_>| maintain::compact(&store, &options, watch);
    for at in [0, 1, 5] {
        assert_interrupted(Counter::watch(at, compact).0);
        assert_eq!(findings(&store).unwrap(), []);
    }
    let (done, counter) = Counter::watch(u64::MAX, compact);
    assert_eq!(done.unwrap().old_packs.0, PUSHES);
    let (done, total) = counter.figures();
    assert_eq!(done, total);
    assert_eq!(findings(&store).unwrap(), []);
    assert!(ids.iter().all(|id| store.revision(id).unwrap().is_some()));
}

/// Cancels the work before step `at` of what it changes on the disk.
#[derive(Default)]
struct CancelAt {
    steps: AtomicU64,
    at: AtomicU64,
    cancel: AtomicBool,
}

impl Watcher for CancelAt {
    fn before(&self, _: &Step<'_>) -> io::Result<()> {
        let step = self.steps.fetch_add(1, Relaxed) + 1;
        self.cancel.fetch_or(step == self.at.load(Relaxed), Relaxed);
        Ok(())
    }
}

#[test]
fn a_reindexing_that_is_cancelled_leaves_a_whole_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let (_, ids) = new_store(&root);
    let watcher = Arc::new(CancelAt::default());
    let backend = Arc::new(Directory::watched(&root, watcher.clone()));
    let store = Store::open_backend(backend, Some(root.clone())).unwrap();
    let whole = || {
        store.refresh();
        assert_eq!(findings(&store).unwrap(), []);
        assert!(ids.iter().all(|id| store.revision(id).unwrap().is_some()));
    };
    // Before, between and after the packs are read. A file of a revision that is missing is
    // written again on the way, or the next time.
    let lost = root.join("revisions").join(ids[1].to_string());
    for at in 0..=PUSHES {
        fs::remove_file(&lost).unwrap();
        let (outcome, counter) = Counter::watch(at, |watch| maintain::reindex(&store, watch));
        assert_interrupted(outcome);
        assert_eq!(counter.figures(), (at, if at == 0 { 0 } else { PUSHES }));
        whole();
        let (outcome, counter) = Counter::watch(u64::MAX, |watch| maintain::reindex(&store, watch));
        let done = outcome.unwrap();
        assert_eq!((done.packs, done.segments), (PUSHES, 1));
        assert_eq!(counter.figures(), (PUSHES, PUSHES));
        assert!(lost.exists());
        whole();
    }
    // Before each change of the disk: it stops, or is too far to.
    let mut stopped = 0;
    for at in 1.. {
        fs::remove_file(&lost).unwrap();
        watcher.steps.store(0, Relaxed);
        watcher.at.store(at, Relaxed);
        watcher.cancel.store(false, Relaxed);
        let outcome = maintain::reindex(&store, Watch::cancelled_by(&watcher.cancel));
        let is_end = watcher.steps.load(Relaxed) < at;
        match outcome {
            Ok(_) => {}
            outcome => {
                assert_interrupted(outcome);
                stopped += 1;
            }
        }
        whole();
        maintain::reindex(&store, Watch::default()).unwrap();
        assert_eq!(fs::read_dir(root.join("index")).unwrap().count(), 2, "segment and hint");
        if is_end {
            break;
        }
    }
    assert!(stopped > 0);
}
