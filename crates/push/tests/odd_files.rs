//! Files of which the file system does not tell the truth, and files that change during a push.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::item::{Content, FileOpener, FileStamp, Item, ItemKind, ItemSource, OpenFile};
use freestone_core::working::{KnownFile, WorkingIndex};
use freestone_core::{Error, ErrorKind, Result, Watch};
use freestone_format::StoreId;
use freestone_push::{PushOptions, PushOutcome, Source};
use freestone_store::Store;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes and the stamp of a file at the n-th opening; `None` if it is gone.
type At = dyn Fn(u64) -> Option<(Vec<u8>, FileStamp)> + Send + Sync;

/// A source with one odd file, `odd`, and a plain one, `plain`.
struct Odd {
    at: Box<At>,
    openings: AtomicU64,
}

const PLAIN: FileStamp = FileStamp { device: 1, inode: 1, size: 5, mtime_ns: 1, ctime_ns: 1 };

struct OddFile {
    bytes: Vec<u8>,
    read: usize,
    stamp: FileStamp,
    /// The stamp after reading, where it is another one.
    after: FileStamp,
}

impl Read for OddFile {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.stamp = self.after;
        // Such file systems may give less than was asked for.
        let room = out.len().min(700_000);
        let count = (&self.bytes[self.read..]).read(&mut out[..room])?;
        self.read += count;
        Ok(count)
    }
}

impl OpenFile for OddFile {
    fn stamp(&self) -> Result<FileStamp> {
        Ok(self.stamp)
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.read = usize::try_from(offset).unwrap().min(self.bytes.len());
        Ok(())
    }
}

impl FileOpener for Odd {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        if path == b"plain" {
            let bytes = b"plain".to_vec();
            return Ok(Box::new(OddFile { bytes, read: 0, stamp: PLAIN, after: PLAIN }));
        }
        let n = self.openings.fetch_add(1, Ordering::Relaxed);
        let (bytes, stamp) = (self.at)(n).ok_or_else(|| Error::not_found("odd is gone"))?;
        let after = (self.at)(n + 1).map_or(stamp, |(_, stamp)| stamp);
        Ok(Box::new(OddFile { bytes, read: 0, stamp, after }))
    }
}

struct Items(std::vec::IntoIter<Item>);

impl ItemSource for Items {
    fn next(&mut self) -> Result<Option<Item>> {
        Ok(self.0.next())
    }
}

fn push(store: &Store, at: Box<At>, options: &PushOptions) -> Result<PushOutcome> {
    let odd = Odd { at, openings: AtomicU64::new(0) };
    let stamp = (odd.at)(0).map_or(PLAIN, |(_, stamp)| stamp);
    let item = |path: &str, stamp: FileStamp| Item {
        path: path.into(),
        mtime: 1,
        kind: ItemKind::File { executable: false, stamp, link: None },
    };
    let walk = || -> Result<Box<dyn ItemSource>> {
        Ok(Box::new(Items(vec![item("odd", stamp), item("plain", PLAIN)].into_iter())))
    };
    let source = Source { walk: &walk, opener: &odd, key: Some(b"odd".to_vec()) };
    freestone_push::push(store, &source, options, Watch::default())
}

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

/// The length and SHA-1 of `odd` in a revision.
fn pushed(store: &Store, outcome: &PushOutcome) -> Option<Content> {
    store.refresh();
    let entry = store.tree(&outcome.revision.root).unwrap().get(b"odd").unwrap()?;
    match entry.kind {
        freestone_manifest::EntryKind::File { size, sha1, content, .. } => {
            Some(Content { size, sha1, id: content })
        }
        freestone_manifest::EntryKind::Directory => None,
    }
}

fn options() -> PushOptions {
    PushOptions { time: 1000, ..PushOptions::default() }
}

fn stamp(size: u64, mtime_ns: i64) -> FileStamp {
    FileStamp { device: 1, inode: 2, size, mtime_ns, ctime_ns: mtime_ns }
}

#[test]
fn a_file_whose_length_is_not_told_is_pushed_as_it_is_read() {
    for (told, length) in
        [(0, 6), (4096, 23), (0, 3_000_000), (9_000_000, 3_000_000), (9_000_000, 8), (3, 1 << 20)]
    {
        let (_folder, store) = new_store();
        let bytes = freestone_testkit::noise(length, 7);
        let given = bytes.clone();
        let at = move |_| Some((given.clone(), stamp(told, 1)));
        let outcome = push(&store, Box::new(at), &options()).unwrap();
        let content = pushed(&store, &outcome).unwrap();
        assert_eq!(content.size, length as u64, "{told}");
        assert_eq!(content.sha1, freestone_core::digest::sha1(&bytes));
    }
}

#[test]
fn a_file_that_gives_other_bytes_each_time_is_a_conflict() {
    let (_folder, store) = new_store();
    let at = |n: u64| Some((n.to_string().into_bytes(), stamp(0, 1)));
    let error = push(&store, Box::new(at), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("odd changes while it is being read"), "{error}");
}

#[test]
fn a_log_is_pushed_as_long_as_it_was_when_it_was_opened() {
    for start in [100, 2_000_000] {
        let (_folder, store) = new_store();
        let bytes = freestone_testkit::noise(start + 100, 3);
        let log = bytes.clone();
        let at = move |n: u64| {
            let length = start + usize::try_from(n).unwrap() * 10;
            Some((log[..length].to_vec(), stamp(length as u64, i64::try_from(n).unwrap())))
        };
        let outcome = push(&store, Box::new(at), &options()).unwrap();
        let content = pushed(&store, &outcome).unwrap();
        assert_eq!(content.size, start as u64);
        assert_eq!(content.sha1, freestone_core::digest::sha1(&bytes[..start]));
    }
}

#[test]
fn a_growing_file_whose_beginning_changes_is_not_a_log() {
    let (_folder, store) = new_store();
    let at = |n: u64| {
        let length = 50 + n;
        let bytes = vec![u8::try_from(n).unwrap(); usize::try_from(length).unwrap()];
        Some((bytes, stamp(length, i64::try_from(n).unwrap())))
    };
    let error = push(&store, Box::new(at), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn a_file_that_is_removed_during_a_push_was_never_there() {
    let (_folder, store) = new_store();
    let first = push(&store, Box::new(|_| Some((b"x".to_vec(), stamp(1, 1)))), &options()).unwrap();
    assert_eq!(first.revision.entries, 2);
    let later = PushOptions { parent: Some(first.id), ..options() };
    let outcome = push(&store, Box::new(|_| None), &later).unwrap();
    assert_eq!((outcome.revision.entries, outcome.gone), (1, 1));
    assert!(pushed(&store, &outcome).is_none());
}

/// A stat cache in memory, which outlives a push.
static STATS: Mutex<BTreeMap<Vec<u8>, KnownFile>> = Mutex::new(BTreeMap::new());

struct Stats;

impl WorkingIndex for Stats {
    fn is_open(&mut self) -> bool {
        true
    }

    fn begin(&mut self, _: &[u8]) {}

    fn known(&mut self, path: &[u8]) -> Result<Option<KnownFile>> {
        Ok(STATS.lock().unwrap().get(path).copied())
    }

    fn remember(&mut self, path: &[u8], known: &KnownFile) -> Result<()> {
        STATS.lock().unwrap().insert(path.to_vec(), *known);
        Ok(())
    }

    fn remove_gone(&mut self) -> Result<()> {
        Ok(())
    }

    fn named(&mut self, _: &[u8]) -> Option<Content> {
        None
    }

    fn remember_named(&mut self, _: &[u8], _: &Content) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) {}
}

#[test]
fn a_file_system_with_another_device_number_holds_the_same_files() {
    let (folder, store) = new_store();
    let (base, name) = (folder.path().join("caches"), store.id().to_string());
    store.keep_caches_in(freestone_files::caches::open(&base, &name).unwrap());
    let working = Some((|_: &Path, _: &StoreId| Box::new(Stats) as Box<dyn WorkingIndex>) as _);
    let options = PushOptions { working, ..options() };
    let file = |stamp: FileStamp| Box::new(move |_| Some((b"page".to_vec(), stamp)));
    let first = FileStamp { device: 7, ..stamp(4, 1) };
    assert_eq!(push(&store, file(first), &options).unwrap().files_hashed, 2);
    assert_eq!(push(&store, file(first), &options).unwrap().files_hashed, 0);
    let again = FileStamp { device: 8, ..first };
    assert_eq!(push(&store, file(again), &options).unwrap().files_hashed, 0);
    for other in [
        FileStamp { inode: 3, ..first },
        FileStamp { ctime_ns: 2, ..first },
        FileStamp { mtime_ns: 2, ..first },
    ] {
        assert_eq!(push(&store, file(other), &options).unwrap().files_hashed, 1);
        assert_eq!(push(&store, file(first), &options).unwrap().files_hashed, 1);
    }
}
