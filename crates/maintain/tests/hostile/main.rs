//! Stores made by hand to do harm: each is refused with an error of the right kind, at once, and
//! without an allocation that only a length field asked for.
//!
//! Beside them the other side of the same rules: what no push writes yet, chains of bases, is
//! read right up to the depth that is allowed.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod bases;
mod contents;
mod manifests;
mod packs;
mod places;
mod segments;

use freestone_core::digest::{self, context};
use freestone_core::plan::{ExtentSource, NodeKind};
use freestone_core::wire::Writer;
use freestone_core::{ChunkSource, Error, ErrorKind, Id, NodeSource, Result, Sha1, Watch};
use freestone_format::condemned::{self, Stage};
use freestone_format::pack::{Base, HEADER, Row, encode_table, encode_trailer};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::ref_entry::RefAction;
use freestone_format::ref_place;
use freestone_format::segment::SegmentParts;
use freestone_format::{RefEntry, Revision};
use freestone_maintain::{self as maintain, CompactOptions, Compacted, Finding, VerifyOptions};
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord, pieces};
use freestone_manifest::{Node, Subtree};
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{
    Forge, MemorySource, Reading, compress, findings, noise, push_tree, write_pack, write_segment,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PEAK_MAX: usize = 32 << 20;
const TIME_MAX: Duration = Duration::from_secs(20);

/// One test at a time, so that what it allocates is its own. Dropped, it checks how much that was
/// at most, and how long it took; what takes for ever is ended.
struct Bounded {
    begun: Instant,
    start: usize,
    _done: mpsc::Sender<()>,
    _gate: MutexGuard<'static, ()>,
}

fn bounded() -> Bounded {
    static GATE: Mutex<()> = Mutex::new(());
    let gate = GATE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, is_done) = mpsc::channel();
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    std::thread::spawn(move || {
        if let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(4 * TIME_MAX) {
            eprintln!("{name} does not end");
            std::process::abort();
        }
    });
    let start = NOW.load(Relaxed);
    PEAK.store(start, Relaxed);
    Bounded { begun: Instant::now(), start, _done: done, _gate: gate }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let peak = PEAK.load(Relaxed).saturating_sub(self.start);
            assert!(peak <= PEAK_MAX, "{peak} bytes allocated at once");
            assert!(self.begun.elapsed() < TIME_MAX, "it took {:?}", self.begun.elapsed());
        }
    }
}

/// In memory, where that is: a disk's syncs would count in the time that a test may take.
fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn reopened(store: &Store) -> Store {
    Store::open(store.root().unwrap()).unwrap()
}

fn quick_findings(store: &Store) -> Vec<Finding> {
    let mut found = Vec::new();
    maintain::verify(store, VerifyOptions { data: false }, Watch::default(), &mut |finding| {
        found.push(finding);
    })
    .unwrap();
    found
}

fn assert_corrupt<T>(outcome: Result<T>, what: &str) -> Error {
    match outcome {
        Ok(_) => panic!("{what}: no error"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            error
        }
    }
}

fn read_chunk(store: &Store, plain: &[u8]) -> Result<()> {
    let mut out = vec![0; plain.len()];
    store.records()?.chunk(&digest::plain(plain), &mut out)?;
    assert!(out == plain, "other bytes");
    Ok(())
}
