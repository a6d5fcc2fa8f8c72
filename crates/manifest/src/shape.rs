//! Where nodes begin: the shape of a rope as a function of its items alone.
//!
//! At level L the items are taken in order. An item starts a new node if the open node holds 128
//! items, or if it holds at least 8 and the item's own level is at least L. An item's level comes
//! from a hash h, evenly spread over 64 bits: it is the largest k with h < 2^64 div 25^k. So one
//! item in 25 may start a leaf, one in 25² a node of the next level, and so on, whatever stands
//! around them; and no choice of names makes a node of more than 128 items.

use freestone_core::Result;
use freestone_core::limits::{NODE_FANOUT, NODE_ITEMS_MAX, NODE_ITEMS_MIN};

/// The level of an item whose hash is `h`.
pub(crate) fn level(h: u64) -> u8 {
    let mut level = 0;
    let mut bound = u128::from(u64::MAX) + 1;
    loop {
        bound /= u128::from(NODE_FANOUT);
        if u128::from(h) >= bound {
            return level;
        }
        level += 1;
    }
}

/// What the items of a rope are, and how a full node is written.
pub(crate) trait Rope {
    /// An item of a leaf.
    type Leaf;
    /// A reference to a node, an item of an inner node.
    type Child;

    /// The level of a leaf's item, by its hash.
    fn leaf_level(&self, item: &Self::Leaf) -> u8;
    /// The level of the first leaf item below a child.
    fn child_level(&self, child: &Self::Child) -> u8;
    /// Writes a leaf.
    fn close_leaf(&mut self, items: Vec<Self::Leaf>) -> Result<Self::Child>;
    /// Writes an inner node of `level`, 2 or more.
    fn close_inner(&mut self, level: u8, items: Vec<Self::Child>) -> Result<Self::Child>;
}

/// The open nodes of a rope under construction, one a level.
pub(crate) struct Open<R: Rope> {
    pub(crate) rope: R,
    leaf: Vec<R::Leaf>,
    /// `inner[0]` is the open node of level 2.
    inner: Vec<Vec<R::Child>>,
}

fn starts_node(open_items: usize, level: impl FnOnce() -> u8, at: u8) -> bool {
    open_items >= NODE_ITEMS_MAX || (open_items >= NODE_ITEMS_MIN && level() >= at)
}

impl<R: Rope> Open<R> {
    pub(crate) fn new(rope: R) -> Self {
        Self { rope, leaf: Vec::new(), inner: Vec::new() }
    }

    pub(crate) fn push(&mut self, item: R::Leaf) -> Result<()> {
        if starts_node(self.leaf.len(), || self.rope.leaf_level(&item), 1) {
            let items = std::mem::take(&mut self.leaf);
            let child = self.rope.close_leaf(items)?;
            self.push_child(2, child)?;
        }
        self.leaf.push(item);
        Ok(())
    }

    fn push_child(&mut self, level: u8, child: R::Child) -> Result<()> {
        let at = usize::from(level) - 2;
        if self.inner.len() <= at {
            self.inner.push(Vec::new());
        }
        if starts_node(self.inner[at].len(), || self.rope.child_level(&child), level) {
            let items = std::mem::take(&mut self.inner[at]);
            let parent = self.rope.close_inner(level, items)?;
            self.push_child(level + 1, parent)?;
        }
        self.inner[at].push(child);
        Ok(())
    }

    /// Closes all nodes; gives the root, its level, and the rope.
    pub(crate) fn finish(mut self) -> Result<(R::Child, u8, R)> {
        let items = std::mem::take(&mut self.leaf);
        let mut child = self.rope.close_leaf(items)?;
        let mut level = 1;
        // An inner level exists only if a node below it was closed before, so the node that is
        // being closed now is not alone on its own level.
        while self.inner.len() >= usize::from(level) {
            level += 1;
            self.push_child(level, child)?;
            let items = std::mem::take(&mut self.inner[usize::from(level) - 2]);
            child = self.rope.close_inner(level, items)?;
        }
        Ok((child, level, self.rope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_bounded_by_powers_of_25() {
        assert_eq!(level(u64::MAX), 0);
        let bound = u64::MAX / 25;
        assert_eq!(level(bound), 0);
        assert_eq!(level(bound - 1), 1);
        assert_eq!(level(0), 13);
    }
}
