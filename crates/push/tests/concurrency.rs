//! Many threads of one process over one store at once.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::{Error, ErrorKind, Result, Watch};
use freestone_format::RefEntry;
use freestone_maintain::{self as maintain, CompactOptions};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{
    Faults, Faulty, Hooked, MemorySource, Operation, Reading, findings, noise, push_tree, text,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn options(ref_name: &str, time: i64) -> PushOptions {
    PushOptions { ref_name: Some(ref_name.into()), time, threads: 2, ..PushOptions::default() }
}

/// A tree of pusher `who`'s at its push `n`: some of it only its own, some of it everybody's.
fn tree(who: u64, n: u64) -> MemorySource {
    let mut tree = MemorySource::of([
        ("own", text(2000, 1000 * who + n)),
        ("d/shared", text(5000, n)),
        ("large", [noise(90_000, n), vec![0; 1 << 20], text(400_000, who)].concat()),
        (
            "larger",
            [noise(70_000, 7 + who), vec![1; 9 << 20], vec![u8::try_from(n).unwrap()]].concat(),
        ),
    ]);
    for file in 0..30 {
        tree.set(format!("pages/{file}"), text(300, file * 7 + n % 3));
    }
    tree.explicit()
}

#[test]
fn four_threads_push_different_trees_to_different_refs() {
    const PUSHES: u64 = 5;
    let (_folder, store) = new_store();
    std::thread::scope(|scope| {
        for who in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                let name = format!("site/{who}");
                for n in 0..PUSHES {
                    let made = push_tree(store, &tree(who, n), &options(&name, 100)).unwrap();
                    assert_eq!(made.ref_entry.unwrap().n, n + 1);
                }
            });
        }
    });
    assert_eq!(findings(&store).unwrap(), []);
    let mut reading = Reading::new(&store);
    for who in 0..4u64 {
        let log = store.refs().log(&format!("site/{who}")).unwrap();
        assert_eq!(log.len() as u64, PUSHES);
        for (entry, n) in log.iter().rev().zip(0..) {
            let id = entry.revision().unwrap();
            assert!(reading.revision(&id).unwrap() == tree(who, n), "pusher {who}, push {n}");
        }
    }
    let stats = maintain::stats(&store, Watch::default()).unwrap();
    assert!(stats.segments.0 < 20, "{} segments", stats.segments.0);
}

#[test]
fn threads_that_push_to_one_ref_win_or_conflict_and_retry_wins() {
    let (_folder, store) = new_store();
    let small = |who: u64, n: u64| MemorySource::of([("a", text(500, 100 * who + n))]);
    let outcomes: Vec<Result<RefEntry, Error>> = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..4u64)
            .map(|who| {
                let store = &store;
                scope.spawn(move || {
                    let push = |n, retry| {
                        let options = PushOptions { retry, ..options("main", 5) };
                        let made = push_tree(store, &small(who, n), &options)?;
                        Ok(made.ref_entry.unwrap())
                    };
                    (0..8).map(|n| push(n, n % 2 == 0)).collect::<Vec<_>>()
                })
            })
            .collect();
        pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect()
    });
    let log = store.refs().log("main").unwrap();
    let mut acknowledged = 0;
    for (at, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(entry) => {
                acknowledged += 1;
                let n = usize::try_from(entry.n).unwrap();
                assert_eq!(log[log.len() - n], *entry);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert!(at % 2 == 1, "a push with --retry was lost: {error}");
            }
        }
    }
    // What was not acknowledged is not in the log.
    assert_eq!(acknowledged, log.len());
    assert_eq!(findings(&store).unwrap(), []);
}

/// How long files are made and cleared side by side: a number of rounds would take for ever on a
/// machine whose processors are busy.
const CLEARING_TIME: Duration = Duration::from_secs(2);

#[test]
fn clearing_what_the_dead_left_never_takes_what_the_living_write() {
    let (_folder, store) = new_store();
    let root = store.root().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Directory::new(root).clear_left_over();
                }
            });
        }
        let writer = scope.spawn(|| {
            let backend = Directory::new(root);
            let begun = Instant::now();
            for n in (0..).take_while(|_| begun.elapsed() < CLEARING_TIME) {
                backend.spool().map(drop).unwrap_or_else(|e| panic!("spool {n}: {e:?}"));
                if n % 50 == 0 {
                    let made = backend.create(&format!("probe/{n}"), b"x");
                    made.unwrap_or_else(|e| panic!("object {n}: {e:?}"));
                }
            }
        });
        let outcome = writer.join();
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}

/// As soon as a segment is there, another pusher may merge it with others and remove it.
#[test]
fn a_segment_that_is_merged_away_at_once_does_not_end_its_push() {
    for files in [10, 6000] {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::init(folder.path()).unwrap());
        let backend =
            Arc::new(Faulty::new(Arc::new(Directory::new(folder.path())), Faults::default(), 1));
        backend.set_vanishing("index/");
        let store = Store::open_backend(backend.clone(), None).unwrap();
        let mut tree = MemorySource::default();
        for file in 0..files {
            tree.set(format!("{}/{file}", file % 50), format!("content {file}"));
        }
        let outcome = push_tree(&store, &tree, &options("main", 5)).unwrap();
        // What the other one wrote, rebuilt.
        let store = Store::open(folder.path()).unwrap();
        maintain::reindex(&store, Watch::default()).unwrap();
        let back = Reading::new(&store).revision(&outcome.id).unwrap();
        assert!(back == tree.explicit(), "another tree of {files} files");
    }
}

#[test]
fn a_reader_who_is_slower_than_those_who_push_gets_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    drop(Store::init(&root).unwrap());
    let pushes = Arc::new(AtomicU64::new(0));
    let push = {
        let (root, pushes) = (root.clone(), pushes.clone());
        move || {
            let n = pushes.fetch_add(1, Ordering::Relaxed);
            let tree = MemorySource::of([("file", format!("content {n}"))]);
            let store = Store::open(&root).unwrap();
            push_tree(&store, &tree, &options(&format!("other-{n}"), 5)).unwrap();
        }
    };
    (0..4).for_each(|_| push());
    // Whenever a second segment is opened behind a listing, another push is made: so many push beside
    // a reader who is slow.
    let opened = AtomicUsize::new(0);
    let hook = move |operation: Operation, name: &str| match operation {
        Operation::List => opened.store(0, Ordering::Relaxed),
        Operation::Open
            if name.starts_with("index/") && opened.fetch_add(1, Ordering::Relaxed) == 1 =>
        {
            push();
        }
        _ => {}
    };
    let busy = Hooked::new(Arc::new(Directory::new(&root)), Box::new(hook));
    let store = Store::open_backend(Arc::new(busy), None).unwrap();
    let id = store.refs().current("other-3").unwrap().unwrap();
    assert!(Reading::new(&store).revision(&id).unwrap().files.len() == 1);
    // What is open already is not opened again, so there is time for only one more push.
    assert_eq!(pushes.load(Ordering::Relaxed), 5);
}

#[test]
fn segments_that_a_compaction_takes_out_while_they_are_merged_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    drop(Store::init(&root).unwrap());
    let compactions = Arc::new(AtomicUsize::new(0));
    // The store is compacted right before a merged segment is made.
    let hook = {
        let (root, compactions) = (root.clone(), compactions.clone());
        move |operation: Operation, name: &str| {
            if operation != Operation::Create || !name.starts_with("index/01-") {
                return;
            }
            compactions.fetch_add(1, Ordering::Relaxed);
            let options = CompactOptions {
                all: true,
                level: 1,
                grace: Duration::ZERO,
                ..CompactOptions::default()
            };
            let store = Store::open(&root).unwrap();
            maintain::compact(&store, &options, Watch::default()).unwrap();
        }
    };
    let beside = Arc::new(Hooked::new(Arc::new(Directory::new(&root)), Box::new(hook)));
    for n in 0..20 {
        let store = Store::open_backend(beside.clone(), None).unwrap();
        let tree =
            MemorySource::of([("file", format!("content {n}")), ("other", "the same".into())]);
        let outcome = push_tree(&store, &tree, &options("main", 5)).unwrap();
        let store = Store::open(&root).unwrap();
        assert_eq!(findings(&store).unwrap(), [], "push {n}");
        assert!(Reading::new(&store).revision(&outcome.id).unwrap() == tree);
    }
    assert!(compactions.load(Ordering::Relaxed) > 0);
}
