//! A ref's newest entry: found by the beginning of a listing, and right whatever that is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::{ErrorKind, Id};
use freestone_format::ref_entry::{RefAction, key};
use freestone_store::{Expect, Store};
use freestone_testkit::{Beginning, Disordered, Recorded, Recording};
use std::path::Path;
use std::sync::Arc;

fn id(n: u8) -> Id {
    Id([n; 32])
}

/// A store whose ref `main` has entries 1 to `last`.
fn with_entries(root: &Path, last: u8) -> Store {
    let store = Store::init(root).unwrap();
    for n in 1..=last {
        store.refs().set("main", id(n), Expect::Any, i64::from(n)).unwrap();
    }
    store
}

#[test]
fn the_newest_entry_is_found_whatever_order_a_listing_has() {
    let drawn = (0..40).map(Beginning::Drawn);
    let beginnings = [Beginning::Sorted, Beginning::Backwards, Beginning::Everything];
    let folder = tempfile::tempdir().unwrap();
    for last in [1, 7, 8, 9, 30] {
        let root = folder.path().join(last.to_string());
        let store = with_entries(&root, last);
        for beginning in beginnings.into_iter().chain(drawn.clone()) {
            let backend = Disordered::new(Arc::new(Directory::new(&root)), beginning);
            let other = Store::open_backend(Arc::new(backend), None).unwrap();
            let refs = other.refs();
            let newest = refs.newest("main").unwrap().unwrap();
            assert_eq!(newest.n, u64::from(last), "{beginning:?} of {last}");
            assert_eq!(refs.current("main").unwrap(), Some(id(last)));
            assert_eq!(refs.newest("other").unwrap(), None);
            // An entry behind an old one is a conflict.
            let old = store.refs().entry("main", u64::from(last) - 1).unwrap();
            let error = refs.append("main", old.as_ref(), RefAction::Set(id(99)), 5).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{beginning:?} of {last}");
        }
    }
}

#[test]
fn what_is_no_entry_hides_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_entries(folder.path(), 12);
    let backend = Directory::new(folder.path());
    for junk in 0..20 {
        backend.create(&format!("refs/main/0{junk:016}"), b"junk").unwrap();
        backend.create(&format!("refs/main/!{junk}"), b"junk").unwrap();
    }
    assert_eq!(store.refs().newest("main").unwrap().unwrap().n, 12);
}

#[test]
fn a_long_ref_is_not_listed_whole() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_entries(folder.path(), 30));
    let recording = Arc::new(Recording::new(Arc::new(Directory::new(folder.path()))));
    let store = Store::open_backend(recording.clone(), None).unwrap();
    recording.take();
    assert_eq!(store.refs().current("main").unwrap(), Some(id(30)));
    let entry = format!("refs/main/{}", key(30));
    let mut asked = recording.take();
    asked.retain(|request| !matches!(request, Recorded::Open(_)));
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0], Recorded::ListFirst("refs/main".into()));
    assert!(matches!(&asked[1], Recorded::Read(name, 0, _) if *name == entry), "{asked:?}");
    // Who adds an entry looks for the newest before and after.
    store.refs().set("main", id(31), Expect::Revision(id(30)), 40).unwrap();
    let asked = recording.take();
    assert!(!asked.contains(&Recorded::List("refs/main".into())), "{asked:?}");
}
