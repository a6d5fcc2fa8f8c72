//! The shape of a rope: the items alone decide where its nodes begin.
//!
//! At level L the items are taken in order. An item starts a new node if the open node holds 128
//! items, or if it holds at least 8 and the item's own level is at least L. An item's level depends
//! on a hash h, evenly distributed over 64 bits: it is the largest k with h < 2^64 div 25^k. So one
//! item in 25 may start a leaf, one in 25² a node of the next level, and so on, whatever the items
//! around it are. No choice of names makes a node of more than 128 items.

use freestone_core::Result;
use freestone_core::limits::{NODE_FANOUT, NODE_ITEMS_MAX, NODE_ITEMS_MIN};

/// Returns the level of an item whose hash is `h`.
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

/// The items of a rope, and the way in which a full node is written.
pub(crate) trait Rope {
    /// An item of a leaf.
    type Leaf;
    /// A reference to a node, an item of an inner node.
    type Child;

    /// Returns the level of an item of a leaf, by its hash.
    fn leaf_level(&self, item: &Self::Leaf) -> u8;
    /// Returns the level of the first leaf item below a child.
    fn child_level(&self, child: &Self::Child) -> u8;
    /// Writes a leaf, and returns the reference to it.
    fn close_leaf(&mut self, items: Vec<Self::Leaf>) -> Result<Self::Child>;
    /// Writes an inner node of `level`, 2 or more, and returns the reference to it.
    fn close_inner(&mut self, level: u8, items: Vec<Self::Child>) -> Result<Self::Child>;
}

/// The open nodes of a rope under construction, one per level.
pub(crate) struct OpenNodes<R: Rope> {
    pub(crate) rope: R,
    leaf: Vec<R::Leaf>,
    /// `inner[0]` is the open node of level 2.
    inner: Vec<Vec<R::Child>>,
}

/// A rope whose nodes are all closed.
pub(crate) struct ClosedRope<R: Rope> {
    pub(crate) rope: R,
    pub(crate) root: R::Child,
    /// The root's level.
    pub(crate) level: u8,
    /// Whether the root is a node that [`OpenNodes::place`] took as it is.
    pub(crate) is_placed: bool,
}

fn starts_node(open_items: usize, level: impl FnOnce() -> u8, at: u8) -> bool {
    open_items >= NODE_ITEMS_MAX || (open_items >= NODE_ITEMS_MIN && level() >= at)
}

impl<R: Rope> OpenNodes<R> {
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
        while self.inner.len() <= at {
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

    /// Returns true if an item of level `item` starts a node on each level up to `level`, so that a
    /// node of that level that begins with it can be placed whole. Closes the nodes that pushing
    /// the item would close.
    pub(crate) fn begins(&mut self, item: u8, level: u8) -> Result<bool> {
        for at in 1..=level {
            let open = match at {
                1 => self.leaf.len(),
                _ => self.inner.get(usize::from(at) - 2).map_or(0, Vec::len),
            };
            if open == 0 {
                continue;
            }
            if !starts_node(open, || item, at) {
                return Ok(false);
            }
            let closed = match at {
                1 => {
                    let items = std::mem::take(&mut self.leaf);
                    self.rope.close_leaf(items)?
                }
                _ => {
                    let items = std::mem::take(&mut self.inner[usize::from(at) - 2]);
                    self.rope.close_inner(at, items)?
                }
            };
            self.push_child(at + 1, closed)?;
        }
        Ok(true)
    }

    /// Adds a whole node of `level`, after [`Self::begins`] returned true. The next item, if any,
    /// must start a node of that level, too.
    pub(crate) fn place(&mut self, level: u8, node: R::Child) -> Result<()> {
        self.push_child(level + 1, node)
    }

    /// Closes all nodes.
    pub(crate) fn finish(mut self) -> Result<ClosedRope<R>> {
        let (mut level, mut is_placed) = (1, false);
        // After a node was placed whole, no node below its level is open.
        let mut child = if self.leaf.is_empty() && !self.inner.is_empty() {
            None
        } else {
            let items = std::mem::take(&mut self.leaf);
            Some(self.rope.close_leaf(items)?)
        };
        // An inner level exists only if a node below it was closed or placed before.
        while self.inner.len() >= usize::from(level) {
            level += 1;
            if let Some(child) = child.take() {
                self.push_child(level, child)?;
            }
            let mut items = std::mem::take(&mut self.inner[usize::from(level) - 2]);
            let is_top = self.inner.len() < usize::from(level);
            child = match items.len() {
                0 => None,
                // It is alone on the top level, which no push leads to: it was placed.
                1 if is_top => {
                    (level, is_placed) = (level - 1, true);
                    items.pop()
                }
                _ => Some(self.rope.close_inner(level, items)?),
            };
            if is_top {
                break;
            }
        }
        let root = match child {
            Some(child) => child,
            None => self.rope.close_leaf(Vec::new())?,
        };
        Ok(ClosedRope { rope: self.rope, root, level, is_placed })
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
