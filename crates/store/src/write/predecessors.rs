//! The record that a node or a revision is probably most like.

use freestone_core::{Id, digest};
use freestone_format::record::RecordKind;
use std::collections::HashMap;

/// Nodes that are remembered: about 50 bytes each.
const PREDECESSORS_MAX: usize = 1 << 16;

/// The last node that was written of those that begin at the same path, and the last revision.
#[derive(Default)]
pub(super) struct Predecessors(HashMap<u64, Id>);

impl Predecessors {
    /// Puts a record in the place of the one before it, and returns that one.
    pub(super) fn replace(&mut self, kind: RecordKind, plain: &[u8], id: Id) -> Option<Id> {
        if self.0.len() >= PREDECESSORS_MAX {
            self.0.clear();
        }
        let mut key = vec![kind.number()];
        match kind {
            RecordKind::ManifestNode => {
                let (level, first) = freestone_manifest::node_position(plain)?;
                key.push(level);
                key.extend_from_slice(&first);
            }
            RecordKind::Revision => {}
            _ => return None,
        }
        self.0.insert(digest::plain(&key).head(), id)
    }
}
