//! A store that follows another: what it fetches, keeps, gives up, and survives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::ErrorKind;
use freestone_follow::{
    Fetch, Fetched, Opened, Opening, Patience, Pinned, Subject, is_complete, is_pinned_at_upstream,
    pin, pins, prime, unpin,
};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{Distant, Faults, Faulty, MemorySource, Reading, noise, push_tree, text};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An upstream with some revisions, and room for hosts.
struct World {
    folder: tempfile::TempDir,
    trees: Vec<(freestone_core::Id, MemorySource)>,
}

fn tree(n: u64) -> MemorySource {
    let mut tree = MemorySource::default();
    for file in 0..200 {
        let seed = if file % 40 == n % 40 { 1000 + n } else { file };
        tree.set(
            format!("pages/{:02}/{file}", file % 10),
            text(2000 + 37 * usize::try_from(file).unwrap(), seed),
        );
    }
    tree.set("picture", noise(300_000, 5));
    tree.set(
        "video",
        [noise(3_000_000, 9), vec![0; 1 << 20], noise(1_500_000, 40 + n / 2)].concat(),
    );
    tree.set("empty", "");
    tree.explicit()
}

impl World {
    fn new(revisions: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("upstream")).unwrap();
        let mut trees = Vec::new();
        for n in 0..revisions {
            let tree = tree(n);
            let time = 1_000_000 + i64::try_from(n).unwrap();
            let options = PushOptions { time, threads: 2, ..PushOptions::default() };
            let outcome = push_tree(&store, &tree, &options).unwrap();
            trees.push((outcome.id, tree));
        }
        Self { folder, trees }
    }

    fn upstream(&self) -> PathBuf {
        self.folder.path().join("upstream")
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Directory::new(self.upstream()))
    }

    fn host(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    fn init(&self, cache_size: Option<u64>) -> Opened {
        let url = self.upstream();
        let url = url.to_str().unwrap();
        freestone_follow::init(&self.host(), url, cache_size, "web-1", &Opening::default()).unwrap()
    }

    /// The host's store, which asks `backend`.
    fn open(&self, backend: &Arc<impl Backend + 'static>) -> Opened {
        let upstream =
            |_: &str| -> freestone_core::Result<Arc<dyn Backend>> { Ok(backend.clone()) };
        freestone_follow::open(&self.host(), &Opening { upstream: &upstream, ..Opening::default() })
            .unwrap()
    }

    /// The host's store, which asks the upstream's directory.
    fn reopen(&self) -> Opened {
        freestone_follow::open(&self.host(), &Opening::default()).unwrap()
    }

    fn offline(&self) -> Opened {
        let opening = Opening { offline: true, ..Opening::default() };
        freestone_follow::open(&self.host(), &opening).unwrap()
    }
}

fn subject(opened: &Opened, rev: &str) -> Subject {
    let resolved = opened.store.resolve(rev).unwrap();
    prime(opened, &resolved.id).unwrap();
    Subject::whole(resolved.revision.root)
}

fn fetch(opened: &Opened, rev: &str) -> Fetched {
    freestone_follow::fetch(opened, &subject(opened, rev), &Fetch::default()).unwrap()
}

/// The length of all files below a folder, holes apart.
fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => blocks(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            // It was given up meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => panic!("{error}"),
        })
        .sum()
}

fn cache(world: &World, store: &Opened) -> PathBuf {
    world.host().join("cache").join(store.follower.as_ref().unwrap().config().store.to_string())
}

#[test]
fn what_was_fetched_is_read_without_the_upstream() {
    let world = World::new(4);
    let store = world.init(None);
    assert!(!is_complete(&store, &world.trees[3].0).unwrap());
    let fetched = fetch(&store, "main");
    assert!(
        fetched.requests > 0 && fetched.bytes as f64 <= 1.05 * fetched.stored as f64,
        "{fetched:?}"
    );
    assert!(is_complete(&store, &world.trees[3].0).unwrap());
    assert_eq!(fetch(&store, "main"), Fetched::default(), "all is here");
    drop(store);
    std::fs::rename(world.upstream(), world.folder.path().join("gone")).unwrap();
    let offline = world.offline();
    let id = offline.store.resolve("main").unwrap().id;
    assert_eq!(id, world.trees[3].0);
    assert_eq!(Reading::new(&offline.store).revision(&id).unwrap(), world.trees[3].1);
    // The revision before is not here whole: that is said, and how to get it.
    let error = offline.store.resolve("main~1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.hint_text().unwrap().contains("freestone fetch"), "{error:?}");
}

#[test]
fn what_is_read_without_being_fetched_is_kept_too() {
    let world = World::new(1);
    let distant = Arc::new(Distant::new(world.backend(), Duration::ZERO));
    drop(world.init(None));
    let store = world.open(&distant);
    let id = store.store.resolve("main").unwrap().id;
    assert_eq!(Reading::new(&store.store).revision(&id).unwrap(), world.trees[0].1);
    assert!(is_complete(&store, &id).unwrap());
    drop(store);
    let before = distant.requests();
    let store = world.open(&distant);
    assert_eq!(Reading::new(&store.store).revision(&id).unwrap(), world.trees[0].1);
    let listings = distant.requests() - before;
    assert!(listings <= 3, "{listings} requests for the header and the index only");
}

#[test]
fn few_requests_follow_each_other_and_little_is_fetched_in_vain() {
    let world = World::new(12);
    let cold = Distant::least_depth(6, |pause| {
        let _ = std::fs::remove_dir_all(world.host());
        drop(world.init(None));
        let distant = Arc::new(Distant::new(world.backend(), pause));
        let store = world.open(&distant);
        let resolved = store.store.resolve_to_read("main~6").unwrap();
        prime(&store, &resolved.id).unwrap();
        let subject = Subject {
            root: resolved.revision.root,
            below: Some(b"picture".to_vec()),
            contents: true,
        };
        freestone_follow::fetch(&store, &subject, &Fetch::default()).unwrap();
        distant.depth() - 6 // the six generations back to it
    });
    assert!(cold <= 6, "a cold image begins after {cold} requests in sequence");
    let next = Distant::least_depth(8, |pause| {
        let _ = std::fs::remove_dir_all(world.host());
        drop(world.init(None));
        let store = world.open(&Arc::new(Directory::new(world.upstream())));
        fetch(&store, "main~1");
        drop(store);
        let distant = Arc::new(Distant::new(world.backend(), pause));
        let store = world.open(&distant);
        let resolved = store.store.resolve_to_read("main").unwrap();
        prime(&store, &resolved.id).unwrap();
        let subject = Subject { root: resolved.revision.root, below: None, contents: true };
        let fetched = freestone_follow::fetch(&store, &subject, &Fetch::default()).unwrap();
        assert!(fetched.bytes < 120_000, "{fetched:?}");
        distant.depth()
    });
    assert!(next <= 8, "the next image begins after {next} requests in sequence");
}

#[test]
fn a_preview_says_what_fetching_takes() {
    let world = World::new(3);
    let distant = Arc::new(Distant::new(world.backend(), Duration::ZERO));
    drop(world.init(None));
    let store = world.open(&distant);
    let subject = subject(&store, "main");
    let preview =
        freestone_follow::fetch(&store, &subject, &Fetch { dry_run: true, ..Fetch::default() })
            .unwrap();
    assert!(preview.bytes > 4_000_000, "{preview:?}");
    assert!(distant.bytes() < 100_000, "a preview reads the manifest only: {}", distant.bytes());
    let before = (distant.requests(), distant.bytes());
    let fetched = freestone_follow::fetch(&store, &subject, &Fetch::default()).unwrap();
    assert_eq!(fetched, preview);
    assert_eq!(
        (distant.requests() - before.0, distant.bytes() - before.1),
        (preview.requests, preview.bytes)
    );
}

#[test]
fn no_fault_of_the_upstream_gives_a_wrong_byte() {
    let world = World::new(2);
    for seed in 0..12 {
        let _ = std::fs::remove_dir_all(world.host());
        drop(world.init(None));
        let faults = match seed % 3 {
            0 => Faults { errors: 100, ..Faults::default() },
            1 => Faults { flips: 100, cuts: 20, ..Faults::default() },
            _ => Faults { errors: 50, flips: 50, cuts: 50 },
        };
        let faulty = Arc::new(Faulty::new(world.backend(), faults, seed));
        let mut complete = false;
        for _ in 0..40 {
            // Each time as a new process would.
            let store = world.open(&faulty);
            let patience = Duration::from_secs(if seed % 2 == 0 { 30 } else { 0 });
            store.follower.as_ref().unwrap().be_patient(Patience::of(patience));
            let outcome = store.store.resolve("main").and_then(|resolved| {
                let _ = prime(&store, &resolved.id);
                let subject = Subject { root: resolved.revision.root, below: None, contents: true };
                freestone_follow::fetch(&store, &subject, &Fetch::default())
            });
            // Whatever came of it, what is read is right.
            for (id, tree) in &world.trees {
                if let Ok(read) = Reading::new(&store.store).revision(id) {
                    assert!(read == *tree, "a wrong byte, seed {seed}");
                }
            }
            if outcome.is_ok() && is_complete(&store, &world.trees[1].0).unwrap() {
                complete = true;
                break;
            }
        }
        assert!(complete, "seed {seed}");
        let offline = world.offline();
        let read = Reading::new(&offline.store).revision(&world.trees[1].0).unwrap();
        assert!(read == world.trees[1].1, "seed {seed}");
    }
}

#[test]
fn damage_at_the_upstream_itself_is_named() {
    let world = World::new(1);
    let store = world.init(None);
    let pack = std::fs::read_dir(world.upstream().join("packs")).unwrap().next().unwrap().unwrap();
    let pack = std::fs::read_dir(pack.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[200_000] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let subject = subject(&store, "main");
    let error = freestone_follow::fetch(&store, &subject, &Fetch::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let name = pack.file_stem().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    assert!(!is_complete(&store, &world.trees[0].0).unwrap());
}

#[test]
fn a_patient_reader_outlives_an_outage_and_others_are_told_since_when() {
    let world = World::new(1);
    drop(world.init(None));
    let faulty = Arc::new(Faulty::new(world.backend(), Faults::default(), 1));
    let store = world.open(&faulty);
    let subject = subject(&store, "main");
    faulty.set_down(true);
    let error = freestone_follow::fetch(&store, &subject, &Fetch::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("unreachable since 20"), "{error}");
    assert!(store.follower.as_ref().unwrap().last_seen().unreachable_since.is_some());
    store.follower.as_ref().unwrap().be_patient(Patience::of(Duration::from_secs(60)));
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| freestone_follow::fetch(&store, &subject, &Fetch::default()));
        let before = faulty.requests();
        // It asks again and again.
        while faulty.requests() < before + 5 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!fetching.is_finished());
        faulty.set_down(false);
        fetching.join().unwrap().unwrap();
    });
    assert_eq!(store.follower.as_ref().unwrap().last_seen().unreachable_since, None);
    assert!(is_complete(&store, &world.trees[0].0).unwrap());
}

#[test]
fn a_cache_that_was_damaged_heals() {
    let world = World::new(2);
    let store = world.init(None);
    fetch(&store, "main");
    let cache = cache(&world, &store);
    drop(store);
    let mut files = vec![cache.clone()];
    let mut damaged = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        match damaged % 3 {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes.iter_mut().skip(7).step_by(1000).for_each(|byte| *byte ^= 1),
            _ => bytes.fill(0),
        }
        damaged += 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(damaged > 5);
    let offline = world.offline();
    if let Ok(read) = Reading::new(&offline.store).revision(&world.trees[1].0) {
        assert!(read == world.trees[1].1);
    }
    let store = world.reopen();
    assert_eq!(Reading::new(&store.store).revision(&world.trees[1].0).unwrap(), world.trees[1].1);
    fetch(&store, "main");
    drop(store);
    let offline = world.offline();
    assert_eq!(Reading::new(&offline.store).revision(&world.trees[1].0).unwrap(), world.trees[1].1);
}

#[test]
fn the_cache_keeps_its_size_and_what_is_pinned() {
    const LIMIT: u64 = 8 << 20;
    let world = World::new(9);
    let store = world.init(Some(LIMIT));
    let pinned = world.trees[0].0;
    fetch(&store, &pinned.to_string());
    assert!(matches!(pin(&store, "www", pinned, 7).unwrap(), Pinned::AtUpstream));
    drop(store);
    for (id, tree) in &world.trees {
        let store = world.reopen();
        fetch(&store, &id.to_string());
        assert_eq!(Reading::new(&store.store).revision(id).unwrap(), *tree);
        drop(store);
        let store = world.offline();
        let packs = blocks(&cache(&world, &store).join("packs"));
        assert!(packs <= LIMIT, "{packs} bytes");
        assert!(is_complete(&store, &pinned).unwrap());
        assert_eq!(Reading::new(&store.store).revision(&pinned).unwrap(), world.trees[0].1);
    }
    let store = world.reopen();
    let is_here = |id| is_complete(&store, id).unwrap();
    let complete: Vec<bool> = world.trees.iter().map(|(id, _)| is_here(id)).collect();
    assert!(complete[8], "what was used last is here: {complete:?}");
    assert!(complete.contains(&false), "something was given up: {complete:?}");
    let pinned = pins(&store).unwrap();
    assert_eq!(pinned.len(), 1);
    assert!(is_pinned_at_upstream(&store, &pinned[0]).unwrap());
    assert!(matches!(unpin(&store, "www", 8).unwrap(), Pinned::AtUpstream));
    assert_eq!(pins(&store).unwrap(), []);
    assert!(!is_pinned_at_upstream(&store, &pinned[0]).unwrap());
    assert_eq!(unpin(&store, "www", 9).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_cache_keeps_its_size_under_a_reader_that_fetches_nothing_beforehand() {
    const LIMIT: u64 = 16 << 20;
    let world = World::new(1);
    let upstream = Store::open(&world.upstream()).unwrap();
    let mut tree = MemorySource::default();
    (0..25).for_each(|n| tree.set(format!("{n:02}"), noise(4 << 20, 100 + n)));
    let tree = tree.explicit();
    let id =
        push_tree(&upstream, &tree, &PushOptions { time: 5, ..Default::default() }).unwrap().id;
    let store = world.init(Some(LIMIT));
    assert_eq!(Reading::new(&store.store).revision(&id).unwrap(), tree);
    // What comes between two looks at the size is on top of it: of 100 MB less than 64 MiB.
    let packs = cache(&world, &store).join("packs");
    let begun = Instant::now();
    while blocks(&packs) > LIMIT + (64 << 20) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} bytes", blocks(&packs));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(Reading::new(&store.store).revision(&id).unwrap(), tree);
    drop(store);
    let packs = cache(&world, &world.offline()).join("packs");
    let begun = Instant::now();
    while blocks(&packs) > LIMIT {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} bytes", blocks(&packs));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_given_up_and_fetched_again_is_read_from_the_cache_again() {
    let world = World::new(1);
    let store = world.init(Some(0));
    let (id, tree) = &world.trees[0];
    let read = || {
        assert_eq!(Reading::new(&store.store).revision(id).unwrap(), *tree);
        store.follower.as_ref().unwrap().traffic().bytes
    };
    let first = read();
    let packs = cache(&world, &store).join("packs");
    store.follower.as_ref().unwrap().evict().unwrap();
    assert_eq!(blocks(&packs), 0, "all of it");
    let second = read();
    assert!(second > first);
    assert_eq!(read(), second);
}

#[test]
fn nothing_is_given_up_where_it_cannot_be_told_what_is_pinned() {
    let world = World::new(2);
    let store = world.init(Some(1 << 20));
    fetch(&store, "main~1");
    pin(&store, "www", world.trees[0].0, 7).unwrap();
    let mut folders = vec![world.host().join("refs")];
    let mut damaged = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                std::fs::write(&path, "rot").unwrap();
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0);
    let error = store.follower.as_ref().unwrap().evict().unwrap_err();
    assert!(error.to_string().contains("the pins cannot be read"), "{error}");
    assert!(is_complete(&world.offline(), &world.trees[0].0).unwrap(), "it is all there");
}

#[test]
fn what_another_process_gave_up_is_fetched_again() {
    let world = World::new(1);
    let store = world.init(None);
    let (id, tree) = &world.trees[0];
    // Read, kept, and not yet told of.
    assert_eq!(Reading::new(&store.store).revision(id).unwrap(), *tree);
    let packs = cache(&world, &store).join("packs");
    assert!(blocks(&packs) > 0);
    std::fs::remove_dir_all(&packs).unwrap();
    store.follower.as_ref().unwrap().flush().unwrap();
    assert_eq!(Reading::new(&store.store).revision(id).unwrap(), *tree);
    fetch(&store, "main");
    drop(store);
    assert_eq!(Reading::new(&world.offline().store).revision(id).unwrap(), *tree);
}

#[test]
fn a_segment_that_the_disk_damaged_is_fetched_again() {
    let world = World::new(3);
    for at in [60, 200, 2000, 5000] {
        let store = world.init(None);
        let index = cache(&world, &store).join("index");
        store.store.resolve("main").unwrap();
        store.store.records().unwrap();
        drop(store);
        let mut damaged = 0;
        for entry in std::fs::read_dir(index).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let end = (at + 400).min(bytes.len() - 32);
            if at < end {
                bytes[at..end].fill(0x5a);
                std::fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
        assert!(damaged > 0, "{at}");
        let store = world.reopen();
        fetch(&store, "main");
        drop(store);
        let read = Reading::new(&world.offline().store).revision(&world.trees[2].0).unwrap();
        assert_eq!(read, world.trees[2].1);
        std::fs::remove_dir_all(world.host()).unwrap();
    }
}

#[test]
fn an_upstream_that_is_not_mounted_is_out_of_reach_and_not_empty() {
    let world = World::new(2);
    let store = world.init(None);
    fetch(&store, "main");
    drop(store);
    let gone = world.folder.path().join("gone");
    std::fs::rename(world.upstream(), &gone).unwrap();
    for put in 0..2 {
        if put == 1 {
            Store::init(&world.upstream()).unwrap();
        }
        let store = world.reopen();
        let error = store.store.resolve("main").unwrap_err();
        let expected = [ErrorKind::Storage, ErrorKind::Refused][put];
        assert_eq!(error.kind(), expected, "{error}");
        drop(store);
        let offline = world.offline();
        assert_eq!(offline.store.resolve("main").unwrap().id, world.trees[1].0);
        assert!(is_complete(&offline, &world.trees[1].0).unwrap());
    }
}

#[test]
fn nothing_is_written_to_a_follower() {
    let world = World::new(1);
    let store = world.init(None);
    let error = push_tree(&store.store, &tree(5), &PushOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hint_text().unwrap().contains(world.upstream().to_str().unwrap()), "{error:?}");
    // Nor does a follower follow a follower.
    let other = world.folder.path().join("other");
    let url = world.host();
    let made =
        freestone_follow::init(&other, url.to_str().unwrap(), None, "h", &Opening::default());
    assert_eq!(made.map(|_| ()).unwrap_err().kind(), ErrorKind::Refused);
    assert!(!other.exists());
}

/// What a host may live through, in any order: it never reads a wrong byte, and once nothing goes
/// wrong any more everything is there.
#[test]
fn whatever_happens_no_byte_is_wrong_and_all_can_be_had_in_the_end() {
    let world = World::new(5);
    let long = std::env::var_os("FREESTONE_LONG").is_some();
    for seed in 0..if long { 200 } else { 6u64 } {
        let _ = std::fs::remove_dir_all(world.host());
        drop(world.init(None));
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        };
        let faults = Faults { errors: 20, flips: 20, cuts: 10 };
        for step in 0..25 {
            let faulty = Arc::new(Faulty::new(world.backend(), faults, seed * 1000 + step));
            faulty.set_active(draw(2) == 0);
            let store = if draw(5) == 0 { world.offline() } else { world.open(&faulty) };
            let at = usize::try_from(draw(5)).unwrap();
            let (id, tree) = &world.trees[at];
            match draw(6) {
                0 | 1 => {
                    let below =
                        (draw(2) == 0).then(|| format!("pages/{:02}", draw(10)).into_bytes());
                    if let Ok(Some(revision)) = store.store.revision(id) {
                        let _ = prime(&store, id);
                        let subject = Subject { root: revision.root, below, contents: draw(3) > 0 };
                        let _ = freestone_follow::fetch(&store, &subject, &Fetch::default());
                    }
                }
                2 | 3 => {
                    if let Ok(read) = Reading::new(&store.store).revision(id) {
                        assert!(read == *tree, "seed {seed}, step {step}");
                    }
                }
                4 => {
                    // Another size of the cache, heeded by whoever comes next.
                    let path = world.host().join("upstream");
                    let text = std::fs::read_to_string(&path).unwrap();
                    let size = ["none".to_owned(), (1 << 20).to_string(), (4 << 20).to_string()];
                    let size = &size[usize::try_from(draw(3)).unwrap()];
                    let lines = text.lines().map(|line| match line.starts_with("cache-size:") {
                        true => format!("cache-size: {size}\n"),
                        false => format!("{line}\n"),
                    });
                    std::fs::write(&path, lines.collect::<String>()).unwrap();
                }
                _ => {
                    // What a power cut may leave of a file that was not synced.
                    let packs = cache(&world, &store).join("packs");
                    let folders = std::fs::read_dir(packs).into_iter().flatten().flatten();
                    let files =
                        folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap());
                    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
                    files.sort();
                    if !files.is_empty() {
                        let path = &files[usize::try_from(draw(files.len() as u64)).unwrap()];
                        let file = std::fs::File::options().write(true).open(path).unwrap();
                        let length = file.metadata().unwrap().len();
                        file.set_len(draw(length + 1)).unwrap();
                        file.set_len(length).unwrap();
                    }
                }
            }
            if draw(3) == 0 {
                // Killed: nothing is put in order.
                std::mem::forget(store);
            }
        }
        let store = world.reopen();
        for (id, tree) in &world.trees {
            fetch(&store, &id.to_string());
            assert!(Reading::new(&store.store).revision(id).unwrap() == *tree, "seed {seed}");
        }
    }
}
