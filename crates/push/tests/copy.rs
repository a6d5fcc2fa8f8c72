//! Copying revisions from store to store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::{ErrorKind, Id, Watch};
use freestone_push::PushOptions;
use freestone_push::copy::{Copied, Copier, CopyOptions};
use freestone_store::{Expect, Store};
use freestone_testkit::{MemorySource, Reading, findings, noise, push_tree, text};
use std::path::Path;

fn tree(n: u64) -> MemorySource {
    let mut tree = MemorySource::default();
    for file in 0..60 {
        let seed = if file % 20 == n % 20 { 1000 + n } else { file };
        tree.set(format!("pages/{file}"), text(3000 + 41 * usize::try_from(file).unwrap(), seed));
    }
    tree.set("picture", noise(200_000, 5));
    tree.set("log", text(90_000, n));
    tree.set("video", [noise(2_000_000, 9), vec![0; 1 << 20], noise(700_000, n / 3)].concat());
    tree.set("empty", "");
    tree.explicit()
}

fn store_with(folder: &Path, revisions: std::ops::Range<u64>) -> (Store, Vec<Id>) {
    let root = folder.join("source");
    let store = if root.exists() { Store::open(&root) } else { Store::init(&root) }.unwrap();
    let push = |n| {
        let time = 1_000_000 + i64::try_from(n).unwrap();
        let labels = [("git.commit".to_owned(), format!("{n:040x}"))].into();
        let options = PushOptions { time, labels, threads: 2, ..PushOptions::default() };
        push_tree(&store, &tree(n), &options).unwrap().id
    };
    let ids = revisions.map(push).collect();
    (store, ids)
}

fn copy(source: &Store, target: &Store, work: impl Fn(&mut Copier<'_>)) -> Copied {
    let mut copier = Copier::new(source, target, CopyOptions::default(), Watch::default()).unwrap();
    work(&mut copier);
    copier.finish()
}

#[test]
fn a_copy_has_what_was_copied_and_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (source, ids) = store_with(folder.path(), 0..5);
    let target = Store::init(&folder.path().join("target")).unwrap();
    let dry = {
        let options = CopyOptions { dry_run: true };
        let mut copier = Copier::new(&source, &target, options, Watch::default()).unwrap();
        copier.ref_entries("main", 3).unwrap();
        copier.finish()
    };
    assert_eq!(target.revision_ids().unwrap(), []);
    let copied = copy(&source, &target, |copier| copier.ref_entries("main", 3).unwrap());
    assert_eq!((copied.revisions, copied.ref_entries), (1, 1));
    assert_eq!((copied.records, copied.bytes), (dry.records, dry.bytes));
    assert!(copied.bytes_stored < copied.bytes + copied.bytes / 20 + 20_000, "{copied:?}");
    let resolved = target.resolve("main").unwrap();
    assert_eq!(resolved.id, ids[2]);
    assert_eq!(target.resolve("main@3").unwrap().id, ids[2]);
    assert_eq!(target.resolve(&format!("commit:{:040x}", 2)).unwrap().id, ids[2]);
    assert_eq!(Reading::new(&target).revision(&ids[2]).unwrap(), tree(2));
    assert_eq!(target.resolve("main~1").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(findings(&target).unwrap(), []);
    // What is there already is not copied again; what came since comes with its entries.
    let again = copy(&source, &target, |copier| copier.ref_entries("main", 3).unwrap());
    assert_eq!(again, Copied::default());
    let later = copy(&source, &target, |copier| copier.ref_entries("main", 5).unwrap());
    assert_eq!((later.revisions, later.ref_entries), (2, 2));
    assert!(later.bytes_stored < copied.bytes_stored / 2, "{later:?} after {copied:?}");
    let log = |store: &Store| store.refs().log("main").unwrap();
    assert_eq!(log(&target)[..], log(&source)[..3], "entries are kept byte for byte");
    for n in [2u64, 3, 4] {
        let id = &ids[usize::try_from(n).unwrap()];
        assert_eq!(Reading::new(&target).revision(id).unwrap(), tree(n));
    }
    assert_eq!(findings(&target).unwrap(), []);
    // A copy can be copied on, and read by who is a pusher to it.
    let third = Store::init(&folder.path().join("third")).unwrap();
    copy(&target, &third, |copier| copier.revision(&ids[4]).unwrap());
    assert_eq!(Reading::new(&third).revision(&ids[4]).unwrap(), tree(4));
    assert_eq!(third.refs().list().unwrap(), []);
}

#[test]
fn another_ref_of_the_same_name_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (source, ids) = store_with(folder.path(), 0..2);
    let target = Store::init(&folder.path().join("target")).unwrap();
    copy(&source, &target, |copier| copier.revision(&ids[0]).unwrap());
    target.refs().set("main", ids[0], Expect::Absent, 5).unwrap();
    let before = target.refs().log("main").unwrap();
    let mut copier =
        Copier::new(&source, &target, CopyOptions::default(), Watch::default()).unwrap();
    let error = copier.ref_entries("main", 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(target.refs().log("main").unwrap(), before);
}

#[test]
fn damage_in_the_source_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (source, ids) = store_with(folder.path(), 0..1);
    drop(source);
    let packs = folder.path().join("source/packs");
    let pack = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    let pack = std::fs::read_dir(pack).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read(&pack).unwrap();
    let mut bytes = sound.clone();
    bytes[100_000] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let source = Store::open(&folder.path().join("source")).unwrap();
    let target = Store::init(&folder.path().join("target")).unwrap();
    let mut copier =
        Copier::new(&source, &target, CopyOptions::default(), Watch::default()).unwrap();
    let error = copier.ref_entries("main", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    drop(copier);
    assert_eq!(target.refs().list().unwrap(), []);
    assert_eq!(findings(&target).unwrap(), []);
    // Healed, it is gone on with.
    std::fs::write(&pack, sound).unwrap();
    let source = Store::open(&folder.path().join("source")).unwrap();
    copy(&source, &target, |copier| copier.ref_entries("main", 1).unwrap());
    assert_eq!(Reading::new(&target).revision(&ids[0]).unwrap(), tree(0));
}
