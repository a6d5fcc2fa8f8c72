//! Keeps nodes in memory: for small manifests, and for tests.

use crate::build::NodeSink;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Error, Id, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// A set of nodes in memory, by kind and id.
#[derive(Clone, Default)]
pub struct MemoryNodes(HashMap<(NodeKind, Id), Arc<[u8]>>);

impl MemoryNodes {
    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all nodes, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeKind, &Id, &[u8])> {
        self.0.iter().map(|((kind, id), bytes)| (*kind, id, &**bytes))
    }

    /// Returns true if the node `id` is there.
    pub fn contains(&self, kind: NodeKind, id: &Id) -> bool {
        self.0.contains_key(&(kind, *id))
    }
}

impl NodeSink for MemoryNodes {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        self.0.entry((kind, id)).or_insert_with(|| bytes.into());
        Ok(())
    }
}

impl NodeSource for MemoryNodes {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        let bytes = self.0.get(&(kind, *id)).cloned();
        bytes.ok_or_else(|| Error::missing(format!("node {id} is missing")))
    }
}
