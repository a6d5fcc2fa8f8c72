//! The tree of a commit as a source: all of it, or the differences from another tree.
//!
//! Both trees are read in parallel, with names in manifest order. Equal subtrees are not read, so
//! the cost depends on the number of changes. A symbolic link is pushed as its target, which may
//! change while the link does not. So if the other tree has links, all links of this tree are
//! listed, and each target is compared.
//!
//! A tree may have far more paths than it has entries (`paths.rs`). This is checked only after
//! many paths were returned, since counting reads the whole tree.

use crate::blob;
use crate::entry::{EntryRef, Mode, TreeEntries, TreeEntry, entries};
use crate::links::{LinkTarget, Links};
use crate::paths;
use crate::repository::Repository;
use freestone_core::item::{ChangeKind, ChangeSource, FileBytes, ItemChange};
use freestone_core::limits::PATH_BYTES_MAX;
use freestone_core::{Error, Result, lock, path};
use freestone_source::report::{Reason, SourceReport};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The number of differences after which the paths of the trees are counted.
const UNCOUNTED_MAX: u64 = 1 << 16;

/// The name of a file of attributes.
const ATTRIBUTES: &[u8] = b".gitattributes";
/// The longest such file that is looked at; git itself reads no more than 100 MiB.
const ATTRIBUTES_BYTES_MAX: u64 = 1 << 20;
/// The attribute of paths that `git archive` leaves out.
const MARK: &[u8] = b"export-ignore";

/// The label with the number of links in the tree.
pub const LABEL_LINKS: &str = "git.links";
/// The label with the number of entries that were skipped.
pub const LABEL_SKIPPED: &str = "git.skipped";

/// Options of a [`TreeChanges`].
pub struct TreeOptions {
    /// Whether paths that cannot be pushed are skipped and reported, instead of making the push
    /// fail.
    pub skip_special: bool,
    /// The tree of the parent revision, which must hold all of it, and whether that tree has links.
    /// `None` returns the whole tree instead of the differences.
    pub since: Option<(ObjectId, bool)>,
}

/// A source that returns a tree, or its differences from another tree, path by path.
pub struct TreeChanges<'a> {
    repository: &'a Repository,
    skip_special: bool,
    /// The directories that are read, the innermost last.
    frames: Vec<Frame>,
    links: Links<'a>,
    /// Links whose targets differ between the trees, by path. The links themselves may be equal.
    moved: BTreeMap<Vec<u8>, LinkTarget>,
    /// The number of links: of all if they were listed, else of those returned so far.
    links_count: u64,
    links_listed: bool,
    /// The trees that are compared.
    trees: [Option<ObjectId>; 2],
    /// The number of differences that were found.
    found: u64,
    /// Whether the last difference took an entry of the old tree, and of the new one.
    taken: (bool, bool),
    report: SourceReport,
    reported: Arc<Mutex<SourceReport>>,
}

/// A path, and its entries in the old and in the new tree.
type Difference = (Vec<u8>, Option<TreeEntry>, Option<TreeEntry>);

/// A directory in both trees.
struct Frame {
    path: Vec<u8>,
    old: TreeCursor,
    new: TreeCursor,
}

/// The entries of a tree that are left to read.
#[derive(Default)]
struct TreeCursor {
    entries: TreeEntries,
    at: usize,
}

impl TreeCursor {
    fn peek(&self) -> Option<EntryRef<'_>> {
        (self.at < self.entries.len()).then(|| self.entries.get(self.at))
    }

    fn next(&mut self) -> Option<TreeEntry> {
        let entry = self.peek()?.to_owned();
        self.at += 1;
        Some(entry)
    }
}

impl<'a> TreeChanges<'a> {
    /// Opens the tree `tree` as a source. What was skipped is in `reported` when the source has
    /// ended.
    ///
    /// # Errors
    /// A tree cannot be read.
    pub fn new(
        repository: &'a Repository,
        tree: ObjectId,
        options: &TreeOptions,
        reported: Arc<Mutex<SourceReport>>,
    ) -> Result<Self> {
        let links = Links::new(repository, tree);
        let mut changes = Self {
            repository,
            skip_special: options.skip_special,
            frames: Vec::new(),
            links,
            moved: BTreeMap::new(),
            links_count: 0,
            links_listed: false,
            trees: [options.since.map(|(old, _)| old), Some(tree)],
            found: 0,
            taken: (false, false),
            report: SourceReport::default(),
            reported,
        };
        if let Some((old, true)) = options.since {
            paths::check(repository, tree)?;
            let listed = changes.links.list()?;
            changes.links_count = listed.len() as u64;
            changes.links_listed = true;
            let before = Links::new(repository, old);
            for link in listed {
                let target = changes.links.target(&link)?;
                if Some(&target) != before.target_if_link(&link)?.as_ref() {
                    changes.moved.insert(path_key(&link), target);
                }
            }
        }
        // It may be older than the differences.
        if let Some(TreeEntry { mode: Mode::File { .. }, id, .. }) = changes.links.at(ATTRIBUTES)? {
            changes.note_attributes(ATTRIBUTES, id)?;
        }
        let old = options.since.map(|(old, _)| old);
        changes.enter(Vec::new(), old, Some(tree))?;
        Ok(changes)
    }

    fn enter(&mut self, path: Vec<u8>, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let read = |id: Option<ObjectId>| match id {
            None => Ok(TreeCursor::default()),
            Some(id) => Ok(TreeCursor { entries: entries(self.repository, id)?, at: 0 }),
        };
        let (old, new) = (read(old)?, read(new)?);
        self.frames.push(Frame { path, old, new });
        Ok(())
    }

    /// Returns the next path that differs, with its entries in both trees.
    fn step(&mut self) -> Result<Option<Difference>> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            let order = match (frame.old.peek(), frame.new.peek()) {
                (None, None) => {
                    self.frames.pop();
                    continue;
                }
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.name.cmp(new.name),
            };
            let old = if order.is_le() { frame.old.next() } else { None };
            let new = if order.is_ge() { frame.new.next() } else { None };
            if let (Some(old), Some(new)) = (&old, &new)
                && old.id == new.id
                && old.mode == new.mode
            {
                continue;
            }
            let (old, old_kept) = (old.is_some(), self.kept(old)?);
            let (new, new_kept) = (new.is_some(), self.kept(new)?);
            self.report.version_control_count += u64::from(new && new_kept.is_none());
            self.taken = (old, new);
            let (old, new) = (old_kept, new_kept);
            let Some(frame) = self.frames.last() else { return Ok(None) };
            if old.is_none() && new.is_none() {
                continue;
            }
            let name = new.as_ref().or(old.as_ref()).map_or(&[][..], |entry| &entry.name);
            let mut path = frame.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            self.found += 1;
            if self.found == UNCOUNTED_MAX {
                for tree in self.trees.into_iter().flatten() {
                    paths::check(self.repository, tree)?;
                }
            }
            if path.len() > PATH_BYTES_MAX {
                if new.is_some() {
                    path.truncate(PATH_BYTES_MAX);
                    self.report.refuse(&path, Reason::PathLong);
                }
                continue;
            }
            return Ok(Some((path, old, new)));
        }
    }

    /// Returns an entry unless it belongs to version control.
    fn kept(&self, entry: Option<TreeEntry>) -> Result<Option<TreeEntry>> {
        match entry {
            Some(entry) if self.repository.is_version_control(&entry)? => Ok(None),
            entry => Ok(entry),
        }
    }

    /// Notes a file of attributes that marks paths for `git archive`.
    fn note_attributes(&mut self, path: &[u8], blob: ObjectId) -> Result<()> {
        let is_short = |size| size <= ATTRIBUTES_BYTES_MAX;
        if self.report.export_attributes.is_some()
            || !self.repository.header(blob).is_some_and(|header| is_short(header.size()))
        {
            return Ok(());
        }
        let text = self.repository.need(blob, Kind::Blob)?;
        if text.windows(MARK.len()).any(|part| part == MARK) {
            self.report.export_attributes = Some(path.to_vec());
        }
        Ok(())
    }

    fn change(
        &mut self,
        path: Vec<u8>,
        old: Option<TreeEntry>,
        new: Option<TreeEntry>,
    ) -> Result<Option<ItemChange>> {
        let tree_of = |entry: &Option<TreeEntry>| {
            entry.as_ref().filter(|entry| entry.mode == Mode::Tree).map(|entry| entry.id)
        };
        let (old_tree, new_tree) = (tree_of(&old), tree_of(&new));
        self.enter(path.clone(), old_tree, new_tree)?;
        let kind = match new {
            // A directory in both trees is not a change itself.
            Some(_) if new_tree.is_some() && old_tree.is_some() => return Ok(None),
            None => ChangeKind::Gone,
            Some(entry) => match entry.mode {
                Mode::Tree => ChangeKind::Directory,
                Mode::File { executable } => {
                    if path == ATTRIBUTES || path.ends_with(b"/.gitattributes") {
                        self.note_attributes(&path, entry.id)?;
                    }
                    let bytes = FileBytes::Named(blob::name(entry.id));
                    ChangeKind::File { executable, link: None, bytes }
                }
                Mode::Link => {
                    self.links_count += u64::from(!self.links_listed);
                    let target = self.links.target(&path)?;
                    return Ok(self.link(path, target));
                }
                Mode::Submodule => {
                    self.report.refuse(&path, Reason::Submodule);
                    ChangeKind::Gone
                }
            },
        };
        Ok(Some(ItemChange { path, kind }))
    }

    fn link(&mut self, path: Vec<u8>, target: LinkTarget) -> Option<ItemChange> {
        let kind = match target {
            LinkTarget::File { executable, blob, text } => ChangeKind::File {
                executable,
                link: Some(text),
                bytes: FileBytes::Named(blob::name(blob)),
            },
            LinkTarget::Refused(reason) => {
                self.report.refuse(&path, reason);
                ChangeKind::Gone
            }
        };
        Some(ItemChange { path, kind })
    }
}

/// Returns a path as a key that sorts in manifest order.
fn path_key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

fn key_path(key: Vec<u8>) -> Vec<u8> {
    key.into_iter().map(|byte| if byte == 0 { b'/' } else { byte }).collect()
}

impl ChangeSource for TreeChanges<'_> {
    fn next(&mut self) -> Result<Option<ItemChange>> {
        loop {
            let Some((path, old, new)) = self.step()? else {
                let Some((key, target)) = self.moved.pop_first() else { return Ok(None) };
                return Ok(self.link(key_path(key), target));
            };
            let key = path_key(&path);
            if let Some(first) = self.moved.first_key_value().map(|(first, _)| first.clone())
                && first <= key
            {
                let target = self.moved.remove(&first);
                if first < key {
                    // The link comes first. The other path is returned later.
                    self.put_back();
                    if let Some(target) = target {
                        return Ok(self.link(key_path(first), target));
                    }
                    continue;
                }
            }
            if let Some(change) = self.change(path, old, new)? {
                return Ok(Some(change));
            }
        }
    }

    fn refuse(&mut self, path: &[u8], why: Error) -> Result<()> {
        let reason = Reason::LfsPointer;
        if why.to_string() != reason.to_string() {
            return Err(why.context(path::display(path)));
        }
        self.report.refuse(path, reason);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<(String, String)>> {
        lock(&self.reported).clone_from(&self.report);
        let hint = "remove them from the commit, or skip them with --skip-special";
        if let Some(error) = self.report.error_with(hint).filter(|_| !self.skip_special) {
            return Err(error);
        }
        let labels = [(LABEL_LINKS, self.links_count), (LABEL_SKIPPED, self.report.refused_count)];
        let said = labels.iter().filter(|(_, count)| *count > 0);
        Ok(said.map(|(key, count)| ((*key).to_owned(), count.to_string())).collect())
    }
}

impl TreeChanges<'_> {
    /// Puts back the entries of the last difference.
    fn put_back(&mut self) {
        let (is_old, is_new) = self.taken;
        if let Some(frame) = self.frames.last_mut() {
            frame.old.at -= usize::from(is_old);
            frame.new.at -= usize::from(is_new);
        }
    }
}
