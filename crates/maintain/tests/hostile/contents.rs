//! Contents and their trees.

use super::*;
use crate::manifests::{node, store_of_nodes};

fn content_store(
    length: u64,
    level: u8,
    nodes: &[ContentNode],
    chunks: &[&[u8]],
) -> (tempfile::TempDir, Store, Id) {
    named_store(length, level, nodes, chunks, Sha1([2; 20]))
}

/// The same, where the record says the SHA-1 `sha1`.
fn named_store(
    length: u64,
    level: u8,
    nodes: &[ContentNode],
    chunks: &[&[u8]],
    sha1: Sha1,
) -> (tempfile::TempDir, Store, Id) {
    let mut records = Vec::new();
    let mut top = Id([0; 32]);
    for content_node in nodes {
        let bytes = content_node.encode();
        top = digest::derived(context::CONTENT_NODE, &bytes);
        records.push((RecordKind::ContentNode, bytes));
    }
    records.extend(chunks.iter().map(|chunk| (RecordKind::Chunk, chunk.to_vec())));
    let blake3 = Id([3; 32]);
    let record = ContentRecord { chunker: 1, length, sha1, blake3, level, top };
    records.push((RecordKind::ContentRecord, record.encode()));
    let leaf = node(1, 1, |out| {
        out.varint(0);
        out.string(b"large");
        out.varint(7);
        out.u8(1);
        out.varint(length);
        out.sha1(&sha1);
        out.id(&record.id());
    });
    records.push((RecordKind::ManifestNode, leaf));
    let (folder, store, _) = store_of_nodes(&records);
    (folder, store, record.id())
}

/// What the pieces of a part of a content are, without their bytes.
fn part(store: &Store, content: &Id, size: u64, range: std::ops::Range<u64>) -> Result<(u64, u64)> {
    let (mut count, mut length) = (0, 0);
    pieces(&store.records()?, content, size, None, range, &mut |piece| {
        count += 1;
        length += piece.length;
        assert!(!matches!(piece.source, ExtentSource::Inline(_)));
        Ok(())
    })?;
    Ok((count, length))
}

#[test]
fn an_exabyte_of_zeros_is_a_piece_and_no_memory() {
    let _bounded = bounded();
    const EXABYTE: u64 = 1 << 60;
    let leaf = ContentNode::Leaf(vec![ContentItem::Zeros(EXABYTE)]);
    let (_folder, store, content) = content_store(EXABYTE, 1, &[leaf], &[]);
    for range in [0..EXABYTE, 0..1, EXABYTE - 1..EXABYTE, 4096..8192] {
        assert_eq!(part(&store, &content, EXABYTE, range).unwrap(), (1, EXABYTE));
    }
    assert_eq!(quick_findings(&store), []);
    maintain::reindex(&store, Watch::default()).unwrap();
    assert_eq!(maintain::stats(&store, Watch::default()).unwrap().logical, EXABYTE);
}

#[test]
fn a_content_of_few_nodes_that_are_named_very_often_is_read_in_parts() {
    let _bounded = bounded();
    let byte = digest::plain(b"x");
    let mut nodes = vec![ContentNode::Leaf(vec![ContentItem::Chunk(1, byte); 128])];
    let mut length = 128u64;
    for level in 2..=8 {
        let id = digest::derived(context::CONTENT_NODE, &nodes[nodes.len() - 1].encode());
        nodes.push(ContentNode::Inner(level, vec![(length, id); 128]));
        length *= 128;
    }
    let (_folder, store, content) = content_store(length, 8, &nodes, &[b"x"]);
    assert_eq!(length, 1 << 56);
    for start in [0, 12345, 1 << 40, length - 100] {
        let (count, _) = part(&store, &content, length, start..start + 100).unwrap();
        assert_eq!(count, 100);
    }
    assert_eq!(quick_findings(&store), []);
    // Of a tree that names a chunk which is not there, that is told.
    let (_folder, store, _) = content_store(length, 8, &nodes, &[]);
    assert!(quick_findings(&store)[0].fault.contains(&byte.to_string()));
}

/// What names a content is computed before it is believed.
#[test]
fn a_content_is_not_found_by_a_sha1_that_its_record_states_falsely() {
    let _bounded = bounded();
    let (good, evil) = (noise(1_200_000, 1), noise(1_200_000, 2));
    let sha1 = digest::sha1(&good);
    let parts = [&evil[..600_000], &evil[600_000..]];
    let leaf = parts.map(|part| ContentItem::Chunk(600_000, digest::plain(part)));
    let leaf = ContentNode::Leaf(leaf.to_vec());
    let (_folder, store, content) = named_store(1_200_000, 1, &[leaf], &parts, sha1);
    maintain::reindex(&store, Watch::default()).unwrap();
    let store = reopened(&store);
    let find = |store: &Store, sha1: &Sha1, bytes_max| {
        store.records().unwrap().find_sha1(sha1, bytes_max, Watch::default())
    };
    for _ in 0..2 {
        let error = assert_corrupt(find(&store, &sha1, u64::MAX), "a lie").to_string();
        assert!(error.contains(&format!("content {content} is said to have the SHA-1")), "{error}");
    }
    assert_eq!(find(&store, &digest::sha1(&evil), u64::MAX).unwrap(), None);
    let error = find(&store, &sha1, 1_000_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    // It does not keep the true content out, which is then found.
    let beside = PushOptions { ref_name: Some("beside".into()), ..PushOptions::default() };
    push_tree(&store, &MemorySource::of([("good", good.clone())]), &beside).unwrap();
    let found = find(&reopened(&store), &sha1, u64::MAX).unwrap().unwrap();
    assert_ne!(found.id, content);
    let mut read = Vec::new();
    let mut each = |bytes: &[u8]| {
        read.extend_from_slice(bytes);
        Ok(())
    };
    let records = reopened(&store).records().unwrap();
    records.read_content(&found.id, found.size, Some(&sha1), &mut each).unwrap();
    assert!(read == good);
}

#[test]
fn content_trees_that_claim_what_cannot_be_are_refused() {
    let _bounded = bounded();
    const SIZE: u64 = 2 << 20;
    let id_of = |node: &ContentNode| digest::derived(context::CONTENT_NODE, &node.encode());
    let zeros = ContentNode::Leaf(vec![ContentItem::Zeros(SIZE)]);
    let inner = |level, length| ContentNode::Inner(level, vec![(length, id_of(&zeros))]);
    let huge = ContentNode::Leaf(vec![ContentItem::Zeros(u64::MAX), ContentItem::Zeros(SIZE + 1)]);
    let chunk = ContentNode::Leaf(vec![ContentItem::Chunk(SIZE, digest::plain(b"short"))]);
    let cases: Vec<(&str, u8, Vec<ContentNode>)> = vec![
        (
            "a leaf of another length",
            1,
            vec![ContentNode::Leaf(vec![ContentItem::Zeros(SIZE + 1)])],
        ),
        ("lengths beyond 64 bits", 1, vec![huge]),
        ("another level than said", 3, vec![zeros.clone(), inner(2, SIZE)]),
        ("a child of another length", 2, vec![zeros.clone(), inner(2, SIZE - 1)]),
        ("a child two levels below", 3, vec![zeros.clone(), inner(3, SIZE)]),
        ("no items", 1, vec![ContentNode::Leaf(vec![])]),
        (
            "an empty run",
            1,
            vec![ContentNode::Leaf(vec![ContentItem::Zeros(0), ContentItem::Zeros(SIZE)])],
        ),
        (
            "a chunk that is too long",
            1,
            vec![ContentNode::Leaf(vec![ContentItem::Chunk(1 << 40, Id([1; 32]))])],
        ),
        ("too many items", 1, vec![ContentNode::Leaf(vec![ContentItem::Zeros(SIZE / 256); 256])]),
        ("a node that is not there", 2, vec![ContentNode::Inner(2, vec![(SIZE, Id([8; 32]))])]),
        ("a chunk of another length", 1, vec![chunk]),
    ];
    for (what, level, nodes) in cases {
        let (_folder, store, content) = content_store(SIZE, level, &nodes, &[b"short"]);
        let read = || -> Result<()> {
            let records = store.records()?;
            let mut bytes = Vec::new();
            pieces(&records, &content, SIZE, None, 0..SIZE, &mut |piece| match piece.source {
                ExtentSource::Chunk(id) => {
                    records.chunk_in(&id, piece.length, &mut bytes).map(|_| ())
                }
                _ => Ok(()),
            })
        };
        assert_corrupt(read(), what);
        assert!(!quick_findings(&store).is_empty(), "{what}");
    }
}

#[test]
fn a_record_is_never_taken_for_one_of_another_kind() {
    let _bounded = bounded();
    // The bytes of a node as a chunk, a chunk as a node: their ids differ.
    let leaf = node(1, 0, |_| {});
    let (_folder, store, root) = store_of_nodes(&[
        (RecordKind::Chunk, leaf.clone()),
        (RecordKind::ContentNode, leaf.clone()),
        (RecordKind::ManifestNode, leaf.clone()),
    ]);
    let records = store.records().unwrap();
    assert!(records.node(NodeKind::Manifest, &root).is_ok());
    for kind in [NodeKind::Content, NodeKind::ContentRecord] {
        assert_corrupt(records.node(kind, &root), "another kind");
    }
    assert_corrupt(records.chunk(&root, &mut vec![0; leaf.len()]), "another kind");
}
