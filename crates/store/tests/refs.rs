//! A ref's newest entry: found by the beginning of a listing, and right whatever that is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::{ErrorKind, Id};
use freestone_format::ref_entry::RefAction;
use freestone_format::ref_place::key;
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
            let old = store.refs().place("main", u64::from(last) - 1).unwrap().unwrap();
            let mut look = || panic!("there is no barrier");
            let error =
                refs.append("main", &old, RefAction::Set(id(99)), 5, &mut look).unwrap_err();
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

#[test]
fn a_barrier_takes_a_place_and_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_entries(folder.path(), 2);
    let refs = store.refs();
    for collection in 1..=9 {
        refs.put_barrier("main", collection).unwrap();
        // Another sweeper of the same collection finds it.
        refs.put_barrier("main", collection).unwrap();
    }
    let head = refs.head("main").unwrap().unwrap();
    assert_eq!((head.place, head.barrier), (11, Some(9)));
    assert_eq!(refs.newest("main").unwrap().unwrap().n, 2);
    refs.set("main", id(3), Expect::Revision(id(2)), 50).unwrap();
    refs.put_barrier("main", 10).unwrap();
    refs.set("main", id(4), Expect::Any, 51).unwrap();
    for n in 1..=4u8 {
        let entry = refs.entry("main", n.into()).unwrap().unwrap();
        assert_eq!((entry.n, entry.revision()), (n.into(), Some(id(n))));
    }
    assert_eq!(refs.entry("main", 5).unwrap(), None);
    let log: Vec<u64> = refs.log("main").unwrap().iter().map(|entry| entry.n).collect();
    assert_eq!(log, [4, 3, 2, 1]);
    let mut places = Vec::new();
    let mut each = |place| {
        places.push(place);
        Ok(true)
    };
    refs.each_place("main", &mut each).unwrap();
    assert_eq!(places.len(), 15);
    // No barrier makes a ref.
    refs.put_barrier("other", 1).unwrap();
    assert_eq!(refs.names().unwrap(), ["main"]);
}

#[test]
fn one_that_adds_an_entry_looks_again_after_each_barrier() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_entries(folder.path(), 1);
    let refs = store.refs();
    let head = refs.head("main").unwrap().unwrap();
    refs.put_barrier("main", 1).unwrap();
    let mut looked = 0;
    let mut look = || {
        looked += 1;
        // A second collection comes meanwhile.
        if looked == 1 { refs.put_barrier("main", 2) } else { Ok(()) }
    };
    refs.append("main", &head, RefAction::Set(id(2)), 5, &mut look).unwrap();
    assert_eq!(looked, 2);
    assert_eq!(refs.current("main").unwrap(), Some(id(2)));
    // What it finds then may end it.
    let head = refs.head("main").unwrap().unwrap();
    refs.put_barrier("main", 3).unwrap();
    let mut look = || Err(freestone_core::Error::interrupted());
    assert!(refs.append("main", &head, RefAction::Set(id(3)), 5, &mut look).is_err());
    assert_eq!(refs.current("main").unwrap(), Some(id(2)));
}

#[test]
fn a_ref_begins_with_a_place_that_a_collection_finds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let refs = store.refs();
    let head = refs.begin("main").unwrap();
    assert_eq!((head.place, head.entry.clone()), (0, None));
    assert_eq!((refs.names().unwrap(), refs.list_all().unwrap().len()), (vec!["main".into()], 0));
    assert_eq!(refs.current("main").unwrap(), None);
    refs.put_barrier("main", 1).unwrap();
    let mut looked = false;
    let mut look = || {
        looked = true;
        Ok(())
    };
    let entry = refs.append("main", &head, RefAction::Set(id(1)), 5, &mut look).unwrap();
    assert_eq!((entry.n, entry.previous, looked), (1, None, true));
    assert_eq!(refs.head("main").unwrap().unwrap().place, 2);
    assert_eq!(refs.entry("main", 1).unwrap().unwrap(), entry);
}
