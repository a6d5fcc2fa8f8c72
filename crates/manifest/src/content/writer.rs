//! Builds a content tree from the pieces of a content, in order.

use super::node::{ContentItem, ContentNode};
use crate::build::NodeSink;
use crate::shape::{self, OpenNodes, Rope};
use freestone_core::digest;
use freestone_core::plan::NodeKind;
use freestone_core::{Id, Result};

/// A node that was written: the length of the content below it, its id, and the level of its first
/// piece.
struct Closed {
    length: u64,
    id: Id,
    first_level: u8,
}

struct ContentRope<W> {
    sink: W,
}

/// Returns the level of a piece. Zeros have no id, so they start a node only when the one before is
/// full.
fn item_level(item: &ContentItem) -> u8 {
    match item {
        ContentItem::Zeros(_) => 0,
        ContentItem::Chunk(_, id) => shape::level(id.head()),
    }
}

impl<W: NodeSink> ContentRope<W> {
    fn close(&mut self, node: &ContentNode, first_level: u8) -> Result<Closed> {
        let bytes = node.encode();
        let id = digest::derived(NodeKind::Content.context(), &bytes);
        self.sink.put(NodeKind::Content, id, &bytes)?;
        let length = node
            .length()
            .ok_or_else(|| freestone_core::Error::refused("a content of 2^64 bytes or more"))?;
        Ok(Closed { length, id, first_level })
    }
}

impl<W: NodeSink> Rope for ContentRope<W> {
    type Leaf = ContentItem;
    type Child = Closed;

    fn leaf_level(&self, item: &ContentItem) -> u8 {
        item_level(item)
    }

    fn child_level(&self, child: &Closed) -> u8 {
        child.first_level
    }

    fn close_leaf(&mut self, items: Vec<ContentItem>) -> Result<Closed> {
        let first_level = items.first().map_or(0, item_level);
        self.close(&ContentNode::Leaf(items), first_level)
    }

    fn close_inner(&mut self, level: u8, items: Vec<Closed>) -> Result<Closed> {
        let first_level = items.first().map_or(0, |child| child.first_level);
        let children = items.into_iter().map(|child| (child.length, child.id)).collect();
        self.close(&ContentNode::Inner(level, children), first_level)
    }
}

/// A builder of the tree of one content. It holds one open node per level.
pub struct ContentTreeBuilder<W: NodeSink> {
    open: OpenNodes<ContentRope<W>>,
}

impl<W: NodeSink> ContentTreeBuilder<W> {
    /// Starts a tree whose nodes go to `sink`.
    pub fn new(sink: W) -> Self {
        Self { open: OpenNodes::new(ContentRope { sink }) }
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// The sink failed.
    pub fn push(&mut self, item: ContentItem) -> Result<()> {
        self.open.push(item)
    }

    /// Returns the sink that receives the nodes.
    pub fn sink(&mut self) -> &mut W {
        &mut self.open.rope.sink
    }

    /// Closes the tree. Returns the level and id of its top, and the sink. At least one piece must
    /// have been pushed.
    ///
    /// # Errors
    /// The sink failed.
    pub fn finish(self) -> Result<(u8, Id, W)> {
        let closed = self.open.finish()?;
        Ok((closed.level, closed.root.id, closed.rope.sink))
    }
}
