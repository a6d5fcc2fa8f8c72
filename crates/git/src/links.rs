//! Follows the symbolic links of a tree.

use crate::commit::Commit;
use crate::entry::{Mode, TreeEntries, TreeEntry, entries};
use crate::repository::Repository;
use freestone_core::limits::LINK_BYTES_MAX;
use freestone_core::{Result, lock, path};
use freestone_source::follow::{Found, follow};
use freestone_source::report::Reason;
use gix_hash::ObjectId;
use gix_object::Kind;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// The most decoded trees that are kept while links are followed.
const TREES_MAX: usize = 1024;
/// The most entries of these trees together.
const TREE_ENTRIES_MAX: usize = 1 << 20;
/// The longest blob that is read as the text of a link. A longer one is refused by its length.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The target of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    /// A file, with the link's text.
    File { executable: bool, blob: ObjectId, text: Vec<u8> },
    /// The link cannot be pushed.
    Refused(Reason),
}

/// The symbolic links of a tree.
pub(crate) struct Links<'a> {
    repository: &'a Repository,
    root: ObjectId,
    trees: Mutex<HashMap<ObjectId, Arc<TreeEntries>>>,
}

impl<'a> Links<'a> {
    pub(crate) fn new(repository: &'a Repository, root: ObjectId) -> Self {
        Self { repository, root, trees: Mutex::default() }
    }

    fn tree(&self, id: ObjectId) -> Result<Arc<TreeEntries>> {
        if let Some(tree) = lock(&self.trees).get(&id) {
            return Ok(tree.clone());
        }
        let tree = Arc::new(entries(self.repository, id)?);
        let mut trees = lock(&self.trees);
        let kept: usize = trees.values().map(|tree| tree.len()).sum();
        if trees.len() >= TREES_MAX || kept + tree.len() > TREE_ENTRIES_MAX {
            trees.clear();
        }
        trees.insert(id, tree.clone());
        Ok(tree)
    }

    /// Returns the entry at `path`, without following links.
    pub(crate) fn at(&self, path: &[u8]) -> Result<Option<TreeEntry>> {
        let mut tree = self.root;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            let entries = self.tree(tree)?;
            let Some(entry) = entries.find(part).map(|entry| entry.to_owned()) else {
                return Ok(None);
            };
            if parts.peek().is_none() {
                return Ok(Some(entry));
            }
            if entry.mode != Mode::Tree {
                return Ok(None);
            }
            tree = entry.id;
        }
        Ok(None)
    }

    /// Reads the text of a link. A text that is too long is cut one byte above the limit.
    fn text(&self, blob: ObjectId) -> Result<Vec<u8>> {
        if self.repository.header(blob).is_some_and(|header| header.size() > TEXT_BYTES_MAX) {
            return Ok(vec![b'x'; LINK_BYTES_MAX + 1]);
        }
        let mut text = self.repository.need(blob, Kind::Blob)?;
        text.truncate(LINK_BYTES_MAX + 1);
        Ok(text)
    }

    /// Returns the target of the link at `path`.
    pub(crate) fn target(&self, path: &[u8]) -> Result<LinkTarget> {
        Ok(self.target_if_link(path)?.unwrap_or(LinkTarget::Refused(Reason::LinkDangling)))
    }

    /// Returns the target of the link at `path`; `None` if there is no link.
    pub(crate) fn target_if_link(&self, path: &[u8]) -> Result<Option<LinkTarget>> {
        let Some(TreeEntry { mode: Mode::Link, id, .. }) = self.at(path)? else { return Ok(None) };
        let text = self.text(id)?;
        let last: Rc<RefCell<Option<TreeEntry>>> = Rc::default();
        let mut look = |path: &[u8]| {
            let found = self.at(path)?;
            let kind = match &found {
                None => Found::Nothing,
                Some(entry) => match entry.mode {
                    Mode::Tree => Found::Directory,
                    Mode::File { .. } => Found::File,
                    Mode::Link => Found::Link(self.text(entry.id)?),
                    // A submodule is a directory whose files are not in the repository.
                    Mode::Submodule => Found::Special,
                },
            };
            *last.borrow_mut() = found;
            Ok(kind)
        };
        let target = follow(path, &text, &mut look)?;
        Ok(Some(match (target, last.take()) {
            (Ok(_), Some(TreeEntry { mode: Mode::File { executable }, id, .. })) => {
                LinkTarget::File { executable, blob: id, text }
            }
            (Ok(_), _) => LinkTarget::Refused(Reason::LinkDangling),
            (Err(reason), _) => LinkTarget::Refused(reason),
        }))
    }

    /// Returns the paths of all links.
    pub(crate) fn list(&self) -> Result<Vec<Vec<u8>>> {
        let mut links = Vec::new();
        let mut open = vec![(Vec::new(), self.root)];
        while let Some((top, tree)) = open.pop() {
            for entry in entries(self.repository, tree)?.iter() {
                let mut path: Vec<u8> = top.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(entry.name);
                if self.repository.is_version_control(&entry.to_owned())? {
                    continue;
                }
                match entry.mode {
                    Mode::Tree if path.len() <= freestone_core::limits::PATH_BYTES_MAX => {
                        open.push((path, ObjectId::from_bytes_or_panic(entry.id)));
                    }
                    Mode::Link if path::fault(&path).is_none() => links.push(path),
                    _ => {}
                }
            }
        }
        Ok(links)
    }

    /// Returns the tree at `path`, or the root if `path` is empty; `None` if there is no directory.
    pub(crate) fn subtree(&self, path: &[u8]) -> Result<Option<ObjectId>> {
        if path.is_empty() {
            return Ok(Some(self.root));
        }
        let found = self.at(path)?;
        Ok(found.filter(|entry| entry.mode == Mode::Tree).map(|entry| entry.id))
    }
}

impl Repository {
    /// Returns the tree of the directory `subdir` of a commit, or its whole tree if `subdir` is
    /// empty; `None` if there is no such directory.
    ///
    /// # Errors
    /// A tree cannot be read.
    pub fn tree_of(&self, commit: &Commit, subdir: &[u8]) -> Result<Option<ObjectId>> {
        Links::new(self, commit.tree).subtree(subdir)
    }
}
