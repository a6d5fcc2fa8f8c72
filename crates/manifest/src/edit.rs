//! Makes a new manifest from an old one and a list of changes. Only the nodes on the way to a
//! change are read and written.
//!
//! The paths alone decide where a node begins, and the path after a node decides where it ends. So
//! a subtree without changes, followed by the same path as before, is the same subtree in the new
//! manifest, if a node of its level begins at its first path there. Such a subtree is placed whole,
//! without reading it. A subtree that cannot be placed is taken apart into its items, and each of
//! these is placed if it can be.

use crate::build::{ManifestRope, NodeSink};
use crate::entry::Entry;
use crate::node::{Items, Subtree};
use crate::shape::{ClosedRope, OpenNodes};
use crate::tree::Tree;
use freestone_core::{Error, NodeSource, Result, path};
use std::cmp::Ordering;

/// The changes of an [`edit`], in manifest order.
pub trait Changes {
    /// Returns the path of the next change, and true if that path has no entry afterwards; `None`
    /// after the last change.
    ///
    /// # Errors
    /// The next change cannot be read.
    fn peek(&mut self) -> Result<Option<(&[u8], bool)>>;

    /// Takes the next change. `before` is the entry that was at its path. Returns the entry that is
    /// there afterwards, or `None`, as [`Self::peek`] announced.
    ///
    /// # Errors
    /// The entry cannot be made.
    fn take(&mut self, before: Option<&Entry>) -> Result<Option<Entry>>;
}

/// Applies `changes` to the manifest `old`, or to an empty one. Nodes that the new manifest does
/// not share with `old` go to `sink`. Returns the reference to the new root, and the sink.
///
/// # Errors
/// A node cannot be read, a change is out of order or makes an entry that is not well formed, or
/// `changes` or `sink` fail.
pub fn edit<S: NodeSource, W: NodeSink>(
    old: Option<&Tree<S>>,
    changes: &mut dyn Changes,
    sink: W,
) -> Result<(Subtree, W)> {
    let open = OpenNodes::new(ManifestRope::new(sink));
    let mut edit = Edit { old, changes, open, last: None };
    if let Some(old) = old
        && old.summary().entries > 0
    {
        let root = old.summary().clone();
        edit.subtree(old, &root, old.levels(), None)?;
    }
    edit.insert_until(None)?;
    let ClosedRope { rope, mut root, mut level, is_placed } = edit.open.finish()?;
    // A node that was placed may have a single child; then that child is the root. A root that was
    // closed here has several, and is not among the old nodes.
    while let (true, 2.., Some(old)) = (is_placed, level, edit.old) {
        match &old.below(level + 1, &root)?.items {
            Items::Children(children) if children.len() == 1 => root = children[0].clone(),
            _ => break,
        }
        level -= 1;
    }
    Ok((root, rope.sink))
}

struct Edit<'a, S, W: NodeSink> {
    old: Option<&'a Tree<S>>,
    changes: &'a mut dyn Changes,
    open: OpenNodes<ManifestRope<W>>,
    /// The path of the last change that was taken.
    last: Option<Vec<u8>>,
}

impl<S: NodeSource, W: NodeSink> Edit<'_, S, W> {
    /// Takes over the subtree at `child`, a node of `level`; `end` is the old path that follows it.
    fn subtree(
        &mut self,
        old: &Tree<S>,
        child: &Subtree,
        level: u8,
        end: Option<&[u8]>,
    ) -> Result<()> {
        if self.is_unchanged(end)? {
            let first = self.open.rope.level(&child.first);
            if self.open.begins(first, level)? {
                return self.open.place(level, child.clone());
            }
        }
        let node = old.below(level + 1, child)?;
        match &node.items {
            Items::Entries(entries) => {
                for entry in entries {
                    self.insert_until(Some(&entry.path))?;
                    self.entry(entry)?;
                }
                self.insert_until(end)
            }
            Items::Children(children) => {
                for (at, child) in children.iter().enumerate() {
                    let next = children.get(at + 1).map(|next| &next.first[..]).or(end);
                    self.subtree(old, child, level - 1, next)?;
                }
                Ok(())
            }
        }
    }

    /// Returns true if nothing changes before the old path `end`, and that path stays.
    fn is_unchanged(&mut self, end: Option<&[u8]>) -> Result<bool> {
        let Some((next, is_gone)) = self.changes.peek()? else { return Ok(true) };
        Ok(match end.map(|end| path::compare(next, end)) {
            None | Some(Ordering::Less) => false,
            Some(Ordering::Equal) => !is_gone,
            Some(Ordering::Greater) => true,
        })
    }

    /// Takes the changes before the old path `end`; the old manifest has no entries at their paths.
    fn insert_until(&mut self, end: Option<&[u8]>) -> Result<()> {
        while let Some((next, _)) = self.changes.peek()? {
            if end.is_some_and(|end| path::compare(next, end).is_ge()) {
                break;
            }
            self.take(None)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        match self.changes.peek()? {
            Some((next, _)) if next == entry.path => self.take(Some(entry)),
            _ => self.open.push(entry.clone()),
        }
    }

    fn take(&mut self, before: Option<&Entry>) -> Result<()> {
        let next = self.changes.peek()?.map(|(path, _)| path.to_vec()).unwrap_or_default();
        let entry = self.changes.take(before)?;
        let fault = match (&self.last, &entry) {
            (Some(last), _) if path::compare(last, &next).is_ge() => Some("is out of order".into()),
            (_, Some(entry)) if entry.path != next => {
                Some("is not the path that was announced".into())
            }
            (_, Some(entry)) => entry.fault(),
            (_, None) => None,
        };
        if let Some(fault) = fault {
            return Err(Error::refused(format!("path {:?} {fault}", path::display(&next))));
        }
        self.last = Some(next);
        entry.map_or(Ok(()), |entry| self.open.push(entry))
    }
}
