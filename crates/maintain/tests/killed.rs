//! What killed pushes leave in a store, and what compactions and reindexings make of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::{Id, Watch};
use freestone_maintain::{self as maintain, CompactOptions};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, Reading, findings, push_tree, text};
use std::path::Path;
use std::time::Duration;

fn push(store: &Store, tree: &MemorySource, time: i64) -> Id {
    let options = PushOptions { time, threads: 1, ..PushOptions::default() };
    push_tree(store, tree, &options).unwrap().id
}

fn compact_all(store: &Store) {
    let options =
        CompactOptions { all: true, level: 1, grace: Duration::ZERO, ..CompactOptions::default() };
    maintain::compact(store, &options, Watch::default()).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A store of two pushes, with the packs of a third that was killed before it listed them; and the
/// trees.
fn with_killed_push(folder: &Path) -> (Store, [(Id, MemorySource); 2], MemorySource) {
    let store = Store::init(&folder.join("store")).unwrap();
    let mut tree = MemorySource::default();
    for n in 0..60 {
        tree.set(format!("pages/{n:02}"), text(3000, n));
    }
    let change = |tree: &mut MemorySource, word: &str| {
        for n in 0..40 {
            let path = format!("pages/{n:02}");
            let page = [&tree.files[path.as_bytes()].1[..], word.as_bytes()].concat();
            tree.set(path, page);
        }
    };
    let first = (push(&store, &tree, 1000), tree.clone().explicit());
    change(&mut tree, "once");
    let second = (push(&store, &tree, 1001), tree.clone().explicit());
    copy_folder(&folder.join("store"), &folder.join("other"));
    let other = Store::open(&folder.join("other")).unwrap();
    change(&mut tree, "twice");
    push(&other, &tree, 1002);
    copy_folder(&folder.join("other/packs"), &folder.join("store/packs"));
    assert_eq!(findings(&store).unwrap(), []);
    (store, [first, second], tree)
}

#[test]
fn what_lost_its_bases_to_a_compaction_is_not_listed_again() {
    for index_is_lost in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (store, trees, mut tree) = with_killed_push(folder.path());
        compact_all(&store);
        assert_eq!(findings(&store).unwrap(), []);
        if index_is_lost {
            std::fs::remove_dir_all(folder.path().join("store/index")).unwrap();
        }
        let store = Store::open(&folder.path().join("store")).unwrap();
        let done = maintain::reindex(&store, Watch::default()).unwrap();
        assert_eq!(done.left_out, 1, "index lost: {index_is_lost}");
        assert_eq!(findings(&store).unwrap(), []);
        compact_all(&store);
        let third = push(&store, &tree, 1003);
        tree.set("new", "page");
        push(&store, &tree, 1004);
        assert_eq!(findings(&store).unwrap(), []);
        let mut reading = Reading::new(&store);
        for (id, tree) in &trees {
            assert!(reading.revision(id).unwrap() == *tree);
        }
        tree.files.remove(&b"new"[..]);
        assert!(reading.revision(&third).unwrap() == tree.explicit());
    }
}

#[test]
fn what_can_be_read_is_listed_although_bases_were_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (store, [(_, first), _], _) = with_killed_push(folder.path());
    // The pack of the first push is damage, not the work of a compaction: the index lists it.
    let packs = store.index().unwrap().packs().unwrap();
    let lost = packs.iter().map(|(id, _)| *id).max_by_key(|id| {
        let name = freestone_format::pack::object_name(id);
        std::fs::metadata(folder.path().join("store").join(name)).unwrap().len()
    });
    let name = freestone_format::pack::object_name(&lost.unwrap());
    std::fs::remove_file(folder.path().join("store").join(name)).unwrap();
    let done = maintain::reindex(&store, Watch::default()).unwrap();
    assert_eq!((done.packs, done.left_out), (1, 1));
    let found = findings(&store).unwrap();
    assert!(!found.is_empty());
    // What is pushed again is stored again.
    let ref_name = Some("again".to_owned());
    let options = PushOptions { ref_name, time: 1005, threads: 1, ..PushOptions::default() };
    let id = push_tree(&store, &first, &options).unwrap().id;
    assert!(Reading::new(&store).revision(&id).unwrap() == first.explicit());
}
