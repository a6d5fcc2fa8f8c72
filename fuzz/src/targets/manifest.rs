//! The decoders of the crate `manifest`.

use crate::Goldens;
use freestone_core::{Id, Sha1, digest};
use freestone_format::record::RecordKind;
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord};
use freestone_manifest::{Node, id_offsets, node_position};

pub(super) fn node(data: &[u8]) -> bool {
    let _ = node_position(data);
    for at in id_offsets(data).unwrap_or_default() {
        assert!(at + 32 <= data.len());
    }
    let Ok(node) = Node::decode(data) else { return false };
    let _ = (node.first(), node.child(Id([0; 32])));
    true
}

pub(super) fn nodes(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.plain(RecordKind::ManifestNode)
}

pub(super) fn content_node(data: &[u8]) -> bool {
    let Ok(node) = ContentNode::decode(data) else { return false };
    let _ = node.length();
    assert_eq!(node.encode(), data);
    true
}

pub(super) fn content_nodes(goldens: &Goldens) -> Vec<Vec<u8>> {
    let id = |n: u8| digest::plain(&[n]);
    let leaf =
        [ContentItem::Chunk(700, id(1)), ContentItem::Zeros(9), ContentItem::Chunk(1, id(2))];
    let made = [ContentNode::Leaf(leaf.into()), ContentNode::Inner(2, vec![(1 << 20, id(3))])];
    let mut seeds = goldens.plain(RecordKind::ContentNode);
    seeds.extend(made.iter().map(ContentNode::encode));
    seeds
}

pub(super) fn content_record(data: &[u8]) -> bool {
    let Ok(record) = ContentRecord::decode(data) else { return false };
    assert_eq!(record.encode(), data);
    true
}

pub(super) fn content_records(goldens: &Goldens) -> Vec<Vec<u8>> {
    let (blake3, top) = (digest::plain(b"all"), digest::plain(b"top"));
    let made =
        ContentRecord { chunker: 1, length: 3 << 20, sha1: Sha1([7; 20]), blake3, level: 2, top };
    let mut seeds = goldens.plain(RecordKind::ContentRecord);
    seeds.push(made.encode());
    seeds
}
