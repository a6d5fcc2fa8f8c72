//! Full disks and read-only ones: a push fails and says what to do, the store stays sound, and
//! once there is room it goes on.
//!
//! Each test runs itself again in a mount namespace of its own, so that whatever happens, its
//! mounts are gone with it. Where that is not permitted the tests fail, unless
//! `FREESTONE_NO_MOUNT=1` says that it is known.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::{Error, ErrorKind, Id, Watch};
use freestone_maintain as maintain;
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{MemorySource, Reading, findings, noise, push_tree, text};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "FREESTONE_TEST_MOUNT";
const PAGE: u64 = 4096;

/// Runs `body` in a directory where a tmpfs with these options is mounted; `name` is the test's.
fn on_tmpfs(name: &str, options: &str, body: impl Fn(&Path)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = PathBuf::from(folder);
        mount(&["-t", "tmpfs", "-o", options, "freestone-test"], &folder);
        return body(&folder);
    }
    if std::env::var_os("FREESTONE_NO_MOUNT").is_some_and(|value| value == "1") {
        eprintln!("{name}: left out, since FREESTONE_NO_MOUNT=1");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, folder.path())
        .output();
    let hint = "it needs `unshare` and the right to mount; FREESTONE_NO_MOUNT=1 leaves it out";
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}: {hint}"));
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    let said = said.concat();
    assert!(output.status.success(), "{said}\nif it did not start: {hint}");
    // What was mounted there is not seen here, and nothing was written below it.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn mount(arguments: &[&str], folder: &Path) {
    let output = Command::new("mount").args(arguments).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot mount (FREESTONE_NO_MOUNT=1 leaves it out): {said}");
}

fn options(time: i64) -> PushOptions {
    PushOptions { time, threads: 2, ..PushOptions::default() }
}

fn free_bytes(folder: &Path) -> u64 {
    let free = rustix::fs::statvfs(folder).unwrap();
    free.f_bfree * free.f_frsize
}

/// Fills the disk until so many bytes are free.
fn fill(folder: &Path, free: u64) {
    let ballast = File::options().create(true).append(true).open(folder.join("ballast")).unwrap();
    let length = ballast.metadata().unwrap().len();
    let more = free_bytes(folder).checked_sub(free).expect("the disk is as full already");
    ballast.write_all_at(&vec![1; usize::try_from(more).unwrap()], length).unwrap();
    assert_eq!(free_bytes(folder), free);
}

/// That an error says what happened and what to do.
fn assert_full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains("make room"), "{error}: {hint:?}");
    let cause = std::error::Error::source(error).expect("the cause is told").to_string();
    assert!(cause.contains("No space left"), "{cause}");
}

/// That a store is sound, holds these and nothing that a push left in `tmp/`.
fn assert_sound(root: &Path, held: &[(Id, &MemorySource)]) {
    let store = Store::open(root).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
    for (id, tree) in held {
        assert!(Reading::new(&store).revision(id).unwrap() == **tree);
    }
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_push_that_meets_a_full_disk_fails_and_works_once_there_is_room() {
    on_tmpfs(
        "a_push_that_meets_a_full_disk_fails_and_works_once_there_is_room",
        "size=8m",
        |folder| {
            let root = folder.join("store");
            let store = Store::init(&root).unwrap();
            let small = MemorySource::of([("a", text(9000, 1))]);
            let first = push_tree(&store, &small, &options(1)).unwrap();
            // A content for the lane that all share, and one for a pack of its own.
            for (time, size) in [(2, 3 << 20), (3, 9 << 20)] {
                fill(folder, 1 << 20);
                let mut large = small.clone();
                large.set("large", noise(size, 5));
                let before = maintain::stats(&store, Watch::default()).unwrap().stored();
                let error = push_tree(&store, &large, &options(time)).unwrap_err();
                assert_full(&error);
                let after = maintain::stats(&store, Watch::default()).unwrap().stored();
                assert_eq!(after, before, "what was written is removed");
                assert_eq!(store.resolve("main").unwrap().id, first.id);
                assert_sound(&root, &[(first.id, &small)]);
                std::fs::remove_file(folder.join("ballast")).unwrap();
            }
            let mut large = small.clone();
            large.set("large", noise(3 << 20, 5));
            let second = push_tree(&store, &large, &options(4)).unwrap();
            assert_sound(&root, &[(first.id, &small), (second.id, &large)]);
        },
    );
}

#[test]
fn the_disk_may_be_full_at_any_point_of_a_push() {
    on_tmpfs("the_disk_may_be_full_at_any_point_of_a_push", "size=2m", |folder| {
        let root = folder.join("store");
        let store = Store::init(&root).unwrap();
        let mut tree = MemorySource::of([("a", noise(9000, 1))]);
        let mut last = push_tree(&store, &tree, &options(1)).unwrap();
        let mut was = tree.clone();
        let (mut failed, mut done) = (0, 0);
        for pages in 0..16 {
            fill(folder, pages * PAGE);
            tree.set("a", noise(9000, 2 + pages));
            match push_tree(&store, &tree, &options(2)) {
                Ok(made) => {
                    (last, was) = (made, tree.clone());
                    done += 1;
                }
                Err(error) => {
                    assert_full(&error);
                    failed += 1;
                }
            }
            assert_eq!(store.resolve("main").unwrap().id, last.id);
            assert_sound(&root, &[(last.id, &was)]);
            std::fs::remove_file(folder.join("ballast")).unwrap();
            // With room the same push works.
            last = push_tree(&store, &tree, &options(2)).unwrap();
            was = tree.clone();
            assert_sound(&root, &[(last.id, &was)]);
        }
        assert!(failed > 3 && done > 3, "{failed} failed, {done} done");
    });
}

#[test]
fn a_disk_without_inodes_is_full_too() {
    on_tmpfs("a_disk_without_inodes_is_full_too", "size=4m,nr_inodes=60", |folder| {
        let root = folder.join("store");
        let store = Store::init(&root).unwrap();
        let tree = |n: u8| MemorySource::of([("a", [n; 100])]);
        let mut made = Vec::new();
        let error = loop {
            let n = u8::try_from(made.len()).unwrap();
            match push_tree(&store, &tree(n), &options(1)) {
                Ok(outcome) => made.push((outcome.id, tree(n))),
                Err(error) => break error,
            }
        };
        assert_full(&error);
        assert!(made.len() > 3);
        let held: Vec<_> = made.iter().map(|(id, tree)| (*id, tree)).collect();
        assert_sound(&root, &held);
        mount(&["-o", "remount,nr_inodes=1000"], folder);
        let more = push_tree(&store, &tree(99), &options(2)).unwrap();
        assert_sound(&root, &[(more.id, &tree(99))]);
        // With room, what was left half done in the index is finished as well.
        assert!(store.index().unwrap().segments().len() < 16);
    });
}

#[test]
fn init_on_a_full_disk_fails_and_works_once_there_is_room() {
    on_tmpfs("init_on_a_full_disk_fails_and_works_once_there_is_room", "size=1m", |folder| {
        let root = folder.join("store");
        fill(folder, 0);
        assert_full(&Store::init(&root).map(drop).unwrap_err());
        std::fs::remove_file(folder.join("ballast")).unwrap();
        let store = Store::init(&root).unwrap();
        push_tree(&store, &MemorySource::of([("a", "b")]), &options(1)).unwrap();
    });
}

#[test]
fn a_read_only_store_can_be_read_and_says_so_when_pushed_to() {
    let name = "a_read_only_store_can_be_read_and_says_so_when_pushed_to";
    on_tmpfs(name, "size=4m", |folder| {
        let root = folder.join("store");
        let store = Store::init(&root).unwrap();
        let mut tree = MemorySource::of([("a", text(9000, 1)), ("b", noise(300, 1))]);
        let first = push_tree(&store, &tree, &options(1)).unwrap();
        mount(&["-o", "remount,ro"], folder);
        let assert_read_only = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
            let hint = error.hint_text().unwrap_or_default();
            assert!(hint.contains("can be read, but not written"), "{error}: {hint:?}");
        };
        assert_eq!(findings(&store).unwrap(), []);
        let opened = Store::open(&root).unwrap();
        assert_eq!(opened.resolve("main").unwrap().id, first.id);
        assert!(Reading::new(&opened).revision(&first.id).unwrap() == tree);
        // Nothing new, so nothing to be written.
        let again = push_tree(&opened, &tree, &options(2)).unwrap();
        assert!(again.up_to_date && again.id == first.id);
        let mut changed = tree.clone();
        changed.set("a", "other");
        let dry = PushOptions { dry_run: true, ..options(3) };
        assert_eq!(push_tree(&opened, &changed, &dry).unwrap().changed, 1);
        assert_read_only(push_tree(&opened, &changed, &options(3)).unwrap_err());
        assert_read_only(opened.refs().set("other", first.id, Expect::Any, 3).unwrap_err());
        assert_read_only(maintain::reindex(&opened, Watch::default()).unwrap_err());
        assert_read_only(Store::init(&folder.join("new")).map(drop).unwrap_err());
        mount(&["-o", "remount,rw"], folder);
        tree.set("a", "other");
        let second = push_tree(&opened, &tree, &options(4)).unwrap();
        assert_eq!(second.changed, 1);
        assert_sound(&root, &[(second.id, &tree)]);
    });
}
