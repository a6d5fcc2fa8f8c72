//! Collection: what is kept is whole, what is not takes no room, and pushes beside it lose nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod beside;
mod forgetting;

use freestone_backend::directory::Directory;
use freestone_core::item::{Item, ItemSource};
use freestone_core::{ErrorKind, Id, Result, Watch};
use freestone_format::condemned::{self, Stage};
use freestone_format::pack;
use freestone_maintain::{self as maintain, Collected, GcOptions, Keep, Policy, Why};
use freestone_push::copy::{Copier, CopyOptions};
use freestone_push::{PushOptions, Source};
use freestone_store::{Expect, Store};
use freestone_testkit::{
    Hooked, MemorySource, Operation, Reading, findings, noise, push_tree, text,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A policy that keeps all, and looks at packs at once.
fn now() -> Policy {
    Policy { unused_percent: 30, min_age: Duration::ZERO, ..Policy::default() }
}

fn options(last: Option<u64>) -> GcOptions {
    GcOptions {
        policy: Policy { others: Keep { last, ..Keep::default() }, ..now() },
        grace: Duration::ZERO,
        now: i64::from(u32::MAX),
        dry_run: false,
    }
}

fn gc(store: &Store, last: u64) -> Collected {
    maintain::gc(store, &options(Some(last)), Watch::default()).unwrap()
}

fn push_to(store: &Store, name: &str, tree: &MemorySource, time: i64) -> Id {
    let ref_name = Some(name.to_owned());
    let options = PushOptions { ref_name, time, threads: 1, ..PushOptions::default() };
    push_tree(store, tree, &options).unwrap().id
}

/// Pushes `count` revisions to `main`, each of which changes a page, adds a large content and drops
/// the one before it.
fn history(store: &Store, count: u64) -> BTreeMap<u64, (Id, MemorySource)> {
    let mut tree = MemorySource::default();
    (0..40).for_each(|n| tree.set(format!("pages/{n:02}"), text(3000, n)));
    let mut trees = BTreeMap::new();
    for n in 1..=count {
        tree.set(format!("pages/{:02}", n % 40), text(3000, 1000 + n));
        tree.files.remove(format!("large/{}", n - 1).as_bytes());
        tree.set(format!("large/{n}"), noise(1_300_000, n));
        let id = push_to(store, "main", &tree, 1000 + i64::try_from(n).unwrap());
        trees.insert(n, (id, tree.clone().explicit()));
    }
    trees
}

fn check<'a>(store: &Store, trees: impl Iterator<Item = &'a (Id, MemorySource)>) {
    assert_eq!(findings(store).unwrap(), []);
    let mut reading = Reading::new(store);
    for (id, tree) in trees {
        assert!(reading.revision(id).unwrap() == *tree);
    }
}

fn packs_bytes(store: &Store) -> u64 {
    store.backend().list("packs").unwrap().iter().map(|listed| listed.length).sum()
}

#[test]
fn what_no_kept_entry_needs_takes_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    let trees = history(&store, 12);
    let preview =
        maintain::gc(&store, &GcOptions { dry_run: true, ..options(Some(2)) }, Watch::default());
    let preview = preview.unwrap();
    check(&store, trees.values());
    let done = gc(&store, 2);
    assert_eq!((preview.dead, preview.rewritten), (done.dead, done.rewritten));
    assert!(done.dead.0 + done.rewritten.0 > 5, "{done:?}");
    assert_eq!(done.removed.1, done.dead.1 + done.rewritten.1);
    let kept = &done.refs["main"].kept;
    assert_eq!(
        kept.iter().map(|(n, _, why)| (*n, *why)).collect::<Vec<_>>(),
        [(12, Why::Newest), (11, Why::Last)]
    );
    assert_eq!(done.refs["main"].dropped.len(), 10);
    check(&store, trees.range(11..).map(|(_, kept)| kept));
    // As small as a store to which only those were pushed.
    let fresh = Store::init(&folder.path().join("fresh")).unwrap();
    let mut copier = Copier::new(&store, &fresh, CopyOptions::default(), Watch::default()).unwrap();
    trees.range(11..).for_each(|(_, (id, _))| copier.revision(id).unwrap());
    drop(copier);
    let (small, fresh) = (packs_bytes(&store), packs_bytes(&fresh));
    assert!(small <= fresh + fresh / 20, "{small} bytes, {fresh} in a fresh store");
    // A second one has nothing to do.
    let again = gc(&store, 2);
    assert_eq!((again.dead.0, again.rewritten.0, again.removed.0), (0, 0, 0), "{again:?}");
    // Pushes go on, and what is pushed again is stored again.
    let id = push_to(&store, "old", &trees[&3].1, 5000);
    check(&store, [(id, trees[&3].1.clone())].iter());
}

#[test]
fn every_ref_keeps_its_newest_entry_and_patterns_keep_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let main = history(&store, 3);
    let mut tree = MemorySource::default();
    let mut other = Vec::new();
    for n in 0..3 {
        tree.set("a", noise(200_000, 50 + n));
        other.push((push_to(&store, "release/1", &tree, 2000), tree.clone().explicit()));
    }
    store.set_pin(&store.refs(), "hosts/web/pin", main[&1].0, 2100).unwrap();
    let all = vec![("release/*".to_owned(), Keep::default())];
    let others = Keep { last: Some(1), ..Keep::default() };
    let policy = Policy { patterns: all, others, ..now() };
    let options = GcOptions { policy, ..options(None) };
    maintain::gc(&store, &options, Watch::default()).unwrap();
    check(&store, [&main[&1], &main[&3]].into_iter().chain(&other));
    let mut reading = Reading::new(&store);
    assert!(reading.revision(&main[&2].0).is_err());
}

#[test]
fn a_sweeper_that_died_at_any_step_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    for step in 0..4 {
        let store = Store::init(&folder.path().join(step.to_string())).unwrap();
        let trees = history(&store, 4);
        let backend = store.backend();
        // All packs are condemned: nothing that is needed goes all the same.
        let packs = backend.list("packs").unwrap();
        let packs: Vec<Id> = packs.iter().filter_map(|l| pack::id_of_object(&l.name)).collect();
        let intent = condemned::object_name(1, Stage::Intent);
        backend.create(&intent, &condemned::encode(Stage::Intent, &packs)).unwrap();
        if step >= 1 {
            store.refs().put_barrier("main", 1).unwrap();
        }
        if step >= 2 {
            let verdict = condemned::object_name(1, Stage::Verdict);
            let nothing = condemned::encode(Stage::Verdict, &[]);
            backend.create(&verdict, &nothing).unwrap();
        }
        if step >= 3 {
            backend.create(&condemned::object_name(1, Stage::Closed), b"").unwrap();
        }
        // A push beside it stores again what is condemned.
        let mut tree = trees[&4].1.clone();
        tree.set("more", "of it");
        let id = push_to(&store, "main", &tree, 3000);
        gc(&store, 1);
        check(&store, [(id, tree.explicit())].iter());
        let left: Vec<String> =
            backend.list("gc").unwrap().into_iter().map(|listed| listed.name).collect();
        assert!(left.len() == 1 && left[0].ends_with(".closed"), "{left:?}");
    }
}

/// Items that collect, once, when half of them are given.
struct Collecting<'a>(std::vec::IntoIter<Item>, &'a Store, &'a AtomicBool);

impl ItemSource for Collecting<'_> {
    fn next(&mut self) -> Result<Option<Item>> {
        if self.0.len() == 10 && !self.2.swap(true, Ordering::Relaxed) {
            maintain::gc(self.1, &options(Some(1)), Watch::default())?;
        }
        Ok(self.0.next())
    }
}

#[test]
fn a_push_that_found_what_is_collected_stores_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 5);
    // The contents of an old revision, pushed again to a ref that is new and to one that is not.
    for (at, name) in ["new", "main"].into_iter().enumerate() {
        let tree = &trees[&1].1;
        let collected: &AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let walk = || -> Result<Box<dyn ItemSource>> {
            let other = Box::leak(Box::new(store.clone()));
            Ok(Box::new(Collecting(tree.items().into_iter(), other, collected)))
        };
        let source = Source { walk: &walk, opener: tree, key: None };
        let time = 4000 + i64::try_from(at).unwrap();
        let ref_name = Some(name.to_owned());
        let options = PushOptions { ref_name, time, threads: 1, ..PushOptions::default() };
        let id = freestone_push::push(&store, &source, &options, Watch::default()).unwrap().id;
        assert!(collected.load(Ordering::Relaxed));
        check(&store, [(id, tree.clone())].iter());
    }
}

#[test]
fn a_revision_that_was_collected_is_not_named_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 4);
    store.set_ref("kept", trees[&2].0, Expect::Absent, 2000).unwrap();
    gc(&store, 1);
    store.set_ref("again", trees[&2].0, Expect::Absent, 2001).unwrap();
    let error = store.set_ref("gone", trees[&1].0, Expect::Absent, 2002).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    check(&store, [&trees[&2], &trees[&4]].into_iter());
}

#[test]
fn nothing_is_collected_from_a_store_that_lacks_something() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    history(&store, 4);
    for listed in store.backend().list("packs").unwrap() {
        let path: &Path = &folder.path().join(&listed.name);
        std::fs::rename(path, folder.path().join("away")).unwrap();
        let before = store.backend().list("packs").unwrap();
        let all = GcOptions { policy: now(), ..options(None) };
        let error = maintain::gc(&store, &all, Watch::default()).unwrap_err();
        assert!(error.is_damage() && error.hint_text().unwrap().contains("verify"), "{error}");
        assert_eq!(store.backend().list("packs").unwrap(), before);
        std::fs::rename(folder.path().join("away"), path).unwrap();
    }
    assert_eq!(findings(&store).unwrap(), []);
}

#[test]
fn entries_that_were_collected_are_told_from_those_that_were_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 5);
    gc(&store, 2);
    let error = store.resolve("main@2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("main@2 was collected"), "{error}");
    assert!(error.hint_text().unwrap().contains("ref log main"), "{error:?}");
    assert_eq!(store.resolve("main@4").unwrap().id, trees[&4].0);
    let lacking = || -> Vec<u64> {
        let collected = store.refs().collected("main").unwrap();
        (1..=5).filter(|n| collected.may_lack(*n)).collect()
    };
    assert_eq!(lacking(), [1, 2, 3]);
    // A policy that keeps less later says so, and leaves one object.
    gc(&store, 1);
    assert_eq!(lacking(), [1, 2, 3, 4]);
    let objects = store.backend().list("refs/main").unwrap();
    let marks = objects.iter().filter(|listed| listed.name.contains("collected-"));
    assert_eq!(marks.count(), 1);
    check(&store, [&trees[&5]].into_iter());
    // What was not collected and is gone is a loss.
    let packs = store.backend().list("packs").unwrap();
    packs.iter().for_each(|pack| store.backend().remove(&pack.name).unwrap());
    assert_ne!(findings(&Store::open(folder.path()).unwrap()).unwrap(), []);
}

#[test]
fn what_a_verdict_removes_is_written_down_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 4);
    // The collection dies at once when the verdict is there.
    let is_there = AtomicBool::new(false);
    let hook = move |operation: Operation, name: &str| {
        assert!(!is_there.load(Ordering::Relaxed), "it dies here");
        if operation == Operation::Create && name.ends_with(".verdict") {
            is_there.store(true, Ordering::Relaxed);
        }
    };
    let hooked = Hooked::new(Arc::new(Directory::new(folder.path())), Box::new(hook));
    let dying = Store::open_backend(Arc::new(hooked), None).unwrap();
    let death = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gc(&dying, 1)));
    assert!(death.is_err());
    // The next one does what the verdict says, although its own policy keeps all.
    let all = GcOptions { policy: now(), ..options(None) };
    assert!(maintain::gc(&store, &all, Watch::default()).unwrap().removed.0 > 0);
    check(&store, [&trees[&4]].into_iter());
}

#[test]
fn a_ref_that_was_begun_and_not_set_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 2);
    store.refs().begin("begun").unwrap();
    check(&store, trees.values());
    // The hint is written anew.
    push_to(&store, "other", &trees[&2].1, 3000);
    maintain::reindex(&store, Watch::default()).unwrap();
    check(&store, trees.values());
    gc(&store, 1);
    check(&store, [&trees[&2]].into_iter());
}
