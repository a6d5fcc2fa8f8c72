//! Every backend here does what every backend must; those of networks run the same suite in the
//! tests of the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_store::{Expect, Store};
use freestone_testkit::{
    Beginning, Disordered, Distant, Faults, Faulty, Frozen, MemorySource, Recording, conformance,
    noise, push_tree,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The suite, on a directory that is asked through what `wrap` makes of it.
fn conforms(wrap: impl Fn(Arc<dyn Backend>) -> Box<dyn Backend>) {
    let folder = tempfile::tempdir().unwrap();
    let backend = wrap(Arc::new(Directory::new(folder.path().join("store"))));
    conformance::writable(&*backend, 3_000_000, 300).unwrap();
}

#[test]
fn directories_do_what_every_backend_must() {
    let folder = tempfile::tempdir().unwrap();
    conformance::writable(&Directory::new(folder.path()), 20_000_000, 2000).unwrap();
}

#[test]
fn what_stands_before_a_backend_changes_nothing_of_it() {
    conforms(|inner| Box::new(Recording::new(inner)));
    conforms(|inner| Box::new(Distant::new(inner, Duration::ZERO)));
    conforms(|inner| Box::new(Faulty::new(inner, Faults::default(), 1)));
    conforms(|inner| Box::new(Disordered::new(inner, Beginning::Sorted)));
    conforms(|inner| Box::new(Disordered::new(inner, Beginning::Everything)));
}

/// The objects of a store.
fn store(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = Store::init(root).unwrap();
    for n in 0..3 {
        let mut tree = MemorySource::default();
        tree.set("large", noise(600_000, 7));
        tree.set("small", noise(2000, n));
        push_tree(&store, &tree, &freestone_push::PushOptions::default()).unwrap();
    }
    let id = store.resolve("main").unwrap().id;
    store.refs().set("a/b", id, Expect::Any, 5).unwrap();
    let frozen = Frozen::of(root).unwrap();
    frozen.objects.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect()
}

#[test]
fn a_frozen_store_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let objects = store(folder.path());
    conformance::readable(&Frozen::of(folder.path()).unwrap(), &objects).unwrap();
}
