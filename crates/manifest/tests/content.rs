//! Content trees: any content in, the same content out, any part of it found by descent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{self, plain};
use freestone_core::plan::{ExtentSource, NodeKind, NodeSource};
use freestone_core::{Error, Extent, Id, Result};
use freestone_manifest::content::{
    CHUNKER, ContentItem, ContentRecord, ContentTreeBuilder, distinct_pieces, pieces, visit_nodes,
};
use freestone_manifest::{MemoryNodes, NodeSink};
use freestone_testkit::cases;
use proptest::prelude::*;
use std::collections::HashMap;

/// Builds a content tree of pieces that may be shorter than the chunker's.
fn tree(items: &[ContentItem]) -> (Id, u64, MemoryNodes) {
    let mut nodes = MemoryNodes::default();
    let mut builder = ContentTreeBuilder::new(&mut nodes);
    for item in items {
        builder.push(*item).unwrap();
    }
    let (level, top, _) = builder.finish().unwrap();
    let length = items.iter().map(ContentItem::length).sum();
    let record = ContentRecord {
        chunker: CHUNKER,
        length,
        sha1: digest::sha1(b""),
        blake3: plain(b""),
        level,
        top,
    };
    nodes.put(NodeKind::ContentRecord, record.id(), &record.encode()).unwrap();
    (record.id(), length, nodes)
}

fn collect(nodes: &MemoryNodes, id: &Id, size: u64, range: std::ops::Range<u64>) -> Vec<Extent> {
    let mut extents = Vec::new();
    pieces(nodes, id, size, None, range, &mut |extent| {
        extents.push(extent);
        Ok(())
    })
    .unwrap();
    extents
}

fn items() -> impl Strategy<Value = Vec<ContentItem>> {
    let item = prop_oneof![
        (1..40u64).prop_map(|units| ContentItem::Zeros(units * 65_536)),
        (1..4_000_000u64, any::<u64>())
            .prop_map(|(length, seed)| ContentItem::Chunk(length, plain(&seed.to_le_bytes()))),
    ];
    prop::collection::vec(item, 1..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48, 1000)))]
    #[test]
    fn any_range_of_a_content_is_found(
        mut items in items(), from in any::<prop::sample::Index>(), length in 0..9_000_000u64
    ) {
        items.push(ContentItem::Chunk(1 << 21, plain(b"long enough for a record")));
        let (id, size, nodes) = tree(&items);
        let mut whole = Vec::new();
        let mut offset = 0;
        for item in &items {
            whole.push(Extent { offset, length: item.length(), source: item.source() });
            offset += item.length();
        }
        prop_assert_eq!(&collect(&nodes, &id, size, 0..size), &whole);
        let start = from.index(usize::try_from(size).unwrap()) as u64;
        let range = start..start + length;
        whole.retain(|extent| extent.offset < range.end && extent.end() > range.start);
        if length > 0 {
            prop_assert_eq!(collect(&nodes, &id, size, range), whole);
        }
    }

    #[test]
    fn the_tree_is_a_function_of_its_pieces_and_shares_nodes(items in items(), at in 0..500usize) {
        let (id, _, nodes) = tree(&items);
        prop_assert_eq!(tree(&items).0, id);
        if items.len() > 200 {
            let mut changed = items.clone();
            let at = at % changed.len();
            changed[at] = ContentItem::Chunk(1_048_577, plain(b"changed"));
            let (_, _, others) = tree(&changed);
            let new = others.iter().filter(|(kind, id, _)| !nodes.contains(*kind, id)).count();
            prop_assert!(new <= 1 + 3 * 4, "{} nodes changed", new);
        }
    }
}

#[test]
fn a_real_content_comes_back_whole_and_in_parts() {
    let mut content: Vec<u8> = Vec::new();
    let mut seed = 1u64;
    while content.len() < 9_000_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        content.extend(seed.to_le_bytes());
    }
    content.splice(4096 * 700..4096 * 700, vec![0; 4096 * 100]);
    let mut chunks: HashMap<Id, Vec<u8>> = HashMap::new();
    let mut nodes = MemoryNodes::default();
    let mut builder = ContentTreeBuilder::new(&mut nodes);
    let mut each = |piece: ContentPiece<'_>| -> Result<()> {
        builder.push(match piece {
            ContentPiece::Zeros(length) => ContentItem::Zeros(length),
            ContentPiece::Chunk(bytes) => {
                chunks.insert(plain(bytes), bytes.to_vec());
                ContentItem::Chunk(bytes.len() as u64, plain(bytes))
            }
        })
    };
    let mut chunker = Chunker::default();
    chunker.push(&content, &mut each).unwrap();
    chunker.finish(&mut each).unwrap();
    let (level, top, _) = builder.finish().unwrap();
    let size = content.len() as u64;
    let record = ContentRecord {
        chunker: CHUNKER,
        length: size,
        sha1: digest::sha1(&content),
        blake3: plain(&content),
        level,
        top,
    };
    nodes.put(NodeKind::ContentRecord, record.id(), &record.encode()).unwrap();
    assert_eq!(ContentRecord::decode(&record.encode()).unwrap(), record);
    let mut back = Vec::new();
    let mut zeros = 0;
    for extent in collect(&nodes, &record.id(), size, 0..size) {
        match extent.source {
            ExtentSource::Chunk(id) => back.extend_from_slice(&chunks[&id]),
            _ => {
                zeros += extent.length;
                back.resize(back.len() + usize::try_from(extent.length).unwrap(), 0);
            }
        }
    }
    assert!(back == content);
    assert!(zeros >= 4096 * 99);
    let mut kinds = Vec::new();
    visit_nodes(&nodes, &record.id(), &mut |kind, _| {
        kinds.push(kind);
        Ok(true)
    })
    .unwrap();
    assert_eq!(kinds[0], NodeKind::ContentRecord);
    assert_eq!(kinds.len(), nodes.len());
}

/// A few nodes that name each other often are a content of any length, which nobody can go through.
#[test]
fn nodes_that_stand_at_many_places_are_read_once() {
    use freestone_manifest::content::ContentNode;
    let mut nodes = MemoryNodes::default();
    let mut put = |kind: NodeKind, bytes: &[u8]| {
        let id = digest::derived(kind.context(), bytes);
        nodes.put(kind, id, bytes).unwrap();
        id
    };
    let leaf = ContentNode::Leaf(vec![ContentItem::Chunk(64, plain(b"x")); 128]);
    let (mut top, mut length) = (put(NodeKind::Content, &leaf.encode()), 64 * 128);
    for level in 2..=7 {
        let inner = ContentNode::Inner(level, vec![(length, top); 128]);
        (top, length) = (put(NodeKind::Content, &inner.encode()), length * 128);
    }
    let (sha1, blake3) = (digest::sha1(b"?"), plain(b"?"));
    let record = ContentRecord { chunker: CHUNKER, length, sha1, blake3, level: 7, top };
    put(NodeKind::ContentRecord, &record.encode());
    let mut offsets = Vec::new();
    distinct_pieces(&nodes, &record.id(), length, None, &mut |piece| {
        offsets.push(piece.offset);
        Ok(())
    })
    .unwrap();
    assert_eq!(offsets, (0..128).map(|n| 64 * n).collect::<Vec<u64>>());
    let mut visited = 0;
    visit_nodes(&nodes, &record.id(), &mut |_, _| {
        visited += 1;
        Ok(true)
    })
    .unwrap();
    assert_eq!(visited, 8);
    // A part of it is found as ever.
    let near_end = length - 100..length;
    assert_eq!(collect(&nodes, &record.id(), length, near_end).len(), 2);
}

#[test]
fn an_entry_that_lies_about_its_content_is_found_out() {
    let items = [ContentItem::Chunk(1 << 21, plain(b"x"))];
    let (id, size, nodes) = tree(&items);
    let ask = |size, sha1: Option<&freestone_core::Sha1>| {
        pieces(&nodes, &id, size, sha1, 0..size, &mut |_| Ok(()))
    };
    assert!(ask(size, Some(&digest::sha1(b""))).is_ok());
    assert!(ask(size + 1, None).is_err());
    assert!(ask(size, Some(&digest::sha1(b"other"))).is_err());
}

#[test]
fn a_tree_that_lies_about_lengths_is_found_out() {
    struct Lying(MemoryNodes, Id, Vec<u8>);
    impl NodeSource for Lying {
        fn node(&self, kind: NodeKind, id: &Id) -> Result<std::sync::Arc<[u8]>> {
            if *id == self.1 { Ok(self.2.clone().into()) } else { self.0.node(kind, id) }
        }
    }
    let items: Vec<_> =
        (0..300u64).map(|n| ContentItem::Chunk(70_000, plain(&n.to_le_bytes()))).collect();
    let (id, size, nodes) = tree(&items);
    let record = ContentRecord::read(&nodes, &id).unwrap();
    assert_eq!(record.level, 2);
    use freestone_manifest::content::ContentNode;
    let Ok(ContentNode::Inner(level, mut children)) = ContentNode::read(&nodes, &record.top) else {
        panic!("not an inner node")
    };
    children[0].0 += 1;
    children[1].0 -= 1;
    let lying = Lying(nodes, record.top, ContentNode::Inner(level, children).encode());
    let error: Error = pieces(&lying, &id, size, None, 0..size, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("does not agree with its parent"), "{error}");
}
