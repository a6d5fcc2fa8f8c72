//! Manifest nodes.

use super::*;

pub fn node(level: u8, count: u64, items: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(1);
    out.u8(level);
    out.string(&[]);
    out.varint(count);
    items(&mut out);
    out.into_bytes()
}

/// An entry without a path shared with the one before.
pub fn file_entry(out: &mut Writer, shared: u64, rest: &[u8], size: u64, content: Id) {
    out.varint(shared);
    out.string(rest);
    out.varint(7);
    out.u8(1);
    out.varint(size);
    out.sha1(&Sha1([2; 20]));
    out.id(&content);
}

fn child_reference(out: &mut Writer, shared: u64, child: &Subtree) {
    out.varint(shared);
    out.string(&child.first[usize::try_from(shared).unwrap()..]);
    out.id(&child.id);
    out.id(&child.content_digest);
    out.varint(child.entries);
    out.varint(child.bytes);
    out.varint(1);
    out.varint(1);
    let mut measure = Writer::default();
    child.measure.encode(&mut measure);
    out.string(measure.bytes());
    out.string(&[]);
}

fn node_id(bytes: &[u8]) -> Id {
    digest::derived(context::MANIFEST_NODE, bytes)
}

fn child_of(bytes: &[u8]) -> Subtree {
    Node::decode(bytes).unwrap().child(node_id(bytes)).unwrap()
}

/// A store with these nodes, a revision whose root is the last, and `main` naming that.
pub fn store_of_nodes(nodes: &[(RecordKind, Vec<u8>)]) -> (tempfile::TempDir, Store, Id) {
    let (folder, store) = new_store();
    let mut forge = Forge::default();
    let mut root = Id([0; 32]);
    for (kind, bytes) in nodes {
        let at = forge.add(*kind, Codec::Raw, bytes).unwrap();
        root = forge.rows[at].id;
    }
    let summary =
        Node::decode(&nodes.last().unwrap().1).ok().and_then(|node| node.child(root).ok());
    let revision = Revision {
        root,
        content_digest: summary.as_ref().map_or(root, |child| child.content_digest),
        entries: summary.as_ref().map_or(0, |child| child.entries),
        bytes: summary.as_ref().map_or(0, |child| child.bytes),
        time: 1,
        parents: Vec::new(),
        message: String::new(),
        labels: std::collections::BTreeMap::new(),
    };
    forge.add(RecordKind::Revision, Codec::Raw, &revision.encode()).unwrap();
    let pack = forge.write(&**store.backend()).unwrap();
    write_segment(&**store.backend(), 1, forge.listed(pack)).unwrap();
    store.refs().set("main", revision.id(), Expect::Any, 1).unwrap();
    (folder, store, root)
}

/// Walks and seeks in a manifest in all ways.
fn walk(store: &Store, root: &Id) -> Result<u64> {
    let tree = store.tree(root)?;
    let mut cursor = tree.cursor();
    let mut entries = 0;
    while cursor.next()?.is_some() {
        entries += 1;
    }
    tree.get(b"a00")?;
    tree.seek(b"zzz")?.next()?;
    tree.seek_unit(1 << 40, 2)?.cursor.next()?;
    tree.seek_unit(u64::MAX, u64::MAX - 1)?.cursor.next()?;
    Ok(entries)
}

fn hostile_manifests() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let content = Id([4; 32]);
    let leaf = |path: &[u8]| node(1, 1, |out| file_entry(out, 0, path, 1, content));
    let inner = |level, children: &[Subtree]| {
        node(level, children.len() as u64, |out| {
            children.iter().for_each(|child| child_reference(out, 0, child));
        })
    };
    let a = leaf(b"a");
    let lying = |change: fn(&mut Subtree)| {
        let mut child = child_of(&leaf(b"a"));
        change(&mut child);
        vec![leaf(b"a"), inner(2, &[child])]
    };
    let mut deep = vec![a.clone()];
    for level in 2..=22 {
        deep.push(inner(level, &[child_of(&deep[deep.len() - 1])]));
    }
    let mut deeper = deep.clone();
    deeper.push(inner(23, &[child_of(&deep[21])]));
    vec![
        ("deeper than allowed", deeper),
        ("level 0", vec![node(0, 0, |_| {})]),
        ("level 255", vec![node(255, 1, |out| child_reference(out, 0, &child_of(&leaf(b"a"))))]),
        ("a child two levels below", vec![a.clone(), inner(3, &[child_of(&a)])]),
        ("an inner node without children", vec![node(2, 0, |_| {})]),
        ("entries that are not there", vec![node(1, 100, |_| {})]),
        ("2^60 entries", vec![node(1, 1 << 60, |_| {})]),
        (
            "129 entries",
            vec![node(1, 129, |out| {
                (0..129u8).for_each(|n| file_entry(out, 0, &[1 + n], 1, content));
            })],
        ),
        (
            "a path that shares what is not there",
            vec![node(1, 1, |out| {
                file_entry(out, 9, b"a", 1, content);
            })],
        ),
        (
            "a path of 2^60 bytes",
            vec![node(1, 1, |out| {
                out.varint(0);
                out.varint(1 << 60);
            })],
        ),
        ("a path upwards", vec![leaf(b"../a")]),
        ("an absolute path", vec![leaf(b"/etc/passwd")]),
        (
            "a path twice",
            vec![node(1, 2, |out| {
                file_entry(out, 0, b"a", 1, content);
                file_entry(out, 1, b"", 1, content);
            })],
        ),
        ("a missing child", vec![inner(2, &[child_of(&leaf(b"q"))])]),
        ("a wrong first path", lying(|child| child.first = b"b".to_vec())),
        ("wrong totals", lying(|child| child.entries = u64::MAX)),
        ("wrong bytes", lying(|child| child.bytes = u64::MAX)),
        (
            "a wrong measure",
            lying(|child| child.measure = freestone_core::Measure::Rigid(u64::MAX)),
        ),
        ("a wrong digest", lying(|child| child.content_digest = Id([9; 32]))),
        ("a file whose directory has no entry", vec![leaf(b"dir/x")]),
        (
            "a file below a file",
            vec![node(1, 2, |out| {
                file_entry(out, 0, b"a", 1, content);
                file_entry(out, 1, b"/b", 1, content);
            })],
        ),
        (
            "a file below the file that ends another leaf",
            vec![
                leaf(b"a"),
                leaf(b"a/b"),
                inner(2, &[child_of(&leaf(b"a")), child_of(&leaf(b"a/b"))]),
            ],
        ),
        (
            "leaves out of order",
            vec![leaf(b"b"), leaf(b"a"), inner(2, &[child_of(&leaf(b"b")), child_of(&leaf(b"a"))])],
        ),
    ]
}

#[test]
fn manifests_that_claim_what_cannot_be_are_refused() {
    let _bounded = bounded();
    for (what, nodes) in hostile_manifests() {
        let nodes: Vec<_> =
            nodes.into_iter().map(|bytes| (RecordKind::ManifestNode, bytes)).collect();
        let (_folder, store, root) = store_of_nodes(&nodes);
        assert_corrupt(walk(&store, &root), what);
        assert!(!quick_findings(&store).is_empty(), "{what}");
        // The index can be made anew around it, or the reason why not is told.
        if let Err(error) = maintain::reindex(&store, Watch::default()) {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        }
        // A push on top of it fails; one beside it does not care.
        let tree = MemorySource::of([("a", "b")]);
        assert_corrupt(push_tree(&store, &tree, &PushOptions::default()), what);
        let beside = PushOptions { ref_name: Some("beside".into()), ..PushOptions::default() };
        push_tree(&store, &tree, &beside).unwrap();
    }
}

#[test]
fn entries_of_huge_sizes_overflow_nothing() {
    let _bounded = bounded();
    let content = Id([4; 32]);
    for sizes in [&[u64::MAX][..], &[1 << 63, 1], &[(1 << 20) + 1], &[u64::MAX - 511], &[1 << 40]] {
        let leaf = node(1, sizes.len() as u64, |out| {
            for (n, size) in (1..).zip(sizes) {
                file_entry(out, 0, &[b'a' + n], *size, content);
            }
        });
        let (_folder, store, root) = store_of_nodes(&[(RecordKind::ManifestNode, leaf)]);
        let tree = store.tree(&root).unwrap();
        let _ = walk(&store, &root);
        let end = sizes[0];
        for range in [0..1, 0..end, end - 1..end, end..u64::MAX, u64::MAX - 1..u64::MAX] {
            if range.start < end {
                let found = pieces(tree.source(), &content, end, None, range, &mut |_| Ok(()));
                assert_corrupt(found, "a content that is not there");
            }
        }
        assert!(!quick_findings(&store).is_empty());
    }
}

#[test]
fn sizes_that_add_up_beyond_64_bits_are_refused() {
    let _bounded = bounded();
    let leaf = node(1, 2, |out| {
        file_entry(out, 0, b"a", u64::MAX, Id([4; 32]));
        file_entry(out, 0, b"b", u64::MAX, Id([4; 32]));
    });
    let (_folder, store, root) = store_of_nodes(&[(RecordKind::ManifestNode, leaf)]);
    let error = store.tree(&root).map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Refused), "{error}");
    assert!(!quick_findings(&store).is_empty());
}

#[test]
fn few_nodes_that_are_named_very_often_do_not_take_for_ever() {
    let _bounded = bounded();
    // At each level node i has all nodes from i on of the level below: the ways from the root to
    // a leaf are more than can be walked, the nodes are 352.
    const WIDTH: usize = 16;
    let mut nodes = Vec::new();
    let mut below: Vec<Subtree> = Vec::new();
    for level in 1..=22 {
        let mut children = Vec::new();
        for first in 0..WIDTH {
            let path = [b'a' + u8::try_from(first).unwrap()];
            let bytes = if level == 1 {
                node(1, 1, |out| file_entry(out, 0, &path, 0, digest::plain(b"")))
            } else {
                node(level, (WIDTH - first) as u64, |out| {
                    below[first..].iter().for_each(|child| child_reference(out, 0, child));
                })
            };
            children.push(child_of(&bytes));
            nodes.push((RecordKind::ManifestNode, bytes));
        }
        below = children;
    }
    let last = nodes.len() - WIDTH;
    nodes.swap(last, last + WIDTH - 1);
    let (_folder, store, root) = store_of_nodes(&nodes);
    assert!(store.tree(&root).unwrap().summary().entries > 1 << 30);
    let error = assert_corrupt(walk(&store, &root), "nodes that are named very often");
    assert!(error.to_string().contains("out of order"), "{error}");
    assert!(!quick_findings(&store).is_empty());
    assert!(!findings(&store).unwrap().is_empty());
}
