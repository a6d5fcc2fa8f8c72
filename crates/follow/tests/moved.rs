//! A long-lived process whose upstream is a directory that was unmounted, mounted again, or replaced.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::{ErrorKind, Id};
use freestone_follow::{Opened, Opening, Patience};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{Frozen, MemorySource, Reading, noise, push_tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn tree(n: u64) -> MemorySource {
    let mut tree = MemorySource::default();
    (0..20).for_each(|file| tree.set(format!("{file}"), noise(20_000, 100 * n + file)));
    tree.explicit()
}

fn push(root: &Path, n: u64) -> Id {
    push_tree(&Store::open(root).unwrap(), &tree(n), &PushOptions::default()).unwrap().id
}

/// Makes `to` a copy of the store `from`.
fn copy(from: &Path, to: &Path) {
    for (name, bytes) in &Frozen::of(from).unwrap().objects {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes.to_vec()).unwrap();
    }
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// An upstream with one revision, and a host that has nothing of it.
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        Store::init(&world.at("upstream")).unwrap();
        push(&world.at("upstream"), 0);
        let url = world.at("upstream");
        let url = url.to_str().unwrap();
        freestone_follow::init(&world.at("host"), url, None, "h", &Opening::default()).unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, patience: Duration) -> Opened {
        let patience = Patience::of(patience);
        let opening = Opening { patience, ..Opening::default() };
        freestone_follow::open(&self.at("host"), &opening).unwrap()
    }
}

#[test]
fn another_directory_with_the_same_store_is_followed() {
    let world = World::new();
    let opened = world.open(Duration::ZERO);
    let first = opened.store.resolve("main").unwrap().id;
    // The old directory is still there, and is an old state of the store.
    copy(&world.at("upstream"), &world.at("copy"));
    fs::rename(world.at("upstream"), world.at("old")).unwrap();
    fs::rename(world.at("copy"), world.at("upstream")).unwrap();
    let second = push(&world.at("upstream"), 1);
    opened.store.refresh();
    assert_eq!(opened.store.resolve("main").unwrap().id, second);
    assert_eq!(Reading::new(&opened.store).revision(&second).unwrap(), tree(1));
    // This time the old one is removed while a reader depends on it.
    copy(&world.at("upstream"), &world.at("copy"));
    fs::remove_dir_all(world.at("upstream")).unwrap();
    fs::rename(world.at("copy"), world.at("upstream")).unwrap();
    assert_eq!(Reading::new(&opened.store).revision(&first).unwrap(), tree(0));
}

#[test]
fn a_directory_that_is_unmounted_is_waited_for_until_it_is_mounted_again() {
    let world = World::new();
    let first = world.open(Duration::ZERO).store.resolve("main").unwrap().id;
    // What is left is an empty mount point, and what was open has nothing any more.
    copy(&world.at("upstream"), &world.at("copy"));
    let opened = world.open(Duration::from_secs(60));
    opened.store.resolve("main").unwrap();
    fs::remove_dir_all(world.at("upstream")).unwrap();
    fs::create_dir(world.at("upstream")).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| Reading::new(&opened.store).revision(&first));
        let listing = scope.spawn(|| opened.store.refs().list().map(|refs| refs.len()));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!reading.is_finished() && !listing.is_finished());
        fs::remove_dir(world.at("upstream")).unwrap();
        fs::rename(world.at("copy"), world.at("upstream")).unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), tree(0));
        assert_eq!(listing.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn a_directory_that_is_mounted_late_is_found() {
    let world = World::new();
    fs::rename(world.at("upstream"), world.at("away")).unwrap();
    fs::create_dir(world.at("upstream")).unwrap();
    let opened = world.open(Duration::from_secs(60));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| opened.store.resolve("main").map(|main| main.id));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!asking.is_finished());
        fs::remove_dir(world.at("upstream")).unwrap();
        fs::rename(world.at("away"), world.at("upstream")).unwrap();
        asking.join().unwrap().unwrap();
    });
}

#[test]
fn another_store_in_the_place_is_refused_and_nothing_is_read_from_it() {
    let world = World::new();
    let opened = world.open(Duration::ZERO);
    let first = opened.store.resolve("main").unwrap().id;
    opened.store.records().unwrap();
    fs::rename(world.at("upstream"), world.at("old")).unwrap();
    let error = opened.store.resolve("main").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "there is nothing: {error}");
    Store::init(&world.at("upstream")).unwrap();
    push(&world.at("upstream"), 5);
    let error = opened.store.resolve("main").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let url = world.at("upstream").display().to_string();
    assert!(error.to_string().starts_with(&url), "{error}");
    assert!(error.to_string().contains("another store is there now"), "{error}");
    // What is known by its id is still read from the directory that is open.
    assert_eq!(Reading::new(&opened.store).revision(&first).unwrap(), tree(0));
}
