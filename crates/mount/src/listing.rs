//! Lists an open directory, a part at a time, from any position that the kernel asks for.

use crate::revisions::RevisionTree;
use freestone_core::{Result, path};
use freestone_manifest::Entry;
use fuser::FileType;
use std::sync::Arc;

/// An open directory.
pub(crate) enum OpenDirectory {
    /// Names that were listed when it was opened.
    Names(Vec<(String, FileType)>),
    /// A directory of a tree, which is read while it is listed.
    Tree(TreeDirectory),
}

/// The entries directly in a directory of a tree.
pub(crate) struct TreeDirectory {
    tree: Arc<RevisionTree>,
    directory: Vec<u8>,
    /// The number of the next entry, and the path of the entry before it.
    position: (u64, Option<Vec<u8>>),
}

impl TreeDirectory {
    /// Opens `directory`, a path of `tree`; the empty path is the root.
    pub(crate) fn new(tree: Arc<RevisionTree>, directory: Vec<u8>) -> Self {
        Self { tree, directory, position: (0, None) }
    }

    /// Calls `each` with the entries from number `from` on, and their numbers, until it returns
    /// false.
    ///
    /// # Errors
    /// A node of the manifest cannot be read.
    pub(crate) fn list(
        &mut self,
        from: u64,
        each: &mut dyn FnMut(u64, &[u8], FileType) -> bool,
    ) -> Result<()> {
        if self.position.0 != from {
            // The kernel seeks; only the start and the current position are known.
            self.position = (0, None);
        }
        let (mut number, mut last) = self.position.clone();
        let mut cursor = match &last {
            Some(last) => self.tree.seek(&after_all_below(last))?,
            None => {
                let mut cursor = self.tree.seek(&self.directory)?;
                if !self.directory.is_empty() {
                    cursor.next()?;
                }
                cursor
            }
        };
        let skipped = if self.directory.is_empty() { 0 } else { self.directory.len() + 1 };
        while let Some(entry) = cursor.next()? {
            if !path::is_below(&entry.path, &self.directory) {
                break;
            }
            let name = &entry.path[skipped..];
            let (path, kind) = (entry.path.clone(), kind(entry));
            if number >= from && !each(number, name, kind) {
                break;
            }
            number += 1;
            if kind == FileType::Directory {
                cursor = self.tree.seek(&after_all_below(&path))?;
            }
            last = Some(path);
        }
        self.position = (number, last);
        Ok(())
    }
}

/// Returns a path that is ordered after everything below `path`, where `/` is ordered as 0.
fn after_all_below(path: &[u8]) -> Vec<u8> {
    [path, &[1]].concat()
}

/// Returns the file type of an entry.
fn kind(entry: &Entry) -> FileType {
    if entry.is_directory() { FileType::Directory } else { FileType::RegularFile }
}
