//! An edited manifest equals the one built from its entries, and only changed parts are read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::digest::{plain, sha1};
use freestone_core::plan::NodeKind;
use freestone_core::{Error, ErrorKind, Id, NodeSource, Result, path};
use freestone_manifest::{Builder, Changes, Entry, EntryKind, MemoryNodes, Subtree, Tree, edit};
use freestone_testkit::cases;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, PartialEq, Eq)]
struct Path(Vec<u8>);

impl Ord for Path {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        path::compare(&self.0, &other.0)
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

type Entries = BTreeMap<Path, Entry>;

fn file(path: &[u8], bytes: u64) -> Entry {
    let text = bytes.to_le_bytes();
    let kind =
        EntryKind::File { executable: false, size: 8, sha1: sha1(&text), content: plain(&text) };
    Entry { kind, ..Entry::directory(path, 7) }
}

fn built(entries: &Entries) -> (Subtree, MemoryNodes) {
    let mut builder = Builder::new(MemoryNodes::default());
    entries.values().for_each(|entry| builder.push(entry.clone()).unwrap());
    builder.finish().unwrap()
}

struct List<'a> {
    changes: Vec<(&'a Path, Option<Entry>)>,
    at: usize,
    old: &'a Entries,
}

impl Changes for List<'_> {
    fn peek(&mut self) -> Result<Option<(&[u8], bool)>> {
        Ok(self.changes.get(self.at).map(|(path, entry)| (&path.0[..], entry.is_none())))
    }

    fn take(&mut self, before: Option<&Entry>) -> Result<Option<Entry>> {
        let (path, entry) = self.changes[self.at].clone();
        assert_eq!(before, self.old.get(path), "what stood there is given");
        self.at += 1;
        Ok(entry)
    }
}

/// A source of nodes that counts how many are read.
#[derive(Clone)]
struct Counted<'a>(&'a MemoryNodes, &'a AtomicUsize);

impl NodeSource for Counted<'_> {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.node(kind, id)
    }
}

/// Edits `old` by `changes` and checks the result. Returns the numbers of nodes read and written.
fn check(old: &Entries, changes: &BTreeMap<Path, Option<Entry>>) -> (usize, usize) {
    let (root, nodes) = built(old);
    let reads = AtomicUsize::new(0);
    let tree = Tree::open(Counted(&nodes, &reads), &root.id).unwrap();
    let listed = changes.iter().map(|(path, entry)| (path, entry.clone())).collect();
    let mut list = List { changes: listed, at: 0, old };
    let (edited, written) = edit(Some(&tree), &mut list, MemoryNodes::default()).unwrap();
    let mut new = old.clone();
    for (path, entry) in changes {
        match entry {
            Some(entry) => new.insert(path.clone(), entry.clone()),
            None => new.remove(path),
        };
    }
    let (expected, all) = built(&new);
    assert_eq!(edited, expected);
    for (kind, id, _) in all.iter() {
        assert!(written.contains(kind, id) || nodes.contains(kind, id), "a node is missing");
    }
    (reads.load(Ordering::Relaxed), written.len())
}

fn name(number: u32) -> Path {
    Path(format!("{number:05}").into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(300, 5000)))]

    #[test]
    fn an_edited_manifest_is_the_one_of_its_entries(
        old in prop::collection::btree_set(0..4000u32, 0..2500),
        changes in prop::collection::btree_map(0..4000u32, 0..4u64, 0..40),
        run in prop::option::of((0..4000u32, 0..3000u32, any::<bool>())),
    ) {
        let old: Entries = old.iter().map(|n| (name(*n), file(&name(*n).0, 1))).collect();
        let mut changed: BTreeMap<Path, Option<Entry>> = changes
            .iter()
            .map(|(n, what)| (name(*n), (*what > 1).then(|| file(&name(*n).0, *what))))
            .collect();
        // A run of paths that come or go together moves all boundaries after it.
        if let Some((start, length, comes)) = run {
            for n in start..start + length {
                changed.insert(name(n), comes.then(|| file(&name(n).0, 9)));
            }
        }
        check(&old, &changed);
    }
}

#[test]
fn a_change_costs_a_few_nodes_and_no_change_none() {
    let old: Entries = (0..30_000).map(|n| (name(n), file(&name(n).0, 1))).collect();
    assert_eq!(check(&old, &BTreeMap::new()).1, 0);
    for entry in [None, Some(file(b"15000", 2))] {
        let (read, written) = check(&old, &BTreeMap::from([(name(15_000), entry)]));
        assert!(read <= 12 && written <= 12, "{read} read, {written} written");
    }
    let everything = old.keys().map(|path| (path.clone(), None)).collect();
    check(&old, &everything);
    // All but one leaf at the end.
    let (first, _) = built(&old);
    assert!(first.entries == 30_000);
    let most = old.keys().take(29_995).map(|path| (path.clone(), None)).collect();
    check(&old, &most);
}

#[test]
fn what_is_out_of_order_or_not_well_formed_is_refused() {
    let old: Entries = (0..100).map(|n| (name(n), file(&name(n).0, 1))).collect();
    let (root, nodes) = built(&old);
    let tree = Tree::open(nodes, &root.id).unwrap();
    let (a, b, bad) = (name(500), name(400), Path(b"x/../y".to_vec()));
    for changes in [
        vec![(&a, Some(file(&a.0, 1))), (&b, Some(file(&b.0, 1)))],
        vec![(&a, Some(file(&a.0, 1))), (&a, Some(file(&a.0, 1)))],
        vec![(&a, Some(file(&b.0, 1)))],
        vec![(&bad, Some(file(&bad.0, 1)))],
    ] {
        let mut list = List { changes, at: 0, old: &old };
        assert!(edit(Some(&tree), &mut list, MemoryNodes::default()).is_err());
    }
}

/// A source of nodes that fails one read, as if the node were damaged.
struct Damaged<'a> {
    nodes: &'a MemoryNodes,
    reads: AtomicUsize,
    fails: usize,
}

impl NodeSource for Damaged<'_> {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        match self.reads.fetch_add(1, Ordering::Relaxed) {
            at if at == self.fails => Err(Error::corrupt(format!("node {id} is damaged"))),
            _ => self.nodes.node(kind, id),
        }
    }
}

#[test]
fn a_damaged_node_fails_the_edit_and_never_makes_another_manifest() {
    let old: Entries = (0..6_000).map(|n| (name(n), file(&name(n).0, 1))).collect();
    let (root, nodes) = built(&old);
    for kept in (5..700).step_by(40) {
        for fails in 0.. {
            let removed = old.keys().take(old.len() - kept).map(|path| (path, None)).collect();
            let mut list = List { changes: removed, at: 0, old: &old };
            let reads = AtomicUsize::new(0);
            let source = Damaged { nodes: &nodes, reads, fails };
            let outcome = Tree::open(source, &root.id).and_then(|tree| {
                edit(Some(&tree), &mut list, MemoryNodes::default())
                    .map(|_| tree.source().reads.load(Ordering::Relaxed))
            });
            match outcome {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                Ok(reads) => {
                    assert!(reads <= fails, "the failure of read {fails} of {reads} was ignored");
                    break;
                }
            }
        }
    }
}
