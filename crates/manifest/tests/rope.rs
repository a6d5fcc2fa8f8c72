//! The rope against plain models: every way of reading returns the entries that were written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::digest::{self, plain};
use freestone_core::limits::NODE_ITEMS_MAX;
use freestone_core::plan::NodeKind;
use freestone_core::{Id, Measure, path};
use freestone_manifest::{
    Builder, Change, Entry, EntryKind, Items, MemoryNodes, Node, Subtree, Times, Tree, diff,
};
use freestone_testkit::cases;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn file(path: &[u8], seed: u64, size: u64) -> Entry {
    let bytes = seed.to_le_bytes();
    Entry {
        path: path.to_vec(),
        mtime: i64::try_from(seed % 1_000_000).unwrap(),
        kind: EntryKind::File {
            executable: seed % 2 == 1,
            size,
            sha1: digest::sha1(&bytes),
            content: plain(&bytes),
        },
        link: seed.is_multiple_of(7).then(|| b"elsewhere".to_vec()),
        extensions: Vec::new(),
    }
}

/// Makes a well-formed list of entries from any set of paths: sorted, with all directories.
fn well_formed(paths: BTreeMap<Vec<u8>, (u64, u64)>) -> Vec<Entry> {
    let mut directories = std::collections::BTreeSet::new();
    for path in paths.keys() {
        let mut at = &path[..];
        while let Some(parent) = path::parent(at) {
            directories.insert(parent.to_vec());
            at = parent;
        }
    }
    let mut entries: Vec<Entry> = paths
        .into_iter()
        .filter(|(path, _)| !directories.contains(path))
        .map(|(path, (seed, size))| file(&path, seed, size))
        .collect();
    entries.extend(directories.into_iter().map(|path| Entry::directory(path, 7)));
    entries.sort_by(|a, b| path::compare(&a.path, &b.path));
    entries
}

fn build(entries: &[Entry]) -> (Subtree, MemoryNodes) {
    let mut builder = Builder::new(MemoryNodes::default());
    for entry in entries {
        builder.push(entry.clone()).unwrap();
    }
    builder.finish().unwrap()
}

fn open(entries: &[Entry]) -> Tree<MemoryNodes> {
    let (root, nodes) = build(entries);
    let tree = Tree::open(nodes, &root.id).unwrap();
    assert_eq!(*tree.summary(), root);
    tree
}

fn all(tree: &Tree<MemoryNodes>) -> Vec<Entry> {
    let mut cursor = tree.cursor();
    let mut entries = Vec::new();
    while let Some(entry) = cursor.next().unwrap() {
        entries.push(entry.clone());
    }
    entries
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{1,3}".prop_map(String::into_bytes),
        "[!-.0-~]{1,8}".prop_map(String::into_bytes),
        prop::collection::vec(1..=255u8, 1..5),
    ]
    .prop_filter("fit for a path", |part| path::fault(part).is_none() && !part.contains(&b'/'))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let path = prop::collection::vec(part(), 1..4).prop_map(|parts| parts.join(&b'/'));
    let size = prop_oneof![0..3000u64, 60_000..70_000u64, Just(1 << 33)];
    prop::collection::btree_map(path, (any::<u64>(), size), 0..400).prop_map(well_formed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48, 1000)))]

    #[test]
    fn what_goes_in_comes_out(entries in entries()) {
        let tree = open(&entries);
        prop_assert_eq!(&all(&tree), &entries);
        let summary = tree.summary();
        prop_assert_eq!(summary.entries, entries.len() as u64);
        prop_assert_eq!(summary.bytes, entries.iter().filter_map(Entry::size).sum::<u64>());
        let measure = entries.iter().fold(Measure::EMPTY, |sum, entry| sum.then(entry.measure()));
        prop_assert_eq!(summary.measure, measure);
        for entry in &entries {
            prop_assert_eq!(tree.get(&entry.path).unwrap(), Some(entry.clone()));
            let beside = [&entry.path[..], b"\x01"].concat();
            prop_assert_eq!(
                tree.get(&beside).unwrap().is_some(),
                entries.iter().any(|entry| entry.path == beside)
            );
        }
    }

    #[test]
    fn every_entry_is_found_by_its_index_and_its_index_by_its_path(entries in entries()) {
        let tree = open(&entries);
        for (index, entry) in entries.iter().enumerate() {
            let mut cursor = tree.seek_index(index as u64).unwrap();
            prop_assert_eq!(cursor.next().unwrap(), Some(entry));
            prop_assert_eq!(tree.index_of(&entry.path).unwrap(), index as u64);
            // The first path that could follow it and everything in it.
            let behind = [&entry.path[..], &[1]].concat();
            let count = entries.iter().filter(|e| path::compare(&e.path, &behind).is_lt()).count();
            prop_assert_eq!(tree.index_of(&behind).unwrap(), count as u64);
        }
        for beyond in [entries.len() as u64, u64::MAX] {
            let mut behind = tree.seek_index(beyond).unwrap();
            prop_assert_eq!(behind.next().unwrap(), None);
        }
        prop_assert_eq!(tree.index_of(b"").unwrap(), 0);
    }

    #[test]
    fn every_unit_of_an_image_is_found_by_descent(entries in entries(), start in 0..20u64) {
        let tree = open(&entries);
        let mut at = start;
        for entry in &entries {
            let end = entry.measure().end(at).unwrap();
            for unit in [at, at + (end - at) / 2, end - 1] {
                let mut found = tree.seek_unit(unit, start).unwrap();
                prop_assert_eq!(found.start, at);
                prop_assert_eq!(found.cursor.next().unwrap(), Some(entry));
            }
            at = end;
        }
        let mut behind = tree.seek_unit(at, start).unwrap();
        prop_assert_eq!(behind.start, at);
        prop_assert_eq!(behind.cursor.next().unwrap(), None);
    }

    #[test]
    fn a_diff_is_what_comparing_the_lists_gives(
        one in entries(), two in entries(), keep in any::<u64>()
    ) {
        // Two manifests that share most entries, as revisions do.
        let mut paths: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for (index, entry) in one.iter().enumerate() {
            if (keep >> (index % 61)) & 7 != 0 || entry.is_directory() {
                paths.insert(entry.path.clone(), entry.clone());
            }
        }
        for entry in two.iter().filter(|entry| !entry.is_directory()).take(5) {
            if path::parent(&entry.path).is_none() {
                paths.entry(entry.path.clone()).or_insert_with(|| entry.clone());
            }
        }
        let mut two: Vec<Entry> = paths.into_values().collect();
        two.sort_by(|a, b| path::compare(&a.path, &b.path));
        if let Some(entry) = two.last_mut() {
            entry.mtime += 1;
        }
        let (before, after) = (open(&one), open(&two));
        for times in [Times::Count, Times::Ignore] {
            let mut changes = Vec::new();
            diff(&before, &after, times, &mut |change| {
                changes.push(change);
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(changes, naive_diff(&one, &two, times));
        }
        let same = times_dropped(&one) == times_dropped(&two);
        prop_assert_eq!(
            before.summary().content_digest == after.summary().content_digest, same
        );
    }

    #[test]
    fn any_bytes_decode_to_an_error_or_to_their_own_encoding(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let _ = Node::decode(&bytes);
        let _ = freestone_manifest::content::ContentNode::decode(&bytes);
        let _ = freestone_manifest::content::ContentRecord::decode(&bytes);
    }

    #[test]
    fn a_damaged_node_never_decodes_to_a_node_that_its_parent_takes(
        entries in entries(), at in any::<prop::sample::Index>(), bit in 0..8u8
    ) {
        let (root, nodes) = build(&entries);
        let bytes = freestone_core::NodeSource::node(&nodes, NodeKind::Manifest, &root.id).unwrap();
        let mut damaged = bytes.to_vec();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        prop_assert_ne!(digest::derived(NodeKind::Manifest.context(), &damaged), root.id);
        let _ = Node::decode(&damaged);
        let _ = Node::decode(&damaged[..at]);
    }
}

fn times_dropped(entries: &[Entry]) -> Vec<Entry> {
    entries.iter().cloned().map(|entry| Entry { mtime: 0, ..entry }).collect()
}

fn naive_diff(one: &[Entry], two: &[Entry], times: Times) -> Vec<Change> {
    let mut paths: Vec<&[u8]> = one.iter().chain(two).map(|entry| &entry.path[..]).collect();
    paths.sort_by(|a, b| path::compare(a, b));
    paths.dedup();
    let find = |list: &[Entry], path: &[u8]| list.iter().find(|e| e.path == path).cloned();
    paths
        .into_iter()
        .map(|path| Change { before: find(one, path), after: find(two, path) })
        .filter(|change| match (&change.before, &change.after) {
            (Some(a), Some(b)) if times == Times::Ignore => !a.same_but_for_time(b),
            (a, b) => a != b,
        })
        .collect()
}

fn flat(count: u64, name: impl Fn(u64) -> String) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        (0..count).map(|index| file(name(index).as_bytes(), index, index % 9000)).collect();
    entries.sort_by(|a, b| path::compare(&a.path, &b.path));
    entries
}

fn nodes_of(tree: &Tree<MemoryNodes>) -> Vec<(Id, usize, usize)> {
    let mut nodes = Vec::new();
    tree.visit(&mut |child, _| {
        let bytes = freestone_core::NodeSource::node(tree.source(), NodeKind::Manifest, &child.id)?;
        let items = match Node::decode(&bytes)?.items {
            Items::Entries(entries) => entries.len(),
            Items::Children(children) => children.len(),
        };
        nodes.push((child.id, items, bytes.len()));
        Ok(true)
    })
    .unwrap();
    nodes
}

#[test]
fn one_change_rewrites_a_node_a_level() {
    let mut entries = flat(20_000, |index| format!("page-{index:06}.html"));
    let before = open(&entries);
    entries[11_111].mtime += 5;
    let after = open(&entries);
    let old: std::collections::HashSet<Id> = nodes_of(&before).iter().map(|n| n.0).collect();
    let new: Vec<_> = nodes_of(&after).into_iter().filter(|node| !old.contains(&node.0)).collect();
    assert_eq!(new.len(), usize::from(after.levels()));
    assert!(new.iter().map(|node| node.2).sum::<usize>() < 24 << 10, "{new:?}");
}

#[test]
fn nodes_hold_about_32_items_and_are_read_one_a_level() {
    let tree = open(&flat(20_000, |index| format!("page-{index:06}.html")));
    let nodes = nodes_of(&tree);
    let mean = 20_000 / nodes.len();
    assert!((26..40).contains(&mean), "{mean} entries a node");
    assert!(nodes.iter().all(|node| node.1 <= NODE_ITEMS_MAX));
    assert_eq!(tree.levels(), 3);
}

#[test]
fn names_ground_to_be_hostile_make_no_large_node() {
    // Names whose hashes start no node, and names whose hashes all start one.
    let level = |name: &str| {
        let h = digest::derived(digest::context::ROPE_LEVEL, name.as_bytes()).head();
        h < u64::MAX / 25
    };
    for wanted in [false, true] {
        let mut names = (0u64..).map(|index| format!("{index:08x}"));
        let entries: Vec<Entry> = names
            .by_ref()
            .filter(|name| level(name) == wanted)
            .take(3000)
            .map(|name| file(name.as_bytes(), 1, 1))
            .collect();
        let nodes = nodes_of(&open(&entries));
        assert!(nodes.iter().all(|node| node.1 <= NODE_ITEMS_MAX && node.2 < 24 << 10));
        let bound = if wanted { 3000 / 8 + 3000 / 64 + 3 } else { 3000 / 128 + 3 };
        assert!(nodes.len() <= bound, "{} nodes", nodes.len());
    }
}

#[test]
fn the_builder_refuses_what_is_no_manifest() {
    let refused = |entries: &[Entry]| {
        let mut builder = Builder::new(MemoryNodes::default());
        entries.iter().try_for_each(|entry| builder.push(entry.clone())).is_err()
    };
    let dir = |path: &str| Entry::directory(path, 0);
    let plain = |path: &str| file(path.as_bytes(), 1, 1);
    assert!(!refused(&[dir("a"), plain("a/b"), dir("a/c"), plain("a/c/d"), plain("a/e")]));
    assert!(refused(&[plain("b"), plain("a")]), "out of order");
    assert!(refused(&[plain("a"), plain("a")]), "twice");
    assert!(refused(&[plain("a"), plain("a/b")]), "below a file");
    assert!(refused(&[plain("a/b")]), "in no directory");
    assert!(refused(&[dir("a"), plain("a/b/c")]), "in no directory");
    assert!(refused(&[dir("a"), plain("a!"), plain("a/b")]), "out of order");
    assert!(refused(&[plain("../a")]) && refused(&[plain("/a")]) && refused(&[plain("a\0")]));
    assert!(refused(&[Entry { mtime: -1, ..plain("a") }]));
    assert!(refused(&[Entry { link: Some(b"x".to_vec()), ..dir("a") }]));
}

#[test]
fn a_parent_that_lies_about_a_child_is_found_out() {
    let (root, nodes) = build(&flat(2000, |index| format!("{index:05}")));
    let bytes = freestone_core::NodeSource::node(&nodes, NodeKind::Manifest, &root.id).unwrap();
    let Items::Children(children) = Node::decode(&bytes).unwrap().items else { panic!() };
    let lies: [fn(&mut Subtree); 6] = [
        |child| child.entries += 1,
        |child| child.bytes += 1,
        |child| child.first.push(b'0'),
        |child| child.measure = child.measure.then(Measure::Rigid(1)),
        |child| child.content_digest = Id([7; 32]),
        |child| child.id = Id([7; 32]),
    ];
    for lie in lies {
        let mut nodes = nodes.clone();
        let mut children = children.clone();
        lie(&mut children[1]);
        let id = put_inner(&mut nodes, &children);
        let tree = Tree::open(nodes, &id).unwrap();
        let mut cursor = tree.cursor();
        let outcome = loop {
            match cursor.next() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(outcome.is_err());
    }
}

/// Writes an inner node of level 2 by hand, so that a test does not depend on the encoder alone.
fn put_inner(nodes: &mut MemoryNodes, children: &[Subtree]) -> Id {
    use freestone_core::wire::Writer;
    let mut out = Writer::default();
    out.u8(1);
    out.u8(2);
    out.varint(0);
    out.varint(children.len() as u64);
    let mut previous: &[u8] = &[];
    for child in children {
        let shared = previous.iter().zip(&child.first).take_while(|(a, b)| a == b).count();
        out.varint(shared as u64);
        out.string(&child.first[shared..]);
        out.id(&child.id);
        out.id(&child.content_digest);
        out.varint(child.entries);
        out.varint(child.bytes);
        out.varint(1);
        out.varint(1);
        let mut measure = Writer::default();
        child.measure.encode(&mut measure);
        out.string(measure.bytes());
        out.varint(0);
        previous = &child.first;
    }
    let id = digest::derived(NodeKind::Manifest.context(), out.bytes());
    freestone_manifest::NodeSink::put(nodes, NodeKind::Manifest, id, out.bytes()).unwrap();
    id
}

#[test]
fn bytes_of_version_1_are_frozen() {
    let (root, _) = build(&[]);
    let empty = root.id.to_string();
    let entries = vec![
        Entry::directory("docs", 1_700_000_000),
        file(b"docs/index.html", 4, 70_000),
        file(b"docs/logo \xff.png", 5, 0),
        file(b"run", 7, 12),
    ];
    let small = build(&entries).0;
    let large = build(&flat(3000, |index| format!("{index:05}"))).0;
    let golden = [
        empty,
        small.id.to_string(),
        small.content_digest.to_string(),
        large.id.to_string(),
        large.content_digest.to_string(),
    ];
    assert_eq!(golden, GOLDEN);
}

const GOLDEN: [&str; 5] = [
    "fa01973bf7a2d3788bc06ecc90dc2e66a103509a2ce9cb1b7d32f25881bbe837",
    "4d3fb4543daa9d79d815a3bc8eb5481424771d9a673df0dbd23e80d66bd23fac",
    "1e2d61b566b96ad5a023abf333a8431c23d745887133b9bbb1023adc2122ee46",
    "a17d6550ef1eaf743c331096b371c24bb2db69f2d2fd90bfcd8f80d4a9d91b46",
    "fe8697b96615e5317bf2b64a95ed7d2ff74a9c50ecc450e7c55d343af689835c",
];
