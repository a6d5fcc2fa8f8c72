//! The parent's entries, in step with a source that yields all of its paths in order.

use freestone_core::plan::NodeSource;
use freestone_core::{Result, path};
use freestone_manifest::{Cursor, Entry, Tree};
use std::cmp::Ordering;

/// The entries of the parent that are not passed yet.
pub(crate) struct ParentEntries<'a, S> {
    cursor: Option<Cursor<'a, S>>,
    next: Option<Entry>,
}

impl<'a, S: NodeSource> ParentEntries<'a, S> {
    /// Begins at the first entry; without a parent there are none.
    ///
    /// # Errors
    /// The parent's manifest cannot be read.
    pub(crate) fn new(tree: Option<&'a Tree<S>>) -> Result<Self> {
        let mut entries = Self { cursor: tree.map(Tree::cursor), next: None };
        entries.advance()?;
        Ok(entries)
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        let next = match &mut self.cursor {
            Some(cursor) => cursor.next()?.cloned(),
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes the next entry if it is before `path`, or any next entry if that is `None`.
    ///
    /// # Errors
    /// The parent's manifest cannot be read.
    pub(crate) fn take_before(&mut self, path: Option<&[u8]>) -> Result<Option<Entry>> {
        let is_before = |entry: &Entry| {
            path.is_none_or(|path| path::compare(&entry.path, path) == Ordering::Less)
        };
        if self.next.as_ref().is_some_and(is_before) { self.advance() } else { Ok(None) }
    }

    /// Takes the entry at `path`. All entries before it were taken.
    ///
    /// # Errors
    /// The parent's manifest cannot be read.
    pub(crate) fn take_at(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        match &self.next {
            Some(entry) if entry.path == path => self.advance(),
            _ => Ok(None),
        }
    }
}
