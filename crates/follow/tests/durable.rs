//! A revision is called complete only after everything that was fetched is durable, and stays so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_follow::{Fetch, Opening, Subject, fetch, init, note_complete, prime};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, noise, push_tree};
use std::ffi::c_int;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// The inodes of what this process synced, in order.
static SYNCED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn note(descriptor: c_int) -> c_int {
    if let Ok(synced) = std::fs::metadata(format!("/proc/self/fd/{descriptor}")) {
        SYNCED.lock().unwrap().push(synced.ino());
    }
    0
}

// The name and the type are those of POSIX. Nothing is synced, since this machine does not
// crash during the test.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    note(descriptor)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    note(descriptor)
}

/// Lists the files below a directory.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Lists the files of runs in a cache, with their inodes and the times at which they were written.
fn runs(cache: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let all = files(&cache.join("packs")).into_iter();
    let runs = all.filter(|path| path.extension().unwrap() == "runs");
    let runs = runs.map(|path| (path.metadata().unwrap(), path));
    runs.map(|(found, path)| (path, found.ino(), found.modified().unwrap())).collect()
}

#[test]
fn what_is_called_complete_was_synced_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let store = Store::init(&folder.join("upstream")).unwrap();
    let mut tree = MemorySource::default();
    (0..40).for_each(|n| tree.set(format!("{n:02}"), noise(20_000, n)));
    let id = push_tree(&store, &tree, &PushOptions::default()).unwrap().id;
    let (url, host) = (folder.join("upstream"), folder.join("host"));
    let opened = init(&host, url.to_str().unwrap(), None, "h", &Opening::default()).unwrap();
    let main = opened.store.resolve("main").unwrap();
    prime(&opened, &id).unwrap();
    fetch(&opened, &Subject::whole(main.revision.root), &Fetch::default()).unwrap();
    note_complete(&opened, &id, "main").unwrap();

    let synced = SYNCED.lock().unwrap().clone();
    // A file keeps its inode when it is renamed.
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let last = |path: &Path| synced.iter().rposition(|synced| *synced == inode(path));
    let first = |path: &Path| synced.iter().position(|synced| *synced == inode(path));
    let cache = host.join("cache").join(store.id().to_string());
    let noted = first(&cache.join("complete").join(id.to_string())).expect("the note is synced");
    let packs = files(&cache.join("packs"));
    assert!(packs.iter().any(|path| path.extension().unwrap() == "pack"));
    for path in packs {
        let name = path.display();
        let bytes = last(&path).unwrap_or_else(|| panic!("{name}"));
        let named = last(path.parent().unwrap()).unwrap();
        let above = last(&cache.join("packs")).unwrap();
        assert!(bytes < named && bytes < noted && named < noted && above < noted, "{name}");
        if path.extension().unwrap() == "runs" {
            let pack = last(&path.with_extension("pack")).unwrap();
            assert!(pack < bytes, "the bytes of {name} come first");
        }
    }
    for whole in ["index", "revisions"] {
        assert!(!files(&cache.join(whole)).is_empty());
        let named = first(&cache.join(whole)).expect(whole);
        assert!(named < noted, "{whole}");
    }
    for above in [host.join("cache"), cache.clone()] {
        assert!(first(&above).is_some_and(|at| at < noted), "{above:?}");
    }
    assert!(last(&cache.join("complete")).unwrap() > noted);
    drop(opened);

    // What takes the place of a durable file is durable too: a use is noted, and something is evicted.
    let upstream = std::fs::read_to_string(host.join("upstream")).unwrap();
    for size in ["none", "2000000"] {
        let sized = upstream.replace("cache-size: none", &format!("cache-size: {size}"));
        assert_eq!(sized == upstream, size == "none");
        std::fs::write(host.join("upstream"), sized).unwrap();
        (0..10).for_each(|n| tree.set(format!("{n:02}"), noise(20_000, 100 + n)));
        tree.set(size, noise(3_000_000, 200));
        let id = push_tree(&store, &tree, &PushOptions::default()).unwrap().id;
        let before = runs(&cache);
        SYNCED.lock().unwrap().clear();
        let opened = freestone_follow::open(&host, &Opening::default()).unwrap();
        let main = opened.store.resolve("main").unwrap();
        prime(&opened, &id).unwrap();
        fetch(&opened, &Subject::whole(main.revision.root), &Fetch::default()).unwrap();
        note_complete(&opened, &id, "main").unwrap();
        drop(opened);
        let synced = SYNCED.lock().unwrap().clone();
        let replaced = runs(&cache).into_iter().filter(|new| !before.contains(new));
        let replaced: Vec<_> = replaced.collect();
        assert!(!replaced.is_empty(), "size {size}");
        for (path, inode, _) in replaced {
            assert!(synced.contains(&inode), "size {size}: {}", path.display());
        }
    }
}
