//! What goes wrong around a host: an upstream that is away, hostile or behind an old cache, and a cache
//! that is incomplete or cannot be written to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Listed, Object};
use freestone_core::digest::{self, context};
use freestone_core::plan::NodeKind;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Watch, lock};
use freestone_follow::{
    Fetch, Opened, Opening, Patience, Subject, complete, fetch, is_complete, note_complete, prime,
};
use freestone_format::Revision;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::segment::{SegmentPack, SegmentParts, SegmentRow, file_name, prefix};
use freestone_maintain::{CompactOptions, compact};
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord};
use freestone_manifest::{Builder, Entry, EntryKind, NodeSink};
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{Forge, MemorySource, Reading, noise, push_tree, text, write_segment};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

struct World {
    folder: tempfile::TempDir,
    store: Store,
    trees: Vec<(Id, MemorySource)>,
}

impl World {
    /// An upstream with some revisions.
    fn new(revisions: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("upstream")).unwrap();
        let mut world = Self { folder, store, trees: Vec::new() };
        (0..revisions).for_each(|n| world.push(n));
        world
    }

    fn push(&mut self, n: u64) {
        let mut tree = MemorySource::default();
        (0..60).for_each(|file| tree.set(format!("pages/{file}"), text(3000, file + n % 3)));
        tree.set("video", noise(2_000_000, n));
        let tree = tree.explicit();
        let options = PushOptions { time: i64::try_from(n).unwrap(), ..PushOptions::default() };
        let id = push_tree(&self.store, &tree, &options).unwrap().id;
        self.trees.push((id, tree));
    }

    fn upstream(&self) -> PathBuf {
        self.folder.path().join("upstream")
    }

    fn host(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    fn cache(&self) -> PathBuf {
        self.host().join("cache").join(self.store.id().to_string())
    }

    fn init(&self) -> Opened {
        let url = self.upstream();
        let url = url.to_str().unwrap();
        freestone_follow::init(&self.host(), url, None, "h", &Opening::default()).unwrap()
    }

    fn open(&self, opening: Opening<'_>) -> Opened {
        freestone_follow::open(&self.host(), &opening).unwrap()
    }

    fn offline(&self) -> Opened {
        self.open(Opening { offline: true, ..Opening::default() })
    }
}

/// Fetches a revision as the program does.
fn bring(opened: &Opened, rev: &str) -> Result<Id> {
    let resolved = opened.store.resolve_to_read(rev)?;
    prime(opened, &resolved.id)?;
    fetch(opened, &Subject::whole(resolved.revision.root), &Fetch::default())?;
    Ok(resolved.id)
}

/// Lists the files below a directory.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// Moves everything in a directory to another one.
fn move_all(from: &Path, to: &Path) {
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap()).collect();
    // The header goes first and comes last, so that the store is never there in part.
    entries.sort_by_key(|entry| (entry.file_name() == "format") == from.ends_with("away"));
    for entry in entries {
        fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Reads everything of a revision.
fn read(opened: &Opened, rev: &str) -> Result<()> {
    let id = opened.store.resolve(rev)?.id;
    Reading::new(&opened.store).revision(&id).map(|_| ())
}

#[test]
fn what_is_not_here_is_never_called_damaged() {
    let mut world = World::new(3);
    // The index of a compaction leaves its rows out: they are in the table of a pack.
    let options = CompactOptions { all: true, ..CompactOptions::default() };
    compact(&world.store, &options, Watch::default()).unwrap();
    world.push(7);
    let opened = world.init();
    let id = bring(&opened, "main").unwrap();
    note_complete(&opened, &id, "main").unwrap();
    drop(opened);
    let all = files(&world.cache());
    assert!(all.len() > 8, "{all:?}");
    let whole: Vec<Vec<u8>> = all.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, bytes) in all.iter().zip(&whole) {
        let cut = bytes[..bytes.len() / 2].to_vec();
        let zeros = vec![0; bytes.len()];
        for left in [None, Some(cut), Some(zeros)] {
            match &left {
                None => fs::remove_file(path).unwrap(),
                Some(left) => fs::write(path, left).unwrap(),
            }
            let opened = world.offline();
            let rev = id.to_string();
            let main = read(&opened, "main");
            let looked = opened.store.refs().list().and_then(|_| opened.store.revision_ids());
            for outcome in [main, read(&opened, &rev), looked.map(|_| ())] {
                if let Err(error) = outcome {
                    let text = format!("{}: {error}", path.display());
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
                    assert!(error.hint_text().is_some_and(|h| h.contains("fetch")), "{text}");
                }
            }
            // It also forgets what it found damaged.
            drop(opened);
            for (path, bytes) in all.iter().zip(&whole) {
                fs::write(path, bytes).unwrap();
            }
        }
    }
    let opened = world.offline();
    assert_eq!(Reading::new(&opened.store).revision(&id).unwrap(), world.trees[3].1);
}

#[test]
fn a_revision_that_was_fetched_by_its_id_is_read_offline_by_it() {
    let world = World::new(3);
    for (at, (id, tree)) in world.trees.iter().enumerate() {
        let name = id.to_string();
        let opened = world.init();
        bring(&opened, &name).unwrap();
        note_complete(&opened, id, &name).unwrap();
        drop(opened);
        let opened = world.offline();
        assert_eq!(opened.store.resolve(&name).unwrap().id, *id);
        assert_eq!(opened.store.resolve(&name[..12]).unwrap().id, *id);
        assert_eq!(Reading::new(&opened.store).revision(id).unwrap(), *tree);
        // What `status` and `log` show.
        assert_eq!(complete(&opened).unwrap().iter().map(|one| one.id).collect::<Vec<_>>(), [*id]);
        assert!(opened.store.revision_ids().unwrap().contains(id));
        opened.store.refs().list().unwrap();
        let other = world.trees[(at + 1) % 3].0;
        assert!(!is_complete(&opened, &other).unwrap());
        drop(opened);
        fs::remove_dir_all(world.host()).unwrap();
    }
}

#[test]
fn a_directory_that_is_away_for_a_moment_is_waited_for() {
    let world = World::new(2);
    drop(world.init());
    let notices = Arc::new(AtomicUsize::new(0));
    let patience = {
        let notices = notices.clone();
        Patience {
            notice: Some(Arc::new(move |text: &str| {
                assert!(text.contains("trying again"), "{text}");
                notices.fetch_add(1, Ordering::Relaxed);
            })),
            ..Patience::of(Duration::from_secs(60))
        }
    };
    let opened = world.open(Opening { patience, ..Opening::default() });
    let id = opened.store.resolve("main").unwrap().id;
    // An empty directory, as where nothing is mounted.
    let away = world.folder.path().join("away");
    fs::create_dir(&away).unwrap();
    move_all(&world.upstream(), &away);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| Reading::new(&opened.store).revision(&id));
        std::thread::sleep(Duration::from_millis(4500));
        assert!(!reading.is_finished());
        move_all(&away, &world.upstream());
        assert_eq!(reading.join().unwrap().unwrap(), world.trees[1].1);
    });
    assert!(notices.load(Ordering::Relaxed) > 0, "after three seconds it is said");
    // What the upstream itself has lost is not waited for.
    let begun = Instant::now();
    fs::remove_dir_all(world.upstream().join("packs")).unwrap();
    fs::create_dir(world.upstream().join("packs")).unwrap();
    let error = bring(&opened, "main~1").unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn waiting_ends_when_it_is_cancelled() {
    let world = World::new(1);
    drop(world.init());
    let cancel = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let patience =
        Patience { cancel: Some(cancel.clone()), ..Patience::of(Duration::from_secs(60)) };
    let opened = world.open(Opening { patience, ..Opening::default() });
    fs::rename(world.upstream(), world.folder.path().join("away")).unwrap();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| opened.store.resolve("main").map(|_| ()));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!asking.is_finished());
        cancel.store(true, Ordering::Relaxed);
        let error = asking.join().unwrap().unwrap_err();
        assert_eq!(error.to_string(), Error::interrupted().to_string());
    });
}

#[test]
fn a_cache_that_cannot_be_written_to_is_no_obstacle() {
    let world = World::new(2);
    drop(world.init());
    // Not even root creates anything below a file.
    fs::write(world.host().join("cache"), "in the way").unwrap();
    let opened = world.open(Opening::default());
    let id = bring(&opened, "main").unwrap();
    assert_eq!(Reading::new(&opened.store).revision(&id).unwrap(), world.trees[1].1);
    let follower = opened.follower.as_ref().unwrap();
    assert!(follower.take_failure().is_some());
    assert!(follower.take_failure().is_none(), "it is said once");
    // But nothing is called complete.
    assert_eq!(note_complete(&opened, &id, "main").unwrap_err().kind(), ErrorKind::Storage);
    assert!(!is_complete(&opened, &id).unwrap());
}

/// A segment with so many rows that it is fetched in parts.
fn long_segment() -> (String, Vec<u8>) {
    let row = |n: u32| SegmentRow {
        prefix: prefix(&digest::plain(&n.to_le_bytes()).0),
        pack: 0,
        offset: u64::from(n) * 100,
        stored: 100,
        plain: 100,
        kind: RecordKind::Chunk,
        codec: Codec::Raw,
        base: None,
    };
    let parts = SegmentParts {
        packs: vec![SegmentPack { id: Id([7; 32]), length: 1 << 40, table: 9 }],
        rows: (0..400_000).map(row).collect(),
        ..SegmentParts::default()
    };
    let (bytes, id) = parts.encode();
    (format!("index/{}", file_name(3, 5, &id)), bytes)
}

#[test]
fn lengths_that_an_upstream_names_cost_nothing_before_they_are_proven() {
    let world = World::new(1);
    let opened = world.init();
    // A sparse segment of 4 GiB takes no room at the upstream.
    let name = format!("index/{}", file_name(0, 1, &[255; 16]));
    fs::write(world.upstream().join(&name), "").unwrap();
    let file = fs::File::options().write(true).open(world.upstream().join(&name)).unwrap();
    file.set_len((4 << 30) - 4096).unwrap();
    let error = bring(&opened, "main").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    let bytes = opened.follower.as_ref().unwrap().traffic().bytes;
    assert!(bytes < 32 << 20, "{bytes}");
    fs::remove_file(world.upstream().join(&name)).unwrap();
    drop(opened);

    // A long one is right as a whole, or not kept.
    let (name, bytes) = long_segment();
    assert!(bytes.len() > 5 << 20);
    let mut damaged = bytes.clone();
    damaged[4_500_000] ^= 1;
    for (content, is_right) in [(damaged, false), (bytes, true)] {
        fs::write(world.upstream().join(&name), content).unwrap();
        let opened = world.open(Opening::default());
        let outcome = bring(&opened, "main");
        assert_eq!(outcome.is_ok(), is_right, "{:?}", outcome.err());
        assert_eq!(world.cache().join(&name).exists(), is_right);
        let tmp = fs::read_dir(world.cache().join("tmp")).map_or(0, Iterator::count);
        assert_eq!(tmp, 0, "nothing is left over");
    }
}

/// A web server behind a cache: it lists what a hint said at some time.
struct OldHints {
    inner: Directory,
    /// What listings show, once they are old.
    old: Mutex<Option<Vec<Listed>>>,
}

impl OldHints {
    fn of(world: &World) -> Arc<Self> {
        Arc::new(Self { inner: Directory::new(world.upstream()), old: Mutex::default() })
    }

    /// Lists from now on what there is now.
    fn grow_old(&self) {
        let all = ["index", "refs"].map(|folder| self.inner.list(folder).unwrap());
        *lock(&self.old) = Some(all.concat());
    }
}

impl Backend for OldHints {
    fn lists_by_hints(&self) -> bool {
        true
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let Some(mut old) = lock(&self.old).clone() else { return self.inner.list(folder) };
        let start = format!("{folder}/");
        old.retain(|listed| listed.name.starts_with(&start));
        Ok(old)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        self.inner.open(name)
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

#[test]
fn an_old_hint_makes_no_host_go_back() {
    let world = World::new(2);
    drop(world.init());
    let web = OldHints::of(&world);
    let upstream = |_: &str| -> Result<Arc<dyn Backend>> { Ok(web.clone()) };
    let open = || world.open(Opening { upstream: &upstream, ..Opening::default() });
    let before = world.trees[0].0;
    // What a hint says now.
    web.grow_old();
    let old = lock(&web.old).take().unwrap();
    world_push(&world, 5);
    let newest = world.store.resolve("main").unwrap().id;
    let opened = open();
    assert_eq!(bring(&opened, "main").unwrap(), newest);
    drop(opened);
    // From now on listings are old.
    *lock(&web.old) = Some(old);
    let opened = open();
    assert_eq!(opened.store.resolve("main").unwrap().id, newest);
    assert!(Reading::new(&opened.store).revision(&newest).is_ok());
    assert_eq!(bring(&opened, "main").unwrap(), newest);
    bring(&opened, &before.to_string()).unwrap();
    drop(opened);
    // The segments that the hint lists were merged, and are gone.
    let options = CompactOptions { all: true, ..CompactOptions::default() };
    compact(&world.store, &options, Watch::default()).unwrap();
    fs::remove_dir_all(world.cache().join("index")).unwrap();
    let opened = open();
    let begun = Instant::now();
    assert_eq!(opened.store.resolve("main").unwrap().id, newest);
    opened.store.index().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Once the hint is new, everything is there.
    *lock(&web.old) = None;
    let opened = open();
    assert_eq!(bring(&opened, "main").unwrap(), newest);
}

/// Pushes one more revision.
fn world_push(world: &World, n: u64) {
    let mut tree = MemorySource::default();
    tree.set("video", noise(300_000, 100 + n));
    push_tree(&world.store, &tree.explicit(), &PushOptions::default()).unwrap();
    let id = world.store.resolve("main").unwrap().id;
    world.store.refs().set("other", id, Expect::Any, 5).unwrap();
}

/// The nodes of a manifest, as records.
struct Records(Forge);

impl NodeSink for Records {
    fn put(&mut self, kind: NodeKind, _: Id, bytes: &[u8]) -> Result<()> {
        self.0.add(kind.into(), Codec::Raw, bytes).map(|_| ())
    }
}

#[test]
fn a_content_of_few_nodes_that_are_named_very_often_is_fetched_at_once() {
    let world = World::new(0);
    let mut forge = Forge::default();
    forge.add(RecordKind::Chunk, Codec::Raw, b"x").unwrap();
    let mut node = ContentNode::Leaf(vec![ContentItem::Chunk(1, digest::plain(b"x")); 128]);
    let mut length = 128u64;
    for level in 2..=8 {
        let id = digest::derived(context::CONTENT_NODE, &node.encode());
        forge.add(RecordKind::ContentNode, Codec::Raw, &node.encode()).unwrap();
        node = ContentNode::Inner(level, vec![(length, id); 128]);
        length *= 128;
    }
    forge.add(RecordKind::ContentNode, Codec::Raw, &node.encode()).unwrap();
    let top = digest::derived(context::CONTENT_NODE, &node.encode());
    let (sha1, blake3) = (Sha1([2; 20]), Id([3; 32]));
    let record = ContentRecord { chunker: 1, length, sha1, blake3, level: 8, top };
    forge.add(RecordKind::ContentRecord, Codec::Raw, &record.encode()).unwrap();
    let mut builder = Builder::new(Records(forge));
    let content = record.id();
    let kind = EntryKind::File { executable: false, size: length, sha1, content };
    let (path, link, extensions) = (b"bomb".to_vec(), None, Vec::new());
    builder.push(Entry { path, mtime: 1, kind, link, extensions }).unwrap();
    let (root, Records(mut forge)) = builder.finish().unwrap();
    let revision = Revision {
        root: root.id,
        content_digest: root.content_digest,
        entries: root.entries,
        bytes: root.bytes,
        time: 1,
        parents: Vec::new(),
        message: String::new(),
        labels: std::collections::BTreeMap::new(),
    };
    forge.add(RecordKind::Revision, Codec::Raw, &revision.encode()).unwrap();
    let backend = world.store.backend();
    let pack = forge.write(&**backend).unwrap();
    write_segment(&**backend, 1, forge.listed(pack)).unwrap();
    world.store.refs().set("main", revision.id(), Expect::Any, 1).unwrap();

    let opened = world.init();
    let begun = Instant::now();
    // Its revision has no file, so its record is kept when it is read.
    assert_eq!(opened.store.resolve("main").unwrap().id, revision.id());
    for dry_run in [true, false] {
        let subject = Subject::whole(root.id);
        fetch(&opened, &subject, &Fetch { dry_run, ..Fetch::default() }).unwrap();
    }
    assert!(is_complete(&opened, &revision.id()).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
