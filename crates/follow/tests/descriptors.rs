//! A cache whose files cannot be opened: that is reported, and not taken for a cache without them.
//! The limit is that of the whole process, so this is the only test here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::ErrorKind;
use freestone_follow::{
    Fetch, Opening, Subject, complete, fetch, is_complete, note_complete, prime,
};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, Reading, noise, push_tree};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::os::fd::AsRawFd;

#[test]
fn what_cannot_be_opened_is_not_called_absent() {
    let folder = tempfile::tempdir().unwrap();
    let (root, host) = (folder.path().join("upstream"), folder.path().join("host"));
    let store = Store::init(&root).unwrap();
    let mut tree = MemorySource::default();
    (0..10).for_each(|n| tree.set(format!("{n}"), noise(30_000, n)));
    let tree = tree.explicit();
    let id = push_tree(&store, &tree, &PushOptions::default()).unwrap().id;
    let url = root.to_str().unwrap();
    let opened = freestone_follow::init(&host, url, None, "h", &Opening::default()).unwrap();
    let main = opened.store.resolve_to_read("main").unwrap();
    prime(&opened, &id).unwrap();
    fetch(&opened, &Subject::whole(main.revision.root), &Fetch::default()).unwrap();
    note_complete(&opened, &id, "main").unwrap();
    drop(opened);

    let offline = Opening { offline: true, ..Opening::default() };
    let opened = freestone_follow::open(&host, &offline).unwrap();
    opened.store.resolve("main").unwrap();
    opened.store.records().unwrap();
    // What is here of the packs is known from now on, and no pack is open.
    assert!(is_complete(&opened, &id).unwrap());
    let before = getrlimit(Resource::Nofile);
    let next = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next), ..before }).unwrap();
    let outcomes = [
        Reading::new(&opened.store).revision(&id).map(|_| ()),
        is_complete(&opened, &id).map(|_| ()),
        complete(&opened).map(|_| ()),
        opened.store.refs().list().map(|_| ()),
        opened.store.revision_ids().map(|_| ()),
    ];
    setrlimit(Resource::Nofile, before).unwrap();
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{at}: {error}");
    }
    assert!(is_complete(&opened, &id).unwrap());
    assert_eq!(complete(&opened).unwrap().len(), 1);
    assert_eq!(Reading::new(&opened.store).revision(&id).unwrap(), tree);
}
