//! Walking the entries of a manifest in order, from any place.

use crate::entry::Entry;
use crate::node::{Items, Node, Subtree};
use crate::tree::Tree;
use freestone_core::{Error, NodeSource, Result, path};
use std::sync::Arc;

/// A place between two entries of a manifest.
pub struct Cursor<'a, S> {
    tree: &'a Tree<S>,
    /// The inner nodes on the way, with the index of the child that is open; then the leaf, with
    /// the index of the next entry.
    way: Vec<(Arc<Node>, usize)>,
    /// The path of the last entry of the leaf before this one; empty at the first.
    last: Vec<u8>,
}

impl<'a, S: NodeSource> Cursor<'a, S> {
    pub(crate) fn at_start(tree: &'a Tree<S>) -> Self {
        Self { tree, way: vec![(tree.root().clone(), 0)], last: Vec::new() }
    }

    /// Goes down from the root; the functions pick the item at each node. An index behind the
    /// last item means the place behind everything in the node.
    pub(crate) fn descend(
        tree: &'a Tree<S>,
        pick_child: impl Fn(&[Subtree]) -> usize,
        pick_entry: impl Fn(&[Entry]) -> usize,
    ) -> Result<Self> {
        let mut way = Vec::new();
        let mut node = tree.root().clone();
        loop {
            let (index, below) = match &node.items {
                Items::Entries(entries) => (pick_entry(entries), None),
                Items::Children(children) => {
                    let index = pick_child(children);
                    let below = children.get(index).map(|child| tree.below(node.level, child));
                    (index, below.transpose()?)
                }
            };
            way.push((node, index));
            match below {
                Some(below) => node = below,
                None => return Ok(Self { tree, way, last: Vec::new() }),
            }
        }
    }

    /// The next entry; `None` behind the last.
    ///
    /// # Errors
    /// A node cannot be read, is not what its parent says, or is out of order.
    #[allow(clippy::should_implement_trait, reason = "the item borrows from self")]
    pub fn next(&mut self) -> Result<Option<&Entry>> {
        if !self.settle()? {
            return Ok(None);
        }
        let Some((node, index)) = self.way.last_mut() else { return Ok(None) };
        let at = *index;
        *index += 1;
        let Items::Entries(entries) = &node.items else { return Ok(None) };
        let entry = &entries[at];
        // Within a leaf, decoding has checked the order.
        if at == 0 && !self.last.is_empty() && path::compare(&self.last, &entry.path).is_ge() {
            return Err(Error::corrupt(format!(
                "manifest {}: entry {:?} is out of order",
                self.tree.id(),
                path::display(&entry.path)
            )));
        }
        if at + 1 == entries.len() {
            self.last.clone_from(&entry.path);
        }
        Ok(Some(entry))
    }

    /// Goes on to a leaf that has a next entry; false at the end.
    fn settle(&mut self) -> Result<bool> {
        loop {
            let Some((node, index)) = self.way.last() else { return Ok(false) };
            let below = match &node.items {
                Items::Entries(entries) if *index < entries.len() => return Ok(true),
                Items::Entries(_) => None,
                Items::Children(children) => match children.get(*index) {
                    Some(child) => Some(self.tree.below(node.level, child)?),
                    None => None,
                },
            };
            match below {
                Some(below) => self.way.push((below, 0)),
                None => {
                    self.way.pop();
                    match self.way.last_mut() {
                        Some((_, index)) => *index += 1,
                        None => return Ok(false),
                    }
                }
            }
        }
    }
}
