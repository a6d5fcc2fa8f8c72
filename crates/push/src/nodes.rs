//! The nodes of a manifest on their way to the store.

use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Id, Result};
use freestone_format::record::RecordKind;
use freestone_manifest::{NodeSink, Tree};
use freestone_store::write::Writer;

/// A sink of nodes that writes them, each as a difference to the node at its position in the
/// parent.
pub(crate) struct Nodes<'a, S> {
    pub(crate) writer: &'a Writer,
    pub(crate) parent: Option<&'a Tree<S>>,
}

impl<S: NodeSource> NodeSink for Nodes<'_, S> {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        let mut before =
            || self.parent.map_or(Ok(None), |parent| parent.node_at_position_of(bytes));
        self.writer.put_node(RecordKind::from(kind), id, bytes, &mut before)
    }
}
