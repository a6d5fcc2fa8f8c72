//! Builds a manifest from its entries, in order.

use crate::entry::{Entry, placement_fault};
use crate::node::{Items, Node, Subtree, encode_inner, encode_leaf};
use crate::shape::{self, OpenNodes, Rope};
use freestone_core::digest::{self, context};
use freestone_core::plan::NodeKind;
use freestone_core::{Error, Id, Result, path};

/// A receiver of encoded nodes.
pub trait NodeSink {
    /// Keeps the node `id`. The same node may come more than once.
    ///
    /// # Errors
    /// The node cannot be kept.
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()>;
}

impl<T: NodeSink + ?Sized> NodeSink for &mut T {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        (**self).put(kind, id, bytes)
    }
}

pub(crate) struct ManifestRope<W> {
    pub(crate) sink: W,
    levels: digest::DerivedHash,
    nodes: digest::DerivedHash,
}

impl<W: NodeSink> ManifestRope<W> {
    /// Returns a rope whose nodes go to `sink`.
    pub(crate) fn new(sink: W) -> Self {
        Self {
            sink,
            levels: digest::DerivedHash::new(context::ROPE_LEVEL),
            nodes: digest::DerivedHash::new(context::MANIFEST_NODE),
        }
    }

    pub(crate) fn level(&self, path: &[u8]) -> u8 {
        shape::level(self.levels.hash(path).head())
    }

    fn close(&mut self, bytes: &[u8], node: &Node) -> Result<Subtree> {
        let id = self.nodes.hash(bytes);
        self.sink.put(NodeKind::Manifest, id, bytes)?;
        node.child(id)
    }
}

impl<W: NodeSink> Rope for ManifestRope<W> {
    type Leaf = Entry;
    type Child = Subtree;

    fn leaf_level(&self, item: &Entry) -> u8 {
        self.level(&item.path)
    }

    fn child_level(&self, child: &Subtree) -> u8 {
        self.level(&child.first)
    }

    fn close_leaf(&mut self, items: Vec<Entry>) -> Result<Subtree> {
        let bytes = encode_leaf(&items);
        self.close(&bytes, &Node { level: 1, items: Items::Entries(items) })
    }

    fn close_inner(&mut self, level: u8, items: Vec<Subtree>) -> Result<Subtree> {
        let bytes = encode_inner(level, &items);
        self.close(&bytes, &Node { level, items: Items::Children(items) })
    }
}

/// A builder of a manifest. It holds one open node per level, of at most 128 items each.
pub struct Builder<W: NodeSink> {
    open: OpenNodes<ManifestRope<W>>,
    previous: Option<(Vec<u8>, bool)>,
}

impl<W: NodeSink> Builder<W> {
    /// Starts a manifest whose nodes go to `sink`.
    pub fn new(sink: W) -> Self {
        Self { open: OpenNodes::new(ManifestRope::new(sink)), previous: None }
    }

    /// Adds the next entry in manifest order.
    ///
    /// # Errors
    /// The entry is not well formed or out of order, its directory has no entry, or the sink
    /// failed.
    pub fn push(&mut self, entry: Entry) -> Result<()> {
        let previous = self.previous.as_ref().map(|(path, is_dir)| (&path[..], *is_dir));
        let fault = placement_fault(previous, &entry.path).map(String::from);
        if let Some(fault) = fault.or_else(|| entry.fault()) {
            return Err(Error::refused(format!("path {:?} {fault}", path::display(&entry.path))));
        }
        match &mut self.previous {
            Some((path, is_directory)) => {
                path.clear();
                path.extend_from_slice(&entry.path);
                *is_directory = entry.is_directory();
            }
            None => self.previous = Some((entry.path.clone(), entry.is_directory())),
        }
        self.open.push(entry)
    }

    /// Returns the sink that receives the nodes.
    pub fn sink(&mut self) -> &mut W {
        &mut self.open.rope.sink
    }

    /// Closes the manifest. Returns the reference to its root, and the sink.
    ///
    /// # Errors
    /// The sink failed, or a total has more than 64 bits.
    pub fn finish(self) -> Result<(Subtree, W)> {
        let closed = self.open.finish()?;
        Ok((closed.root, closed.rope.sink))
    }
}
