//! The nodes of a batch: written to its packs, and held for the steps that follow.

use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Id, Result};
use freestone_format::record::RecordKind;
use freestone_manifest::{NodeSink, Tree};
use freestone_store::Records;
use freestone_store::write::writer::Session;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of nodes that are held; a batch that has more ends with its step.
const HELD_BYTES_MAX: usize = 32 << 20;

/// What a batch wrote and no reader of the store finds yet.
#[derive(Default)]
pub(super) struct Held {
    nodes: HashMap<Id, Arc<[u8]>>,
    bytes: usize,
    /// Whether there were more than are held.
    overflowed: bool,
}

/// Reads nodes of the batch and of the store.
#[derive(Clone)]
pub(super) struct BatchNodes {
    pub(super) records: Records,
    pub(super) held: Arc<Mutex<Held>>,
}

impl BatchNodes {
    /// Whether no more nodes should be held: the next step may not find all of them.
    pub(super) fn is_full(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).overflowed
    }
}

impl NodeSource for BatchNodes {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).nodes.get(id).cloned();
        held.map_or_else(|| self.records.node(kind, id), Ok)
    }
}

/// Takes the nodes of a step.
pub(super) struct StepNodes<'a> {
    pub(super) session: Option<&'a Session>,
    /// The manifest that nodes are stored over.
    pub(super) parent: Option<&'a Tree<BatchNodes>>,
    pub(super) held: &'a Mutex<Held>,
}

impl NodeSink for StepNodes<'_> {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        if let Some(session) = self.session {
            let mut before =
                || self.parent.map_or(Ok(None), |parent| parent.node_at_position_of(bytes));
            session.put_node_over(RecordKind::from(kind), id, bytes, &mut before)?;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.overflowed {
            return Ok(());
        }
        if held.bytes.saturating_add(bytes.len()) > HELD_BYTES_MAX {
            // The batch ends with this step, so nobody will ask for what is not held.
            held.overflowed = true;
        } else if held.nodes.insert(id, bytes.into()).is_none() {
            held.bytes += bytes.len();
        }
        Ok(())
    }
}
