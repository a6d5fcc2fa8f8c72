//! Walks the entries of a manifest in order, from any position.

use crate::entry::{Entry, placement_fault};
use crate::node::{Items, Node, Subtree};
use crate::tree::Tree;
use freestone_core::{Error, NodeSource, Result, path};
use std::sync::Arc;

/// A position between two entries of a manifest.
pub struct Cursor<'a, S> {
    tree: &'a Tree<S>,
    /// The path from the root to the next entry: inner nodes with the index of the open child, then
    /// the leaf with the index of the next entry.
    way: Vec<(Arc<Node>, usize)>,
    /// The last entry of the leaf before this one.
    last: Last,
    /// Whether entries are passed on that cannot follow the one before them.
    is_lenient: bool,
}

/// The entry before a position.
enum Last {
    /// There is none: the position is before the first entry.
    Start,
    /// Its path, and whether it is a directory.
    Entry(Vec<u8>, bool),
    /// It could not be read: it may be damaged, or not here.
    Unknown,
}

impl From<&Entry> for Last {
    fn from(entry: &Entry) -> Self {
        Self::Entry(entry.path.clone(), entry.is_directory())
    }
}

impl<'a, S: NodeSource> Cursor<'a, S> {
    pub(crate) fn at_start(tree: &'a Tree<S>) -> Self {
        Self { tree, way: vec![(tree.root().clone(), 0)], last: Last::Start, is_lenient: false }
    }

    /// Passes on entries also where they cannot follow the one before them, as long as they are in
    /// order: for a caller that reports each of them.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { is_lenient: true, ..self }
    }

    /// Descends from the root; the functions return the index of the item to take in each node. An
    /// index after the last item means the position after everything in the node.
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
                None => break,
            }
        }
        let last = Self::before(tree, &way).unwrap_or(Last::Unknown);
        Ok(Self { tree, way, last, is_lenient: false })
    }

    /// Returns the entry before a position.
    fn before(tree: &Tree<S>, way: &[(Arc<Node>, usize)]) -> Result<Last> {
        let Some((node, index)) = way.iter().rev().find(|(_, index)| *index > 0) else {
            return Ok(Last::Start);
        };
        let mut node = node.clone();
        let mut index = index.saturating_sub(1);
        loop {
            let below = match &node.items {
                Items::Entries(entries) => {
                    return Ok(entries.get(index).map_or(Last::Unknown, Last::from));
                }
                Items::Children(children) => match children.get(index) {
                    Some(child) => tree.below(node.level, child)?,
                    None => return Ok(Last::Unknown),
                },
            };
            index = match &below.items {
                Items::Entries(entries) => entries.len(),
                Items::Children(children) => children.len(),
            };
            index = index.saturating_sub(1);
            node = below;
        }
    }

    /// Returns the next entry; `None` after the last.
    ///
    /// # Errors
    /// A node cannot be read, does not agree with its parent, or is out of order; or the entry is
    /// in a directory that has no entry.
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
        let before = match (at.checked_sub(1), &self.last) {
            (Some(before), _) => Some((&entries[before].path[..], entries[before].is_directory())),
            (None, Last::Entry(path, is_directory)) => Some((&path[..], *is_directory)),
            (None, _) => None,
        };
        let is_unknown = at == 0 && matches!(self.last, Last::Unknown);
        // Within a leaf, decoding has checked the order.
        let is_late = |(path, _)| at == 0 && path::compare(path, &entry.path).is_ge();
        let fault = match self.is_lenient || is_unknown {
            true => before.is_some_and(is_late).then_some("is out of order"),
            false => placement_fault(before, &entry.path),
        };
        if let Some(fault) = fault {
            return Err(Error::corrupt(format!(
                "manifest {}: entry {:?} {fault}",
                self.tree.id(),
                path::display(&entry.path)
            )));
        }
        if at + 1 == entries.len() {
            self.last = Last::from(entry);
        }
        Ok(Some(entry))
    }

    /// Moves to a leaf that has a next entry. Returns false at the end.
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
