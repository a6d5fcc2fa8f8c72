//! The nodes of a batch: written to its packs, and kept for the steps that follow.

use crate::nodes::Nodes;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Id, Result, lock};
use freestone_manifest::{NodeSink, Tree};
use freestone_store::Records;
use freestone_store::write::Writer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Bytes of nodes that are kept. A batch that has more ends with its step.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Nodes that a batch wrote and no reader of the store finds yet.
#[derive(Default)]
struct Held {
    nodes: HashMap<Id, Arc<[u8]>>,
    bytes: usize,
    /// Whether there were more than are kept.
    overflowed: bool,
}

/// The nodes of the batch and of the store.
#[derive(Clone)]
pub(super) struct BatchNodes {
    records: Records,
    held: Arc<Mutex<Held>>,
}

impl BatchNodes {
    pub(super) fn new(records: Records) -> Self {
        Self { records, held: Arc::default() }
    }

    /// Returns true if no more nodes are kept: the next step may not find all of them.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.held).overflowed
    }
}

impl NodeSource for BatchNodes {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        let held = lock(&self.held).nodes.get(id).cloned();
        held.map_or_else(|| self.records.node(kind, id), Ok)
    }
}

/// A sink of the nodes of one step.
pub(super) struct StepNodes<'a> {
    nodes: Nodes<'a, BatchNodes>,
    held: &'a Mutex<Held>,
}

impl<'a> StepNodes<'a> {
    /// Returns a sink that writes nodes as differences to those of `parent`, and keeps them in
    /// `batch`.
    pub(super) fn new(
        writer: &'a Writer,
        parent: Option<&'a Tree<BatchNodes>>,
        batch: &'a BatchNodes,
    ) -> Self {
        Self { nodes: Nodes { writer, parent }, held: &batch.held }
    }
}

impl NodeSink for StepNodes<'_> {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        self.nodes.put(kind, id, bytes)?;
        let mut held = lock(self.held);
        if held.overflowed {
            return Ok(());
        }
        if held.bytes.saturating_add(bytes.len()) > HELD_BYTES_MAX {
            // The batch ends with this step, so nobody will ask for what is not kept.
            held.overflowed = true;
        } else if held.nodes.insert(id, bytes.into()).is_none() {
            held.bytes += bytes.len();
        }
        Ok(())
    }
}
