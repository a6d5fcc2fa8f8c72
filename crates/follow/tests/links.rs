//! A cache in other hands: links, pipes and locks that somebody put into it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::{ErrorKind, Id, Result};
use freestone_files::{Folder, lock_within};
use freestone_follow::{
    Fetch, Opened, Opening, Subject, complete, fetch, is_complete, make_durable, note_complete,
    prime,
};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, Reading, noise, push_tree};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a command takes at most that waits for nothing.
const AT_MOST: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    store: Store,
    tree: MemorySource,
    id: Id,
}

impl World {
    /// An upstream with one revision.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("upstream")).unwrap();
        let mut tree = MemorySource::default();
        (0..10).for_each(|n| tree.set(format!("{n}"), noise(30_000, n)));
        let tree = tree.explicit();
        let id = push_tree(&store, &tree, &PushOptions::default()).unwrap().id;
        Self { folder, store, tree, id }
    }

    fn host(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    fn cache(&self) -> PathBuf {
        self.host().join("cache").join(self.store.id().to_string())
    }

    /// Makes a host's store, with an empty cache or with everything in it.
    fn init(&self, full: bool) {
        let _ = fs::remove_dir_all(self.host());
        let url = self.folder.path().join("upstream");
        // It evicts as often as it can.
        let size = Some(1 << 30);
        let url = url.to_str().unwrap();
        let opened =
            freestone_follow::init(&self.host(), url, size, "h", &Opening::default()).unwrap();
        if full {
            self.bring(&opened).unwrap();
            note_complete(&opened, &self.id, "main").unwrap();
        }
    }

    fn open(&self, offline: bool) -> Result<Opened> {
        freestone_follow::open(&self.host(), &Opening { offline, ..Opening::default() })
    }

    /// Fetches the revision as the program does, and reads it.
    fn bring(&self, opened: &Opened) -> Result<()> {
        let main = opened.store.resolve_to_read("main")?;
        prime(opened, &main.id)?;
        fetch(opened, &Subject::whole(main.revision.root), &Fetch::default())?;
        assert_eq!(Reading::new(&opened.store).revision(&self.id)?, self.tree);
        Ok(())
    }

    /// Does all that commands do with a cache. What it says does not matter, but what is read is
    /// right, and nothing is waited for.
    fn use_all(&self) {
        let (done, is_done) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let opened = self.open(false).unwrap();
                self.bring(&opened).unwrap();
                let _ = note_complete(&opened, &self.id, "main");
                let _ = make_durable(&opened);
                let _ = opened.follower.as_ref().unwrap().evict();
                let _ = opened.follower.as_ref().unwrap().last_seen();
                let _ = complete(&opened);
                drop(opened);
                let opened = self.open(true).unwrap();
                let _ = is_complete(&opened, &self.id);
                let _ = complete(&opened);
                if opened.store.resolve("main").is_ok()
                    && let Ok(read) = Reading::new(&opened.store).revision(&self.id)
                {
                    assert_eq!(read, self.tree);
                }
                done.send(()).unwrap();
            });
            // A panic hangs up; a pipe that is waited for cannot be ended otherwise.
            if is_done.recv_timeout(AT_MOST) == Err(mpsc::RecvTimeoutError::Timeout) {
                std::process::abort();
            }
        });
    }
}

/// Returns all files below a directory with their bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => all.extend(contents(&path)),
            false => drop(all.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    all
}

/// Adds `name` in `folder` and all that is below it, with whether each is a directory.
fn add_names(folder: &Path, name: PathBuf, all: &mut Vec<(PathBuf, bool)>) {
    let is_folder = folder.join(&name).is_dir();
    if is_folder {
        for entry in fs::read_dir(folder.join(&name)).unwrap() {
            add_names(folder, name.join(entry.unwrap().file_name()), all);
        }
    }
    all.push((name, is_folder));
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
}

#[test]
fn nothing_in_a_cache_leads_out_of_it_or_is_waited_for() {
    let world = World::new();
    world.init(true);
    let mut all = Vec::new();
    add_names(&world.host(), "cache".into(), &mut all);
    assert!(all.len() > 15, "{all:?}");
    for (name, is_folder) in all {
        for full in [false, true] {
            for kind in ["link", "pipe"] {
                world.init(full);
                let path = world.host().join(&name);
                let outside = world.folder.path().join("outside");
                if full {
                    fs::rename(&path, &outside).unwrap();
                } else {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    match is_folder {
                        true => fs::create_dir(&outside).unwrap(),
                        false => fs::write(&outside, vec![7; 400_000]).unwrap(),
                    }
                }
                let all = || match outside.is_dir() {
                    true => contents(&outside),
                    false => BTreeMap::from([(outside.clone(), fs::read(&outside).unwrap())]),
                };
                let before = all();
                match kind {
                    "link" => symlink(&outside, &path).unwrap(),
                    _ => make_pipe(&path),
                }
                world.use_all();
                assert_eq!(before, all(), "{kind} {}, full: {full}", name.display());
                let _ = fs::remove_dir_all(&outside).or_else(|_| fs::remove_file(&outside));
            }
        }
    }
}

#[test]
fn a_link_is_named_with_what_can_be_done() {
    let world = World::new();
    world.init(true);
    let elsewhere = world.folder.path().join("elsewhere");
    fs::rename(world.host().join("cache"), &elsewhere).unwrap();
    symlink(&elsewhere, world.host().join("cache")).unwrap();
    let opened = world.open(false).unwrap();
    world.bring(&opened).unwrap();
    for error in [
        opened.follower.as_ref().unwrap().take_failure().unwrap(),
        note_complete(&opened, &world.id, "main").unwrap_err(),
        is_complete(&world.open(true).unwrap(), &world.id).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert!(error.to_string().contains(world.cache().to_str().unwrap()), "{error}");
        assert!(error.hint_text().unwrap().contains("links in a store are not followed"));
    }
}

#[test]
fn a_lock_that_somebody_holds_is_not_waited_for_without_end() {
    let world = World::new();
    world.init(false);
    fs::create_dir_all(world.cache()).unwrap();
    let folder = Folder::open(&world.cache()).unwrap();
    folder.create_file("lock", 0o644).unwrap();
    let holder = folder.read_file("lock").unwrap();
    assert!(lock_within(&holder, Duration::ZERO));
    let opened = world.open(false).unwrap();
    let begun = Instant::now();
    world.bring(&opened).unwrap();
    assert!(begun.elapsed() > Duration::from_secs(9), "a short wait helps others");
    let error = opened.follower.as_ref().unwrap().take_failure().unwrap();
    let path = world.cache().join("lock").display().to_string();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains(&path), "{error}");
    assert!(error.hint_text().unwrap().contains(&format!("fuser -v {path}")), "{error:?}");
    // It is waited for once.
    assert_eq!(note_complete(&opened, &world.id, "main").unwrap_err().kind(), ErrorKind::Storage);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(!is_complete(&world.open(true).unwrap(), &world.id).unwrap());
    // What could not be noted is noted later.
    drop(holder);
    note_complete(&opened, &world.id, "main").unwrap();
    assert!(is_complete(&world.open(true).unwrap(), &world.id).unwrap());
}

#[test]
fn what_killed_processes_left_in_a_cache_is_removed() {
    let world = World::new();
    world.init(false);
    let tmp = world.cache().join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    fs::write(tmp.join("0123456789abcdef"), vec![1; 100_000]).unwrap();
    fs::write(tmp.join("others"), "stays").unwrap();
    let opened = world.open(false).unwrap();
    world.bring(&opened).unwrap();
    note_complete(&opened, &world.id, "main").unwrap();
    let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [tmp.join("others")]);
}
