//! Pushes from memory: what goes in comes out, by any way, in any history.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{NameHasher, plain};
use freestone_core::item::{FileOpener, ItemSource, OpenFile};
use freestone_core::{ChunkSource, Error, ErrorKind, ExtentSource, Sha1, Watch};
use freestone_maintain::{self as maintain, VerifyOptions};
use freestone_manifest::content::pieces;
use freestone_manifest::{Entry, EntryKind};
use freestone_push::{PushOptions, PushOutcome};
use freestone_store::{Expect, Store};
use freestone_testkit::{MemorySource, cases, findings, noise, push_tree, text};
use proptest::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn options() -> PushOptions {
    PushOptions { time: 1000, ..PushOptions::default() }
}

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

/// All files of a revision, read whole through its plan of pieces.
fn read_back(store: &Store, outcome: &PushOutcome) -> MemorySource {
    store.refresh();
    let tree = store.tree(&outcome.revision.root).unwrap();
    let mut cursor = tree.cursor();
    let mut back = MemorySource::default();
    let mut buffer = Vec::new();
    while let Some(entry) = cursor.next().unwrap() {
        let Entry { path, kind, .. } = entry.clone();
        match kind {
            EntryKind::Directory => {
                back.directories.insert(path);
            }
            EntryKind::File { executable, size, sha1, content } => {
                let mut bytes = Vec::new();
                pieces(tree.source(), &content, size, Some(&sha1), 0..size, &mut |piece| {
                    match piece.source {
                        ExtentSource::Chunk(id) => {
                            let source = tree.source();
                            let chunk = source.chunk_in(&id, piece.length, &mut buffer)?;
                            bytes.extend_from_slice(chunk);
                        }
                        _ => bytes.resize(bytes.len() + usize::try_from(piece.length).unwrap(), 0),
                    }
                    Ok(())
                })
                .unwrap();
                assert_eq!(freestone_core::digest::sha1(&bytes), sha1);
                back.files.insert(path, (executable, bytes.into()));
            }
        }
    }
    back
}

/// A tree with all directories explicit.
fn explicit(mut tree: MemorySource) -> MemorySource {
    for item in tree.items() {
        if item.kind == freestone_core::item::ItemKind::Directory {
            tree.directories.insert(item.path);
        }
    }
    tree
}

fn assert_sound(store: &Store) {
    let mut findings = Vec::new();
    maintain::verify(store, VerifyOptions { data: true }, Watch::default(), &mut |finding| {
        findings.push(finding);
    })
    .unwrap();
    assert_eq!(findings, []);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        6 => 0..3000usize,
        2 => 60_000..70_000usize,
        1 => (1usize << 20) - 2..(1 << 20) + 3,
        1 => 1_000_000..6_000_000usize,
    ];
    (length, 0..4u8, 0..40u64).prop_map(|(length, kind, seed)| match kind {
        0 => vec![0; length],
        1 => noise(length, seed),
        2 => text(length, seed),
        _ => {
            let mut bytes = text(length, seed);
            let hole = length / 3;
            bytes[hole..2 * hole].fill(0);
            bytes
        }
    })
}

fn tree() -> impl Strategy<Value = MemorySource> {
    let path = prop::collection::vec("[a-d]{1,2}", 1..4).prop_map(|parts| parts.join("/"));
    prop::collection::btree_map(path, (any::<bool>(), bytes()), 0..24).prop_map(|files| {
        let mut tree = MemorySource::default();
        for (path, (executable, bytes)) in files {
            let path = path.into_bytes();
            let clashes = tree.files.keys().any(|other: &Vec<u8>| {
                freestone_core::path::is_below(&path, other)
                    || freestone_core::path::is_below(other, &path)
            });
            if !clashes {
                tree.files.insert(path, (executable, bytes.into()));
            }
        }
        explicit(tree)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(20, 400)))]

    #[test]
    fn any_trees_in_the_same_trees_out(trees in prop::collection::vec(tree(), 1..5)) {
        let (_folder, store) = new_store();
        let mut outcomes = Vec::new();
        for tree in &trees {
            outcomes.push(push_tree(&store, tree, &options()).unwrap());
        }
        for (tree, outcome) in trees.iter().zip(&outcomes) {
            prop_assert!(read_back(&store, outcome) == *tree);
        }
        assert_sound(&store);
        // The content digest is a function of the tree, not of the history.
        let (_folder, fresh) = new_store();
        let alone = push_tree(&fresh, trees.last().unwrap(), &options()).unwrap();
        prop_assert_eq!(
            alone.revision.content_digest,
            outcomes.last().unwrap().revision.content_digest
        );
        maintain::reindex(&store, Watch::default()).unwrap();
        for (tree, outcome) in trees.iter().zip(&outcomes) {
            prop_assert!(read_back(&store, outcome) == *tree);
        }
        assert_sound(&store);
    }
}

#[test]
fn nothing_new_is_the_same_revision_again() {
    let (_folder, store) = new_store();
    let mut tree = MemorySource::of([("a", "one"), ("d/b", "two")]);
    let first = push_tree(&store, &tree, &options()).unwrap();
    assert_eq!((first.new, first.changed, first.gone), (3, 0, 0));
    let size = maintain::stats(&store, Watch::default()).unwrap().stored();
    let again = push_tree(&store, &tree, &PushOptions { time: 2000, ..options() }).unwrap();
    assert!(again.up_to_date && again.id == first.id && again.ref_entry.is_none());
    assert_eq!(maintain::stats(&store, Watch::default()).unwrap().stored(), size);
    // New labels on the same content: a new small revision of the same root.
    let mut labelled = PushOptions { time: 3000, ..options() };
    labelled.labels.insert("git.commit".into(), "12345678aabb".into());
    let third = push_tree(&store, &tree, &labelled).unwrap();
    assert!(!third.up_to_date && third.revision.root == first.revision.root);
    assert_eq!(third.revision.parents, [first.id]);
    assert!(maintain::stats(&store, Watch::default()).unwrap().stored() - size < 2000);
    assert!(push_tree(&store, &tree, &labelled).unwrap().up_to_date);
    assert_eq!(store.resolve("commit:12345678").unwrap().id, third.id);
    tree.set("a", "other");
    tree.files.remove(&b"d/b"[..]);
    tree.directories.insert(b"d".to_vec());
    let fourth = push_tree(&store, &tree, &PushOptions { time: 4000, ..options() }).unwrap();
    assert_eq!((fourth.new, fourth.changed, fourth.gone), (0, 1, 1));
    for (rev, id) in
        [("main", fourth.id), ("main~1", third.id), ("main@1", first.id), ("main~2", first.id)]
    {
        assert_eq!(store.resolve(rev).unwrap().id, id, "{rev}");
    }
    let prefix = &first.id.to_string()[..10];
    assert_eq!(store.resolve(prefix).unwrap().id, first.id);
    for bad in ["nothing", "main@9", "main~7", "0000000000"] {
        assert_eq!(store.resolve(bad).unwrap_err().kind(), ErrorKind::NotFound, "{bad}");
    }
    let error = store.resolve("commit:zz").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn expectations_are_held_and_lost_races_are_conflicts() {
    let (_folder, store) = new_store();
    let one = MemorySource::of([("a", "one")]);
    let two = MemorySource::of([("a", "two")]);
    let absent = PushOptions { expect: Expect::Absent, ..options() };
    let first = push_tree(&store, &one, &absent).unwrap();
    let error = push_tree(&store, &two, &absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let expected = PushOptions { expect: Expect::Revision(first.id), ..options() };
    push_tree(&store, &two, &expected).unwrap();
    assert_eq!(push_tree(&store, &one, &expected).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_would_be() {
    let (folder, store) = new_store();
    let mut tree = MemorySource::of([("a", text(5000, 1)), ("big", noise(3 << 20, 2))]);
    let dry = PushOptions { dry_run: true, ..options() };
    let count = |path: &Path| -> usize {
        let list = |path: &Path| std::fs::read_dir(path).unwrap().flatten().collect::<Vec<_>>();
        list(path).len()
    };
    let before = count(&folder.path().join("store"));
    let told = push_tree(&store, &tree, &dry).unwrap();
    assert_eq!(told.bytes_stored, 5000 + (3 << 20));
    assert_eq!(count(&folder.path().join("store")), before);
    let made = push_tree(&store, &tree, &options()).unwrap();
    assert_eq!(made.id, told.id);
    tree.set("a", text(6000, 3));
    assert_eq!(push_tree(&store, &tree, &dry).unwrap().bytes_stored, 6000);
    assert_eq!(store.resolve("main").unwrap().id, made.id);
}

#[test]
fn a_dry_run_counts_each_content_once_and_what_is_missing_only() {
    let (_folder, store) = new_store();
    let big = noise(3 << 20, 2);
    let twice = |name: &str, bytes: &[u8]| {
        [(format!("{name}/a"), bytes.to_vec()), (format!("{name}/b"), bytes.to_vec())]
    };
    let dry = PushOptions { dry_run: true, threads: 1, ..options() };
    let tree = MemorySource::of([twice("small", &[7; 5000]), twice("big", &big)].concat());
    assert_eq!(push_tree(&store, &tree, &dry).unwrap().bytes_stored, 5000 + (3 << 20));
    // The small content, and all but the end of the large one, are there already.
    push_tree(&store, &tree, &options()).unwrap();
    let longer = [&big[..], &noise(40_000, 3)].concat();
    let tree = MemorySource::of([twice("small", &[7; 5000]), twice("big", &longer)].concat());
    let bytes = push_tree(&store, &tree, &dry).unwrap().bytes_stored;
    assert!((40_000..4 << 20).contains(&bytes), "{bytes}");
    assert_eq!(push_tree(&store, &tree, &dry).unwrap().bytes_stored, bytes);
}

/// A hasher so weak that contents collide.
struct Weak(u8);

impl NameHasher for Weak {
    fn update(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.wrapping_add(*byte));
    }

    fn finish(self: Box<Self>) -> Sha1 {
        Sha1([self.0; 20])
    }
}

#[test]
fn contents_that_collide_in_sha1_are_refused() {
    let weak = PushOptions { name_hasher: || Box::new(Weak(0)), ..options() };
    // Within one push, and against what the store has.
    let (_folder, store) = new_store();
    let error = push_tree(&store, &MemorySource::of([("a", "ab"), ("b", "ba")]), &weak);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("SHA-1"), "{error}");
    push_tree(&store, &MemorySource::of([("a", "ab")]), &weak).unwrap();
    let error = push_tree(&store, &MemorySource::of([("b", "ba")]), &weak).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains(&plain(b"ba").to_string()), "{error}");
    // Large contents too.
    let mut big = noise(2 << 20, 5);
    push_tree(&store, &MemorySource::of([("a", "ab".into()), ("big", big.clone())]), &weak)
        .unwrap();
    big.swap(0, 1);
    let error = push_tree(&store, &MemorySource::of([("big", big)]), &weak).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn equal_contents_are_kept_once() {
    let (_folder, store) = new_store();
    let big = noise(5 << 20, 7);
    let tree = MemorySource::of([("a", big.clone()), ("b", big.clone()), ("c/d", big.clone())]);
    push_tree(&store, &tree, &options()).unwrap();
    let stored = maintain::stats(&store, Watch::default()).unwrap().stored();
    assert!(stored < (5 << 20) + 20_000, "{stored}");
    // A byte in the middle changed: the chunks around it are kept.
    let mut changed = big;
    changed[2_500_000] ^= 1;
    push_tree(&store, &MemorySource::of([("a", changed)]), &options()).unwrap();
    let grown = maintain::stats(&store, Watch::default()).unwrap().stored() - stored;
    assert!(grown < 4_400_000, "{grown}");
}

#[test]
fn raw_chunks_lie_adjacent_at_offsets_congruent_to_their_files() {
    let (_folder, store) = new_store();
    let mut tree = MemorySource::of([
        ("a", noise(70_000, 1)),
        ("b", noise(3_000_001, 2)),
        ("c", noise(900_001, 3)),
        ("z", noise(30 << 20, 4)),
    ]);
    for n in 0..50u64 {
        tree.set(format!("small/{n}"), noise(100 + 37 * usize::try_from(n).unwrap(), n));
    }
    push_tree(&store, &tree, &options()).unwrap();
    let mut starts = std::collections::HashMap::new();
    for (pack, _) in store.index().unwrap().packs().unwrap() {
        let name = format!("packs/{}/{pack}.pack", &pack.to_string()[..2]);
        let object = store.backend().open(&name).unwrap().unwrap();
        for row in freestone_store::read_table(&*object, &pack).unwrap() {
            starts.insert(row.id, (pack, row.offset));
        }
    }
    let main = store.resolve("main").unwrap();
    let manifest = store.tree(&main.revision.root).unwrap();
    for path in ["a", "b", "c", "z"] {
        let entry = manifest.get(path.as_bytes()).unwrap().unwrap();
        let EntryKind::File { size, content, .. } = entry.kind else { panic!() };
        let mut expected = None;
        pieces(manifest.source(), &content, size, None, 0..size, &mut |piece| {
            let ExtentSource::Chunk(id) = piece.source else { panic!() };
            let (pack, offset) = starts[&id];
            assert_eq!(offset % 4096, piece.offset % 4096, "{path}");
            if let Some(expected) = expected {
                assert_eq!((pack, offset), expected, "{path}");
            }
            expected = Some((pack, offset + piece.length));
            Ok(())
        })
        .unwrap();
    }
    let gaps = maintain::stats(&store, Watch::default()).unwrap().gaps;
    assert!(gaps < 16_000, "small records fill the gaps: {gaps}");
}

#[test]
fn many_pushes_leave_few_segments() {
    let (_folder, store) = new_store();
    for n in 0..100u32 {
        push_tree(&store, &MemorySource::of([("a", n.to_le_bytes())]), &options()).unwrap();
    }
    let segments = maintain::stats(&store, Watch::default()).unwrap().segments.0;
    assert!(segments <= 16, "{segments}");
    assert_eq!(store.refs().log("main").unwrap().len(), 100);
    assert_sound(&store);
}

#[test]
fn what_was_lost_is_stored_again_by_the_next_push() {
    let (folder, store) = new_store();
    let mut tree = MemorySource::of([("a", text(9000, 1)), ("big", noise(3 << 20, 2))]);
    push_tree(&store, &tree, &PushOptions { ref_name: Some("one".into()), ..options() }).unwrap();
    let lost = store.index().unwrap().packs().unwrap();
    // The second revision's nodes lie in a pack of its own, its contents in the first's.
    tree.set("c", "more");
    let main = push_tree(&store, &tree, &options()).unwrap();
    for (pack, _) in lost {
        let name = format!("store/packs/{}/{pack}.pack", &pack.to_string()[..2]);
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    maintain::reindex(&store, Watch::default()).unwrap();
    let again = push_tree(&store, &tree, &PushOptions { time: 2000, ..options() }).unwrap();
    assert!(again.up_to_date && again.id == main.id);
    assert!(read_back(&store, &main) == tree);
}

#[test]
fn a_large_content_of_which_a_part_was_lost_is_made_whole() {
    let (folder, store) = new_store();
    let start = noise(4 << 20, 11);
    push_tree(&store, &MemorySource::of([("big", start.clone())]), &options()).unwrap();
    let lost = store.index().unwrap().packs().unwrap();
    // Its longer successor leans on chunks of the first pack; its record lies in the second.
    let longer = [start, noise(2 << 20, 12)].concat();
    let tree = MemorySource::of([("big", longer)]);
    let main = push_tree(&store, &tree, &options()).unwrap();
    for (pack, _) in lost {
        let name = format!("store/packs/{}/{pack}.pack", &pack.to_string()[..2]);
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    maintain::reindex(&store, Watch::default()).unwrap();
    let fresh = PushOptions { ref_name: Some("fresh".into()), ..options() };
    let again = push_tree(&store, &tree, &fresh).unwrap();
    assert!(read_back(&store, &again) == tree);
    assert!(read_back(&store, &main) == tree);
}

#[test]
fn what_a_refused_push_has_stored_is_found_by_the_next() {
    let (_folder, store) = new_store();
    let weak = PushOptions { name_hasher: || Box::new(Weak(0)), threads: 1, ..options() };
    // Packs of the first contents are full and published before the collision at the end.
    let mut tree = MemorySource::default();
    for n in 0..5u8 {
        let mut bytes = noise(33 << 20, n.into());
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[0] = bytes[0].wrapping_sub(sum).wrapping_add(n);
        tree.set(format!("big-{n}"), bytes);
    }
    let mut refused = tree.clone();
    refused.set("z1", [100]);
    refused.set("z2", [50, 50]);
    let error = push_tree(&store, &refused, &weak).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let stored = maintain::stats(&store, Watch::default()).unwrap().packs.1;
    assert!(stored > 64 << 20, "{stored}");
    push_tree(&store, &tree, &weak).unwrap();
    let stored = maintain::stats(&store, Watch::default()).unwrap().packs.1;
    assert!(stored < 5 * (33 << 20) + (1 << 20), "{stored} bytes are stored");
}

/// A tree of which some files cannot be opened, and some not be read to their end.
struct Failing<'a> {
    tree: &'a MemorySource,
    closed: &'a [&'a [u8]],
    broken: &'a [&'a [u8]],
    opened: AtomicUsize,
}

struct BrokenFile(Box<dyn OpenFile>, bool);

impl std::io::Read for BrokenFile {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.1 {
            return Err(std::io::Error::other("the disk is broken"));
        }
        self.1 = true;
        self.0.read(out)
    }
}

impl OpenFile for BrokenFile {
    fn stamp(&self) -> freestone_core::Result<freestone_core::item::FileStamp> {
        self.0.stamp()
    }

    fn seek(&mut self, offset: u64) -> freestone_core::Result<()> {
        self.0.seek(offset)
    }
}

impl FileOpener for Failing<'_> {
    fn open(&self, path: &[u8]) -> freestone_core::Result<Box<dyn OpenFile>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let name = String::from_utf8_lossy(path);
        if self.closed.contains(&path) {
            return Err(Error::io(format!("{name} is closed"), std::io::Error::other("denied"))
                .at_path(path.to_vec()));
        }
        let file = self.tree.open(path)?;
        if self.broken.contains(&path) {
            return Ok(Box::new(BrokenFile(file, false)));
        }
        Ok(file)
    }
}

#[test]
fn all_that_cannot_be_read_is_told_by_one_push() {
    let (_folder, store) = new_store();
    let mut tree = MemorySource::default();
    for number in 0..500u32 {
        tree.files.insert(
            format!("f{number:03}").into_bytes(),
            (false, number.to_le_bytes().to_vec().into()),
        );
    }
    tree.files.insert(b"large".to_vec(), (false, noise(5 << 20, 1).into()));
    let walk = || -> freestone_core::Result<Box<dyn ItemSource>> { Ok(tree.walk()) };
    let failing = |closed, broken| Failing { tree: &tree, closed, broken, opened: 0.into() };
    let push = |opener: &Failing<'_>| {
        let source = freestone_push::Source { walk: &walk, opener, key: None };
        freestone_push::push(&store, &source, &options(), Watch::default()).unwrap_err()
    };
    // One that opens and fails in its middle.
    let error = push(&failing(&[], &[b"large"]));
    assert_eq!(error.to_string(), "large: cannot read it");
    assert_eq!(error.kind(), ErrorKind::Storage);
    // The first fails, and the last is found: it is the ends that are easily missed.
    let opener = failing(&[b"f000", b"f001", b"f499", b"large"], &[]);
    let error = push(&opener);
    assert_eq!(
        error.to_string(),
        "4 paths cannot be read:\n  f000 is closed: denied\n  f001 is closed: denied\n  \
         f499 is closed: denied\n  large is closed: denied"
    );
    assert_eq!(opener.opened.into_inner(), 501);
    // Nothing of this has become a revision.
    assert!(store.refs().newest("main").unwrap().is_none());
    assert_sound(&store);
}

#[test]
fn an_expectation_that_does_not_hold_is_told_at_once_also_with_retry() {
    let (_folder, store) = new_store();
    let tree = MemorySource::of([("a", "one")]);
    push_tree(&store, &tree, &options()).unwrap();
    let options = PushOptions { expect: Expect::Absent, retry: true, ..options() };
    let error = push_tree(&store, &MemorySource::of([("a", "two")]), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("was expected"), "{error}");
}

#[test]
fn times_that_are_asked_for_are_set_on_equal_content() {
    let (_folder, store) = new_store();
    let tree = MemorySource::of([("a", "one")]);
    let first = push_tree(&store, &tree, &options()).unwrap();
    let timed = PushOptions { mtime: Some(77), ..options() };
    let second = push_tree(&store, &tree, &timed).unwrap();
    assert!(!second.up_to_date && second.revision.root != first.revision.root);
    store.refresh();
    let manifest = store.tree(&second.revision.root).unwrap();
    assert_eq!(manifest.get(b"a").unwrap().unwrap().mtime, 77);
    assert!(push_tree(&store, &tree, &timed).unwrap().up_to_date);
    assert!(push_tree(&store, &tree, &options()).unwrap().up_to_date);
}

/// The bytes of a chunk of `large` that is short enough to be a small content.
fn short_chunk(large: &[u8]) -> Vec<u8> {
    let mut chunker = Chunker::default();
    let mut short = None;
    let mut each = |piece: ContentPiece<'_>| -> freestone_core::Result<()> {
        if let ContentPiece::Chunk(bytes) = piece
            && bytes.len() <= 1 << 20
        {
            short = Some(bytes.to_vec());
        }
        Ok(())
    };
    chunker.push(large, &mut each).unwrap();
    chunker.finish(&mut each).unwrap();
    short.unwrap()
}

#[test]
fn a_small_content_that_is_a_chunk_of_a_large_one_is_found_by_its_sha1_and_not_stored_again() {
    let large = noise(6 << 20, 3);
    let small = short_chunk(&large);
    let sha1 = freestone_core::digest::sha1(&small);
    let of = |files: &[(&str, &Vec<u8>)]| {
        MemorySource::of(files.iter().map(|(path, bytes)| (*path, (*bytes).clone())))
    };
    // In the same push, before or behind the large one, and in a later one.
    let histories = [
        vec![of(&[("a", &large), ("b", &small)])],
        vec![of(&[("a", &small), ("b", &large)])],
        vec![of(&[("a", &large)]), of(&[("a", &large), ("b", &small)])],
    ];
    for (at, history) in histories.iter().enumerate() {
        let (_folder, store) = new_store();
        for (time, tree) in history.iter().enumerate() {
            assert_eq!(
                store.records().unwrap().find_sha1(&sha1, u64::MAX, Watch::default()).unwrap(),
                None
            );
            let time = i64::try_from(time).unwrap();
            let options = PushOptions { time, threads: 1, ..options() };
            push_tree(&store, tree, &options).unwrap();
        }
        let store = Store::open(store.root().unwrap()).unwrap();
        let found =
            store.records().unwrap().find_sha1(&sha1, u64::MAX, Watch::default()).unwrap().unwrap();
        assert_eq!((found.id, found.size), (plain(&small), small.len() as u64), "{at}");
        assert!(findings(&store).unwrap().is_empty(), "{at}");
        let chunks = maintain::stats(&store, Watch::default()).unwrap().records["chunk"].plain;
        let stored_twice = chunks - large.len() as u64;
        // The large one may come to a lane of its own, before the small one is stored.
        assert!(stored_twice == 0 || at == 1, "{at}: {stored_twice}");
        // So it is when the index is made anew, and when segments are merged.
        maintain::reindex(&store, Watch::default()).unwrap();
        assert_eq!(
            store.records().unwrap().find_sha1(&sha1, u64::MAX, Watch::default()).unwrap(),
            Some(found),
            "{at}"
        );
        // It collides with nothing that comes under its name.
        struct Same;
        impl NameHasher for Same {
            fn update(&mut self, _: &[u8]) {}
            fn finish(self: Box<Self>) -> Sha1 {
                freestone_core::digest::sha1(&short_chunk(&noise(6 << 20, 3)))
            }
        }
        let options = PushOptions { name_hasher: || Box::new(Same), ..options() };
        let error = push_tree(&store, &MemorySource::of([("x", "other")]), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{at}: {error}");
    }
}
