//! What was lost or cannot be read is noticed: by a push that would depend on it, and by `verify`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_backend::directory::Directory;
use freestone_core::{ErrorKind, Id, Result, Watch};
use freestone_format::condemned::{self, Stage};
use freestone_format::{pack, ref_place};
use freestone_maintain::{
    self as maintain, CompactOptions, GcOptions, Policy, VerifyOptions, VerifyReport,
};
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{Faults, Faulty, MemorySource, Reading, findings, noise, push_tree};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn push(store: &Store, tree: &MemorySource, time: i64) -> Result<Id> {
    let options = PushOptions { time, threads: 1, ..PushOptions::default() };
    Ok(push_tree(store, tree, &options)?.id)
}

/// A store with five revisions in five packs, and the newest tree.
fn small_store(root: &Path) -> (Store, MemorySource) {
    let store = Store::init(root).unwrap();
    let mut tree = MemorySource::default();
    for n in 0..60 {
        tree.set(format!("pages/{n:02}"), noise(2000, n));
    }
    for n in 0..5 {
        tree.set(format!("new/{n}"), noise(15_000, 100 + n));
        push(&store, &tree, 1000 + i64::try_from(n).unwrap()).unwrap();
    }
    (store, tree)
}

fn gc_options() -> GcOptions {
    GcOptions {
        policy: Policy { min_age: Duration::ZERO, ..Policy::default() },
        grace: Duration::ZERO,
        now: 2000,
        dry_run: false,
    }
}

fn packs(store: &Store) -> Vec<String> {
    let packs = store.index().unwrap().packs().unwrap();
    packs.iter().map(|(id, _)| pack::object_name(id)).collect()
}

#[test]
fn a_push_never_depends_on_a_pack_that_is_cut_off_or_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let (store, mut tree) = small_store(&root);
    let (mut done, mut refused) = (0, 0);
    for (number, name) in packs(&store).iter().enumerate() {
        let path = root.join(name);
        let whole = std::fs::read(&path).unwrap();
        for (case, length) in [Some(0), Some(whole.len() / 2), None].into_iter().enumerate() {
            match length {
                Some(length) => std::fs::write(&path, &whole[..length]).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            tree.set("changed", [u8::try_from(number).unwrap(), u8::try_from(case).unwrap()]);
            let store = Store::open(&root).unwrap();
            match push(&store, &tree, 2000) {
                Ok(id) => {
                    done += 1;
                    let store = Store::open(&root).unwrap();
                    let read = Reading::new(&store).revision(&id).unwrap();
                    assert!(read == tree.clone().explicit(), "{name} cut to {length:?}");
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.is_damage(), "{name} cut to {length:?}: {error}");
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    assert_eq!(findings(&store).unwrap(), []);
}

#[test]
fn the_loss_of_the_newest_entry_of_a_ref_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = small_store(folder.path());
    let backend = store.backend();
    let lost = format!("refs/main/{}", ref_place::key(5));
    backend.remove(&lost).unwrap();
    let found = findings(&store).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].object, "ref main");
    assert!(found[0].fault.contains("there was a place 5"), "{}", found[0].fault);
    assert!(found[0].fault.contains(&lost), "{}", found[0].fault);
    // Setting the ref again mends it.
    let id = store.revision_ids().unwrap()[0];
    store.refs().set("main", id, Expect::Any, 3000).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
    // A ref of which nothing is left is one that was lost.
    for n in 1..=5 {
        backend.remove(&format!("refs/main/{}", ref_place::key(n))).unwrap();
    }
    let found = findings(&store).unwrap();
    assert!(found.iter().any(|finding| finding.object == "ref main"), "{found:?}");
}

#[test]
fn a_damaged_verdict_is_named_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut tree) = small_store(folder.path());
    let compact = |grace| {
        let options = CompactOptions { all: true, level: 1, grace, ..CompactOptions::default() };
        maintain::compact(&store, &options, Watch::default())
    };
    compact(Duration::from_secs(3600)).unwrap();
    let list = condemned::object_name(1, Stage::Verdict);
    let mut bytes = store.backend().get(&list, 1 << 20).unwrap().unwrap();
    bytes[20] ^= 1;
    std::fs::write(folder.path().join(&list), bytes).unwrap();
    let found = findings(&store).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].object, list);
    assert!(found[0].fault.contains("freestone store compact --all"), "{}", found[0].fault);
    // A collection does not know what it would remove; a compaction rewrites all that it may name.
    let error = maintain::gc(&store, &gc_options(), Watch::default()).unwrap_err();
    assert!(error.hint_text().unwrap().contains("freestone store compact --all"), "{error:?}");
    compact(Duration::ZERO).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
    assert_eq!(packs(&store).len(), store.backend().list("packs").unwrap().len());
    tree.set("more", "of it");
    push(&store, &tree, 4000).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
}

fn verify(store: &Store, data: bool) -> VerifyReport {
    maintain::verify(store, VerifyOptions { data }, Watch::default(), &mut |_| {}).unwrap()
}

#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = small_store(folder.path());
    let objects = store.backend().list("packs").unwrap().into_iter();
    let objects = objects.chain(store.backend().list("index").unwrap());
    let objects = objects.chain(store.backend().list("revisions").unwrap());
    for name in objects.map(|listed| listed.name).filter(|name| !name.ends_with("latest")) {
        for data in [false, true] {
            let directory = Arc::new(Directory::new(folder.path()));
            let faulty = Arc::new(Faulty::new(directory, Faults::default(), 1));
            let store = Store::open_backend(faulty.clone(), None).unwrap();
            assert_eq!(verify(&store, data).unreadable, 0);
            let store = Store::open_backend(faulty.clone(), None).unwrap();
            faulty.set_unreadable(&name);
            let report = verify(&store, data);
            assert_eq!(report.findings, 0, "{name}, data: {data}");
            assert!(report.unreadable > 0, "{name}, data: {data}");
        }
    }
}

#[test]
fn a_store_whose_header_is_gone_is_damaged_and_not_absent() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    small_store(&root);
    std::fs::remove_file(root.join("format")).unwrap();
    let error = Store::open(&root).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let error = Store::open(folder.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
