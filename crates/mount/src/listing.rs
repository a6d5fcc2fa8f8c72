//! Listing a directory, a part at a time, wherever the kernel wants to go on.

use crate::revisions::RevisionTree;
use freestone_core::{Result, path};
use freestone_manifest::Entry;
use fuser::FileType;
use std::sync::Arc;

/// A directory that is open.
pub(crate) enum OpenDirectory {
    /// Names that were listed when it was opened.
    Names(Vec<(String, FileType)>),
    /// A directory of a tree, which is listed as it is read.
    Tree(TreeDirectory),
}

/// What stands directly below a directory of a tree.
pub(crate) struct TreeDirectory {
    tree: Arc<RevisionTree>,
    directory: Vec<u8>,
    /// The number of the next, and the path of the last before it.
    position: (u64, Option<Vec<u8>>),
}

impl TreeDirectory {
    pub(crate) fn new(tree: Arc<RevisionTree>, directory: Vec<u8>) -> Self {
        Self { tree, directory, position: (0, None) }
    }

    /// Gives `each` what stands there from number `from` on, with its number, until it says that
    /// it is enough.
    ///
    /// # Errors
    /// A node cannot be read.
    pub(crate) fn list(
        &mut self,
        from: u64,
        each: &mut dyn FnMut(u64, &[u8], FileType) -> bool,
    ) -> Result<()> {
        if self.position.0 != from {
            // A seek backwards, or into what another reader has left: from the start.
            self.position = (0, None);
        }
        let (mut number, mut last) = self.position.clone();
        let mut cursor = match &last {
            Some(last) => self.tree.seek(&behind(last))?,
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
                cursor = self.tree.seek(&behind(&path))?;
            }
            last = Some(path);
        }
        self.position = (number, last);
        Ok(())
    }
}

/// A path before which everything below `path` stands: what is below goes on with a `/`, which is
/// ordered as 0.
fn behind(path: &[u8]) -> Vec<u8> {
    [path, &[1]].concat()
}

fn kind(entry: &Entry) -> FileType {
    if entry.is_directory() { FileType::Directory } else { FileType::RegularFile }
}
