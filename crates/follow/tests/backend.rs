//! A follower as a backend: it gives what its upstream has, and forgets what the upstream lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::{ErrorKind, Id};
use freestone_follow::Opening;
use freestone_format::ref_place::key;
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{Frozen, MemorySource, conformance, noise, push_tree};
use std::collections::BTreeMap;
use std::path::Path;

fn id(n: u8) -> Id {
    Id([n; 32])
}

/// The objects of a store with a few revisions.
fn objects(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = Store::init(root).unwrap();
    for n in 0..3 {
        let mut tree = MemorySource::default();
        tree.set("large", noise(600_000, 7));
        tree.set("small", noise(2000, n));
        push_tree(&store, &tree, &PushOptions::default()).unwrap();
    }
    let id = store.resolve("main").unwrap().id;
    store.refs().set("a/b", id, Expect::Any, 5).unwrap();
    let frozen = Frozen::of(root).unwrap();
    frozen.objects.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect()
}

#[test]
fn a_follower_can_be_read_as_its_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let (root, host) = (folder.path().join("upstream"), folder.path().join("host"));
    let mut objects = objects(&root);
    // It has a header of its own.
    objects.remove("format");
    let url = root.to_str().unwrap();
    let opened = freestone_follow::init(&host, url, None, "web-1", &Opening::default()).unwrap();
    // From the upstream, then from the cache.
    for _ in 0..2 {
        conformance::readable(&**opened.store.backend(), &objects).unwrap();
    }
}

/// A ref that was created again at the upstream, from a copy of it: the entries that a host kept of
/// the old one are not part of it, also offline.
#[test]
fn a_host_forgets_entries_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (root, host) = (folder.path().join("upstream"), folder.path().join("host"));
    let store = Store::init(&root).unwrap();
    for n in 1..=20 {
        store.refs().set("main", id(n), Expect::Any, i64::from(n)).unwrap();
    }
    let url = root.to_str().unwrap();
    let opened = freestone_follow::init(&host, url, None, "web-1", &Opening::default()).unwrap();
    let refs = opened.store.refs();
    for n in [3, 19, 20] {
        assert!(refs.entry("main", n).unwrap().is_some());
    }
    assert_eq!(refs.current("main").unwrap(), Some(id(20)));
    let offline = || {
        let opening = Opening { offline: true, ..Opening::default() };
        freestone_follow::open(&host, &opening).unwrap().store.refs()
    };
    assert_eq!(offline().current("main").unwrap(), Some(id(20)));
    for n in [19, 20] {
        store.backend().remove(&format!("refs/main/{}", key(n))).unwrap();
    }
    assert_eq!(refs.current("main").unwrap(), Some(id(18)));
    assert_eq!(offline().current("main").unwrap(), Some(id(18)));
    // What comes after the beginning of the listing is not known to be gone.
    assert!(offline().entry("main", 3).unwrap().is_some());
    assert_eq!(offline().entry("main", 19).unwrap_err().kind(), ErrorKind::NotFound);
}
