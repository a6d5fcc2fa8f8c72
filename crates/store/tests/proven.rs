//! What was proven is remembered for that very file, and for no other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::wire::Bytes;
use freestone_core::{Id, RawChunks, Result, Watch, digest};
use freestone_maintain::{self as maintain, VerifyOptions};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, noise, push_tree};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const LENGTH: u64 = 300_000;

/// A store with one chunk that is stored raw.
fn store(folder: &Path) -> (PathBuf, Id) {
    let root = folder.join("store");
    let store = Store::init(&root).unwrap();
    let bytes = noise(usize::try_from(LENGTH).unwrap(), 7);
    let id = digest::plain(&bytes);
    let mut tree = MemorySource::default();
    tree.files.insert(b"file".to_vec(), (false, bytes.into()));
    push_tree(&store, &tree, &PushOptions { time: 1000, ..PushOptions::default() }).unwrap();
    // A file that changed just now may change again within the tick of its time.
    std::thread::sleep(Duration::from_millis(200));
    (root, id)
}

/// Opens the store, with its caches next to it.
fn open(root: &Path) -> Store {
    let store = Store::open(root).unwrap();
    let base = root.parent().unwrap().join("caches");
    store.keep_caches_in(freestone_files::caches::open(&base, &store.id().to_string()).unwrap());
    store
}

/// The bytes that had to be hashed to know where the chunk lies, if that can be known.
fn checked(store: &Store, id: &Id, prove: bool) -> Option<u64> {
    let place = store.records().unwrap().raw(id, LENGTH, prove).unwrap()?;
    let mut bytes = vec![0; usize::try_from(LENGTH).unwrap()];
    read(&place, &mut bytes);
    assert_eq!(digest::plain(&bytes), *id);
    Some(place.checked)
}

fn read(place: &freestone_core::plan::RawPlace, out: &mut [u8]) {
    let file = fs::File::from(place.file.as_fd().try_clone_to_owned().unwrap());
    file.read_exact_at(out, place.offset).unwrap();
}

fn pack(store: &Store) -> PathBuf {
    let packs = store.index().unwrap().packs().unwrap();
    let id = packs[0].0.to_string();
    store.root().unwrap().join("packs").join(&id[..2]).join(format!("{id}.pack"))
}

#[test]
fn a_proof_is_remembered_until_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (root, id) = store(folder.path());
    let first = open(&root);
    assert_eq!(checked(&first, &id, false), None);
    assert_eq!(checked(&first, &id, true), Some(LENGTH));
    assert_eq!(checked(&first, &id, false), Some(0));
    first.save_proofs();

    let next = open(&root);
    assert_eq!(checked(&next, &id, false), None, "only who loads the list knows it");
    next.load_proofs();
    assert_eq!(checked(&next, &id, false), Some(0));

    // Another's list, and none.
    let list = first.caches().unwrap().path_of("proven");
    let mut bytes = fs::read(&list).unwrap();
    bytes[10] ^= 1;
    fs::write(&list, &bytes).unwrap();
    let other = open(&root);
    other.load_proofs();
    assert_eq!(checked(&other, &id, false), None);
    next.replace_proofs();

    // The same bytes written again: the file is another as far as anybody can know.
    let path = pack(&next);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let touched = open(&root);
    touched.load_proofs();
    assert_eq!(checked(&touched, &id, false), None);
    assert_eq!(checked(&touched, &id, true), Some(LENGTH));

    // Other bytes: never.
    let mut bytes = bytes;
    bytes[100_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = open(&root);
    damaged.load_proofs();
    assert_eq!(checked(&damaged, &id, false), None);
    assert_eq!(checked(&damaged, &id, true), None);
}

#[test]
fn a_scrub_proves_all_and_forgets_what_it_found_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (root, id) = store(folder.path());
    let scrub = |expected| {
        let store = open(&root);
        let mut findings = 0;
        maintain::verify(&store, VerifyOptions { data: true }, Watch::default(), &mut |_| {
            findings += 1;
        })
        .unwrap();
        store.replace_proofs();
        assert_eq!(findings > 0, expected);
        let next = open(&root);
        next.load_proofs();
        checked_or_none(&next, &id)
    };
    assert_eq!(scrub(false), Some(0));
    let path = pack(&open(&root));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(scrub(true), None);
}

fn checked_or_none(store: &Store, id: &Id) -> Option<u64> {
    store.records().unwrap().raw(id, LENGTH, false).unwrap().map(|place| place.checked)
}

/// A backend in which the first opening of a pack waits until the pack, opened a second time
/// meanwhile, is being read; and that reading waits until both are read.
struct Overlapping {
    inner: Directory,
    state: Arc<(Mutex<Progress>, Condvar)>,
}

#[derive(Default)]
struct Progress {
    opened: u32,
    read: u32,
}

impl Overlapping {
    fn wait(state: &(Mutex<Progress>, Condvar), until: impl Fn(&Progress) -> bool) {
        let progress = state.0.lock().unwrap();
        let patience = Duration::from_secs(20);
        let waited = state.1.wait_timeout_while(progress, patience, |p| !until(p)).unwrap();
        assert!(!waited.1.timed_out());
    }

    fn opened(&self, object: Box<dyn Object>) -> Box<dyn Object> {
        let number = {
            let mut progress = self.state.0.lock().unwrap();
            progress.opened += 1;
            self.state.1.notify_all();
            progress.opened
        };
        if number == 1 {
            Self::wait(&self.state, |progress| progress.read > 0);
        }
        Box::new(OverlappingObject { inner: object, state: self.state.clone() })
    }
}

struct OverlappingObject {
    inner: Box<dyn Object>,
    state: Arc<(Mutex<Progress>, Condvar)>,
}

impl Object for OverlappingObject {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if out.len() as u64 == LENGTH {
            self.state.0.lock().unwrap().read += 1;
            self.state.1.notify_all();
            Overlapping::wait(&self.state, |progress| progress.read > 1);
        }
        self.inner.read_at(offset, out)
    }

    fn map(&self) -> Result<Bytes> {
        self.inner.map()
    }

    fn file(&self) -> Option<&fs::File> {
        self.inner.file()
    }
}

impl Backend for Overlapping {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.inner.list(folder)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        let object = self.inner.open(name)?;
        let is_pack = name.starts_with("packs/");
        Ok(if is_pack { object.map(|object| self.opened(object)) } else { object })
    }

    fn open_listed(&self, name: &str, length: u64) -> Result<Box<dyn Object>> {
        let object = self.inner.open_listed(name, length)?;
        Ok(if name.starts_with("packs/") { self.opened(object) } else { object })
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner.hint(name, bytes)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(name, bytes)
    }

    fn spool(&self) -> Result<Spool> {
        self.inner.spool()
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        self.inner.publish(spool, name)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.inner.settle(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.inner.remove(name)
    }
}

/// Two threads that open a pack at the same time find it proven both: what one of them has proven
/// does not depend on which of the two openings is kept.
#[test]
fn a_pack_that_two_threads_open_at_once_is_proven_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let (root, id) = store(folder.path());
    let state = Arc::new((Mutex::default(), Condvar::new()));
    let backend = Overlapping { inner: Directory::new(&root), state: state.clone() };
    let store = Store::open_backend(Arc::new(backend), None).unwrap();
    let records = store.records().unwrap();
    let raw = || records.raw(&id, LENGTH, true).unwrap().map(|place| place.checked);
    std::thread::scope(|scope| {
        let first = scope.spawn(raw);
        Overlapping::wait(&state, |progress| progress.opened > 0);
        assert_eq!(raw(), Some(LENGTH));
        assert_eq!(first.join().unwrap(), Some(LENGTH));
    });
}

#[test]
fn a_list_inside_the_store_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (root, id) = store(folder.path());
    let first = open(&root);
    assert_eq!(checked(&first, &id, true), Some(LENGTH));
    first.save_proofs();
    let list = fs::read(first.caches().unwrap().path_of("proven")).unwrap();
    for name in ["cache", "."] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("proven"), &list).unwrap();
    }
    // Another user of the store.
    let other = Store::open(&root).unwrap();
    let base = folder.path().join("other");
    let caches = freestone_files::caches::open(&base, &other.id().to_string()).unwrap();
    other.keep_caches_in(caches);
    other.load_proofs();
    assert_eq!(checked(&other, &id, false), None);
    // Without a place for caches nothing is remembered, and nothing fails.
    let without = Store::open(&root).unwrap();
    without.load_proofs();
    assert_eq!(checked(&without, &id, true), Some(LENGTH));
    without.save_proofs();
    without.replace_proofs();
}
