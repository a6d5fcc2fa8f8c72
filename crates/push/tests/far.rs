//! Pushes to a store that is not at hand: the same revisions, and requests only for what differs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::directory::Directory;
use freestone_core::item::{FileOpener, ItemSource, OpenFile};
use freestone_core::{ErrorKind, Result, Watch};
use freestone_maintain::{self as maintain, VerifyOptions};
use freestone_push::{PushOptions, PushOutcome, Source};
use freestone_store::Store;
use freestone_testkit::{MemorySource, Recorded, Recording, cases, noise, push_tree, text};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn options(time: i64) -> PushOptions {
    PushOptions { time, ..PushOptions::default() }
}

/// The store at `root` for who does not know that it is a directory.
fn far(root: &Path) -> (Store, Arc<Recording>) {
    let recording = Arc::new(Recording::new(Arc::new(Directory::new(root))));
    (Store::open_backend(recording.clone(), None).unwrap(), recording)
}

fn assert_sound(root: &Path) {
    let mut findings = Vec::new();
    let store = Store::open(root).unwrap();
    maintain::verify(&store, VerifyOptions { data: true }, Watch::default(), &mut |finding| {
        findings.push(finding);
    })
    .unwrap();
    assert_eq!(findings, []);
}

/// What both ways of pushing have to agree on.
fn told(outcome: &PushOutcome) -> (freestone_core::Id, bool, [u64; 3], bool) {
    let counts = [outcome.changed, outcome.new, outcome.gone];
    (outcome.id, outcome.up_to_date, counts, outcome.inexpressible)
}

fn trees() -> impl Strategy<Value = Vec<MemorySource>> {
    let length = prop_oneof![8 => 0..2000usize, 1 => (1usize << 20) - 1..(3 << 20)];
    let bytes = (length, 0..40u64, any::<bool>()).prop_map(|(length, seed, is_text)| {
        if is_text { text(length, seed) } else { noise(length, seed) }
    });
    let change = ((0..4u8, 0..30u8), proptest::option::weighted(0.8, bytes));
    let step = proptest::collection::vec(change, 0..40);
    proptest::collection::vec(step, 1..5).prop_map(|steps| {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut trees = Vec::new();
        for step in steps {
            for ((folder, file), bytes) in step {
                let path = format!("{folder}/{file}");
                match bytes {
                    Some(bytes) => files.insert(path, bytes),
                    None => files.remove(&path),
                };
            }
            trees.push(MemorySource::of(files.clone()));
        }
        trees
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(12, 200)))]
    #[test]
    fn the_revisions_are_those_of_a_push_at_hand(trees in trees()) {
        let folder = tempfile::tempdir().unwrap();
        let (near, root) = (Store::init(&folder.path().join("near")).unwrap(), folder.path().join("far"));
        Store::init(&root).unwrap();
        for (number, tree) in trees.iter().enumerate() {
            let options = options(1000 + i64::try_from(number).unwrap());
            let (store, _) = far(&root);
            let dry = PushOptions { dry_run: true, ..options.clone() };
            let foretold = push_tree(&store, tree, &dry).unwrap();
            let pushed = push_tree(&store, tree, &options).unwrap();
            let expected = push_tree(&near, tree, &options).unwrap();
            prop_assert_eq!(told(&pushed), told(&expected));
            prop_assert_eq!(told(&foretold), told(&expected));
        }
        assert_sound(&root);
    }
}

#[test]
fn a_push_asks_only_for_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let site = |changed: &[usize]| {
        MemorySource::of((0..20_000).map(|number| {
            let seed = number as u64 + if changed.contains(&number) { 1 << 32 } else { 0 };
            (format!("{:02}/{number}", number % 100), text(100, seed))
        }))
    };
    push_tree(&Store::init(&root).unwrap(), &site(&[]), &options(1000)).unwrap();
    let measure = |changed: &[usize], time| {
        let (store, recording) = far(&root);
        recording.take();
        let outcome = push_tree(&store, &site(changed), &options(time)).unwrap();
        (outcome, recording.take())
    };
    let nodes = |log: &[Recorded]| {
        log.iter()
            .filter(
                |request| matches!(request, Recorded::Read(name, ..) if name.starts_with("packs/")),
            )
            .count()
    };
    // The ref, the revision, and no more.
    let (outcome, log) = measure(&[], 1001);
    assert!(outcome.up_to_date);
    assert!(log.len() <= 5, "{log:?}");
    assert!(
        !log.iter().any(|request| matches!(request, Recorded::List(folder) if folder == "index"))
    );
    // Two paths, far from each other: a node a level each, a few more where they lie at a border;
    // the pack's table once, where a prefix is met.
    let (outcome, log) = measure(&[7, 12_345], 1002);
    assert_eq!((outcome.changed, outcome.new, outcome.gone), (2, 0, 0));
    assert_eq!(outcome.files_hashed, 20_002, "what differs is read a second time");
    println!("{} requests, {} of them reads of packs", log.len(), nodes(&log));
    assert!(nodes(&log) <= 20, "{} of packs: {log:?}", nodes(&log));
    assert!(outcome.bytes_stored < 40_000, "{}", outcome.bytes_stored);
    assert_sound(&root);
}

/// Gives other bytes of `path` at every second opening, so many times.
struct Restless<'a> {
    tree: &'a MemorySource,
    other: MemorySource,
    opened: AtomicUsize,
    changes: usize,
}

impl FileOpener for Restless<'_> {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        if path != b"restless" {
            return self.tree.open(path);
        }
        let opened = self.opened.fetch_add(1, Ordering::Relaxed);
        if opened % 2 == 1 && opened / 2 < self.changes {
            self.other.open(path)
        } else {
            self.tree.open(path)
        }
    }
}

#[test]
fn a_file_that_changes_between_hashing_and_storing_is_hashed_again_or_named() {
    for (changes, succeeds) in [(1, true), (3, true), (usize::MAX, false)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let first = MemorySource::of([("still", "still")]);
        let before = push_tree(&Store::init(&root).unwrap(), &first, &options(1)).unwrap();
        let tree = MemorySource::of([("still", "still"), ("restless", "as it was")]);
        let restless = Restless {
            tree: &tree,
            other: MemorySource::of([("restless", "otherwise")]),
            opened: AtomicUsize::new(0),
            changes,
        };
        let walk = || -> Result<Box<dyn ItemSource>> { Ok(tree.walk()) };
        let source = Source { walk: &walk, opener: &restless, key: None };
        let (store, _) = far(&root);
        let outcome = freestone_push::push(&store, &source, &options(2), Watch::default());
        if succeeds {
            let near = Store::init(&folder.path().join("near")).unwrap();
            push_tree(&near, &first, &options(1)).unwrap();
            assert_eq!(outcome.unwrap().id, push_tree(&near, &tree, &options(2)).unwrap().id);
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains("restless changes"), "{error}");
            assert_eq!(store.refs().current("main").unwrap(), Some(before.id));
        }
        assert_sound(&root);
    }
}
