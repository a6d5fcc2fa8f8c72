//! Compaction: everything stays as it was, whoever reads, pushes or compacts beside it; packs
//! become fewer and smaller; chains stay shallow.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::item::{Item, ItemSource};
use freestone_core::plan::{ChunkSource, RawChunks};
use freestone_core::{ErrorKind, Id, Result, Watch};
use freestone_format::condemned::{self, Stage};
use freestone_format::pack;
use freestone_format::record::{Codec, RecordKind};
use freestone_maintain::Finding;
use freestone_maintain::{self as maintain, CompactOptions, Compacted};
use freestone_push::{PushOptions, Source};
use freestone_store::Store;
use freestone_testkit::{MemorySource, Reading, cases, findings, noise, push_tree, text};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a reader follows at most.
const DEPTH_MAX: u64 = 32;

fn compact(store: &Store, grace: u64) -> Result<Compacted> {
    let grace = Duration::from_secs(grace);
    let options = CompactOptions { grace, level: 6, ..CompactOptions::default() };
    maintain::compact(store, &options, Watch::default())
}

fn push(store: &Store, tree: &MemorySource, time: i64) -> Id {
    let options = PushOptions { time, threads: 1, ..PushOptions::default() };
    push_tree(store, tree, &options).unwrap().id
}

/// A store with a history of small changes: pages that change a word, a page that moves, an image.
fn history(store: &Store, count: u64) -> BTreeMap<Id, MemorySource> {
    let mut tree = MemorySource::of([("logo.png", noise(90_000, 1)), ("style.css", text(9000, 2))]);
    for n in 0..20 {
        tree.set(format!("pages/{n:02}"), text(3000 + 40 * n, n as u64 + 10));
    }
    let mut trees = BTreeMap::new();
    for n in 0..count {
        let path = format!("pages/{:02}", n % 5);
        let mut page = tree.files[path.as_bytes()].1.to_vec();
        let at = usize::try_from(n * 97).unwrap() % page.len();
        page.splice(at..at, format!("change {n} ").into_bytes());
        tree.set(path, page);
        if n % 7 == 3 {
            let (_, moved) = tree.files.remove(&b"pages/19"[..]).unwrap();
            tree.set(format!("moved/{n}"), [&moved[..], b"and more"].concat());
            tree.set("pages/19", text(4000, n + 100));
        }
        trees.insert(push(store, &tree, 1000 + i64::try_from(n).unwrap()), tree.clone().explicit());
    }
    trees
}

fn check(store: &Store, trees: &BTreeMap<Id, MemorySource>) {
    assert_eq!(findings(store).unwrap(), []);
    let mut reading = Reading::new(store);
    for (id, tree) in trees {
        assert!(reading.revision(id).unwrap() == *tree, "revision {id} is another");
        assert_eq!(store.resolve(&id.to_string()).unwrap().id, *id);
    }
    let ids = store.revision_ids().unwrap();
    assert!(trees.keys().all(|id| ids.contains(id)));
    let stats = maintain::stats(store, Watch::default()).unwrap();
    assert!(stats.depths.keys().all(|depth| *depth <= DEPTH_MAX), "{:?}", stats.depths);
}

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

#[test]
fn many_small_packs_become_one_and_nothing_is_another() {
    let (_folder, store) = new_store();
    let trees = history(&store, 40);
    let pushed = maintain::stats(&store, Watch::default()).unwrap();
    assert!(pushed.records["chunk"].based > 20, "a push uses bases");
    assert!(pushed.depths.keys().all(|depth| *depth <= 1), "one base across packs");
    let before = maintain::stored_bytes(&store).unwrap();
    let done = compact(&store, 0).unwrap();
    assert_eq!((done.old_packs.0, done.new_packs.0, done.removed.0), (40, 1, 40));
    assert_eq!((done.revision_files, done.waiting.0), (40, 0));
    let after = maintain::stored_bytes(&store).unwrap();
    assert!(after < before / 10 * 9, "{after} of {before}");
    check(&store, &trees);
    let stats = maintain::stats(&store, Watch::default()).unwrap();
    assert_eq!((stats.packs.0, stats.revision_files.0), (1, 0));
    assert_eq!(store.index().unwrap().segments().len(), 1);
    assert!(stats.depths.keys().any(|depth| *depth > 2));
    assert_eq!(stats.revisions, 40);
    // It is as small as it gets.
    let again = compact(&store, 0).unwrap();
    assert_eq!((again.old_packs.0, again.new_packs.0, again.removed.0), (0, 0, 0));
    assert_eq!(collections(&store), ["closed"]);
    // And pushes go on, over what was compacted.
    let mut tree = trees.values().next_back().unwrap().clone();
    tree.set("pages/00", text(5000, 999));
    let id = push(&store, &tree, 5000);
    check(&store, &BTreeMap::from([(id, tree)]));
    check(&store, &trees);
    maintain::reindex(&store, Watch::default()).unwrap();
    check(&store, &trees);
}

/// A large content begins at a multiple of 4,096, after a gap that small records cannot fill.
#[test]
fn packs_of_large_contents_are_merged_although_gaps_are_new() {
    let (_folder, store) = new_store();
    let mut tree = MemorySource::default();
    let mut trees = BTreeMap::new();
    for n in 0..3 {
        tree.set(format!("{n}"), noise(2_000_000, n + 1));
        trees
            .insert(push(&store, &tree, 1000 + i64::try_from(n).unwrap()), tree.clone().explicit());
    }
    let done = compact(&store, 0).unwrap();
    assert!(done.old_packs.0 >= 3 && done.new_packs.0 == 1, "{done:?}");
    check(&store, &trees);
    assert_eq!(compact(&store, 0).unwrap().old_packs.0, 0);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        // Hints are no part of a store.
        .filter(|path| !path.ends_with("latest"))
        .collect()
}

/// The bytes of the only file in a folder of the store, and its path.
fn only_file(folder: &Path) -> (PathBuf, Vec<u8>) {
    let files = files_below(folder);
    let [file] = &files[..] else { panic!("{} files in {}", files.len(), folder.display()) };
    (file.clone(), std::fs::read(file).unwrap())
}

#[test]
fn what_a_compacted_pack_says_is_not_said_again() {
    let (folder, store) = new_store();
    let trees = history(&store, 40);
    compact(&store, 0).unwrap();
    let (pack_file, pack) = only_file(&folder.path().join("store/packs"));
    let trailer = *pack.last_chunk().unwrap();
    let (start, length) = pack::table_place(pack.len() as u64, trailer).unwrap();
    let table = &pack[usize::try_from(start).unwrap()..][..usize::try_from(length).unwrap()];
    let rows = pack::decode_table(table, start).unwrap();
    // Ids of nodes and revisions are references, and the index leaves the rows out.
    let referring = |kind| {
        let codec = |row: &&pack::Row| row.kind == kind && row.codec == Codec::ZstdBaseIds;
        rows.iter().filter(codec).count()
    };
    assert!(referring(RecordKind::ManifestNode) > 20 && referring(RecordKind::Revision) > 20);
    let (index_file, index) = only_file(&folder.path().join("store/index"));
    assert_eq!(index[22], 1);
    assert!(index.len() < 12 * rows.len(), "{} bytes for {} rows", index.len(), rows.len());
    let open = || Store::open(&folder.path().join("store"));
    check(&open().unwrap(), &trees);

    // A damaged table, a cut pack and a missing one are named, and mended by what is brought back.
    let mut flipped = pack.clone();
    flipped[usize::try_from(start).unwrap() + 50] ^= 1;
    for damaged in [&flipped[..], &pack[..pack.len() - 1], &[]] {
        std::fs::write(&pack_file, damaged).unwrap();
        if damaged.is_empty() {
            std::fs::remove_file(&pack_file).unwrap();
        }
        let name = pack_file.file_stem().unwrap().to_str().unwrap();
        let found = findings(&open().unwrap()).unwrap();
        let names = |found: &Finding| found.object.contains(name) || found.fault.contains(name);
        assert!(found.iter().any(names), "{found:?}");
        std::fs::write(&pack_file, &pack).unwrap();
    }
    check(&open().unwrap(), &trees);
    // A segment that does not fit its pack is damaged, whatever it says.
    let mut other = index.clone();
    other[32] ^= 1;
    std::fs::write(&index_file, &other).unwrap();
    assert_eq!(open().unwrap().index().err().unwrap().kind(), ErrorKind::Corrupt);
    maintain::reindex(&open().unwrap(), Watch::default()).unwrap();
    check(&open().unwrap(), &trees);
}

/// The stages of the objects of collections.
fn collections(store: &Store) -> Vec<String> {
    let listed = store.backend().list("gc").unwrap();
    listed.iter().map(|listed| listed.name.rsplit('.').next().unwrap().to_owned()).collect()
}

#[test]
fn a_dry_run_changes_nothing() {
    let (_folder, store) = new_store();
    let trees = history(&store, 5);
    let files = |store: &Store| -> Vec<_> {
        ["packs", "index", "revisions", "gc"]
            .iter()
            .flat_map(|f| store.backend().list(f).unwrap())
            .collect()
    };
    let before = files(&store);
    let options = CompactOptions { dry_run: true, ..CompactOptions::default() };
    let done = maintain::compact(&store, &options, Watch::default()).unwrap();
    assert_eq!((done.old_packs.0, done.revision_files), (5, 5));
    assert_eq!(files(&store), before);
    check(&store, &trees);
}

#[test]
fn packs_wait_for_the_grace_period_and_readers_find_what_was_moved() {
    let (folder, store) = new_store();
    let trees = history(&store, 12);
    let reader = Store::open(&folder.path().join("store")).unwrap();
    let records = reader.records().unwrap();
    let first = trees.keys().next().unwrap();
    reader.revision(first).unwrap().unwrap();
    let done = compact(&store, 3600).unwrap();
    assert_eq!((done.removed.0, done.waiting.0), (0, 12));
    assert_eq!(maintain::stats(&store, Watch::default()).unwrap().packs.0, 13);
    let done = compact(&store, 3600).unwrap();
    assert_eq!((done.old_packs.0, done.removed.0, done.waiting.0), (0, 0, 12));
    check(&store, &trees);
    // Retired packs do not come back by a reindexing, nor do they have to be whole.
    maintain::reindex(&store, Watch::default()).unwrap();
    assert_eq!(store.index().unwrap().packs().unwrap().len(), 1);
    let done = compact(&store, 0).unwrap();
    assert_eq!((done.old_packs.0, done.removed.0, done.waiting.0), (0, 12, 0));
    // The reader listed the index before, and has opened no pack: all have gone since. Where a
    // content lay as it is, it lies no more; reading it finds the new place.
    let logo = noise(90_000, 1);
    let chunk = freestone_core::digest::plain(&logo);
    assert!(records.raw(&chunk, 90_000, true).unwrap().is_none());
    let mut bytes = vec![0; logo.len()];
    records.chunk(&chunk, &mut bytes).unwrap();
    assert!(bytes == logo);
    assert!(records.raw(&chunk, 90_000, true).unwrap().is_some());
    for id in trees.keys() {
        let mut bytes = Vec::new();
        let kind = RecordKind::Revision;
        assert!(records.read(kind, id, &mut bytes).unwrap());
    }
    let mut reading = Reading::new(&reader);
    for (id, tree) in &trees {
        assert!(reading.revision(id).unwrap() == *tree);
    }
}

#[test]
fn a_compaction_that_died_after_its_intent_removes_nothing() {
    let (_folder, store) = new_store();
    let trees = history(&store, 5);
    // One that died before it took any of them out.
    let live: Vec<Id> = store.index().unwrap().packs().unwrap().iter().map(|(id, _)| *id).collect();
    let name = condemned::object_name(1, Stage::Intent);
    store.backend().create(&name, &condemned::encode(Stage::Intent, &live)).unwrap();
    let done = compact(&store, 0).unwrap();
    assert_eq!((done.old_packs.0, done.removed.0), (5, 5));
    check(&store, &trees);
    let trees = history(&store, 5);
    // That of the first compaction is small, too.
    let done = compact(&store, 3600).unwrap();
    assert_eq!((done.old_packs.0, done.removed.0, done.waiting.0), (6, 0, 6));
    check(&store, &trees);
    let done = compact(&store, 0).unwrap();
    assert_eq!((done.removed.0, done.waiting.0), (6, 0));
    assert_eq!(collections(&store), ["closed"]);
    check(&store, &trees);
}

#[test]
fn the_file_of_a_revision_stays_where_its_pack_has_lost_it() {
    let (folder, store) = new_store();
    // Longer than what is rewritten.
    let mut tree = MemorySource::default();
    (0..60).for_each(|n| tree.set(format!("{n:02}"), noise(900_000, n)));
    let id = push(&store, &tree, 1000);
    let record = store.revision(&id).unwrap().unwrap().encode();
    let packs = store.backend().list("packs").unwrap();
    let mut damaged = 0;
    for pack in packs {
        let path = folder.path().join("store").join(&pack.name);
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(record.len()).position(|part| part == record) {
            bytes[at + 9] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "a revision is stored as it is");
    let done = compact(&store, 0).unwrap();
    assert_eq!(done.revision_files, 0);
    assert!(store.revision(&id).unwrap().is_some());
}

/// Items that compact the store, once, when half of them are given.
struct Compacting<'a>(std::vec::IntoIter<Item>, &'a Store, &'a AtomicBool);

impl ItemSource for Compacting<'_> {
    fn next(&mut self) -> Result<Option<Item>> {
        if self.0.len() == 10 && !self.2.swap(true, Ordering::Relaxed) {
            compact(self.1, 0)?;
        }
        Ok(self.0.next())
    }
}

#[test]
fn a_push_that_depends_on_packs_that_went_meanwhile_begins_again() {
    let (folder, store) = new_store();
    let mut trees = history(&store, 6);
    let last = store.resolve("main").unwrap().id;
    let mut tree = trees[&last].clone();
    let mut page = tree.files[&b"pages/07"[..]].1.to_vec();
    page.splice(100..100, *b"a change over a base ");
    tree.set("pages/07", page);
    let other = Store::open(&folder.path().join("store")).unwrap();
    let tree = tree.explicit();
    let walks = AtomicU64::new(0);
    let compacted: &AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let walk = || -> Result<Box<dyn ItemSource>> {
        walks.fetch_add(1, Ordering::Relaxed);
        // The items outlive this call, and tests end soon.
        let other = Box::leak(Box::new(other.clone()));
        Ok(Box::new(Compacting(tree.items().into_iter(), other, compacted)))
    };
    let source = Source { walk: &walk, opener: &tree, key: None };
    let options = PushOptions { time: 9000, threads: 1, ..PushOptions::default() };
    let id = freestone_push::push(&store, &source, &options, Watch::default()).unwrap().id;
    assert_eq!(walks.into_inner(), 2);
    trees.insert(id, tree.clone());
    check(&store, &trees);
}

#[test]
fn what_a_damaged_pack_holds_is_not_compacted_away() {
    let (folder, store) = new_store();
    history(&store, 4);
    let packs = store.backend().list("packs").unwrap();
    let largest = packs.iter().max_by_key(|listed| listed.length).unwrap();
    let path = folder.path().join("store").join(&largest.name);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 0x55;
    std::fs::write(&path, bytes).unwrap();
    let error = compact(&store, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let left = store.backend().list("packs").unwrap();
    let is_left = |name: &str| left.iter().any(|listed| listed.name == name);
    assert!(packs.iter().all(|pack| is_left(&pack.name)));
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes a file: which, where, to what.
    Edit(u8, prop::sample::Index, Vec<u8>),
    Move(u8, u8),
    Push {
        other_ref: bool,
    },
    Compact {
        grace: bool,
        all: bool,
    },
    Merge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let step = prop_oneof![
        4 => (0..6u8, any::<prop::sample::Index>(), bytes).prop_map(|(a, b, c)| Step::Edit(a, b, c)),
        1 => (0..6u8, 0..6u8).prop_map(|(a, b)| Step::Move(a, b)),
        4 => any::<bool>().prop_map(|other_ref| Step::Push { other_ref }),
        2 => any::<(bool, bool)>().prop_map(|(grace, all)| Step::Compact { grace, all }),
        1 => Just(Step::Merge),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(12, 500)))]
    #[test]
    fn any_order_of_pushes_and_compactions_keeps_everything(steps in steps()) {
        let (_folder, store) = new_store();
        let mut tree = MemorySource::default();
        let mut trees = BTreeMap::new();
        for (time, step) in (1000..).zip(steps) {
            match step {
                Step::Edit(file, at, bytes) => {
                    let path = format!("f{file}");
                    let mut now = tree.files.get(path.as_bytes()).map_or_else(
                        || text(2000 * usize::from(file), file.into()),
                        |(_, bytes)| bytes.to_vec(),
                    );
                    let at = at.index(now.len() + 1);
                    now.splice(at..(at + 9).min(now.len()), bytes);
                    tree.set(path, now);
                }
                Step::Move(from, to) => {
                    if let Some((_, bytes)) = tree.files.remove(format!("f{from}").as_bytes()) {
                        tree.set(format!("f{to}"), bytes.to_vec());
                    }
                }
                Step::Push { other_ref } => {
                    let name = if other_ref { "other" } else { "main" };
                    let options =
                        PushOptions { time, ref_name: Some(name.into()), threads: 2, ..PushOptions::default() };
                    let id = push_tree(&store, &tree, &options).unwrap().id;
                    trees.insert(id, tree.clone().explicit());
                }
                Step::Compact { grace, all } => {
                    let grace = Duration::from_secs(if grace { 1000 } else { 0 });
                    let options = CompactOptions { grace, all, level: 3, ..CompactOptions::default() };
                    maintain::compact(&store, &options, Watch::default()).unwrap();
                }
                Step::Merge => {
                    maintain::reindex(&store, Watch::default()).unwrap();
                }
            }
        }
        check(&store, &trees);
        compact(&store, 0).unwrap();
        check(&store, &trees);
    }
}
