//! The edits of one directory of a git tree.
//!
//! A directory may hold millions of entries, so neither the tree that is edited nor the edits become
//! more than their bytes and a few for each entry. Both are in the order of git, which sorts a
//! directory as if its name ended in a slash, and are merged while the new tree is written. Edits
//! come in the order of a manifest, which differs only in this: a directory waits until the names
//! that git sorts before it have come. All that wait begin with each other's names, so they are few.

use super::{BareRepository, BlobWriter};
use crate::entry::{EntryRef, Mode, TreeEntries};
use freestone_core::{Error, Result};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::cmp::Ordering;

/// The bytes of a tree that are written at once.
const STEP_BYTES: usize = 64 << 10;
const ID_BYTES: usize = 20;

/// The edits of one directory.
pub(super) struct DirectoryEdits {
    base: TreeEntries,
    /// Entries in the order of git: a byte for the kind, the name, a NUL, and the id unless the
    /// entry is removed.
    edits: Vec<u8>,
    /// Directories that are not in `edits` yet, the next one last.
    waiting: Vec<(Vec<u8>, Option<ObjectId>)>,
    /// The last name that became something else than a directory, or nothing.
    last: Vec<u8>,
}

/// An entry that is put or removed.
#[derive(Clone, Copy)]
struct Edit<'a> {
    name: &'a [u8],
    is_tree: bool,
    entry: Option<EntryRef<'a>>,
}

/// The kinds of edits, as they are stored.
const KINDS: [(u8, Mode); 5] = [
    (b'd', Mode::Tree),
    (b'f', Mode::File { executable: false }),
    (b'x', Mode::File { executable: true }),
    (b'l', Mode::Link),
    (b's', Mode::Submodule),
];
const REMOVED_TREE: u8 = b'D';
const REMOVED: u8 = b'-';

/// Compares names as git sorts them.
fn compare((a, a_is_tree): (&[u8], bool), (b, b_is_tree): (&[u8], bool)) -> Ordering {
    let end = |is_tree: bool| is_tree.then_some(&b'/');
    a.iter().chain(end(a_is_tree)).cmp(b.iter().chain(end(b_is_tree)))
}

/// Splits the first edit off `edits`.
fn split(edits: &[u8]) -> Option<(Edit<'_>, &[u8])> {
    let (kind, rest) = edits.split_first()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    let Some((_, mode)) = KINDS.iter().find(|(known, _)| known == kind) else {
        return Some((Edit { name, is_tree: *kind == REMOVED_TREE, entry: None }, rest));
    };
    let (id, rest) = rest.split_at_checked(ID_BYTES)?;
    let entry = EntryRef { name, mode: *mode, id };
    Some((Edit { name, is_tree: *mode == Mode::Tree, entry: Some(entry) }, rest))
}

impl DirectoryEdits {
    /// Starts with the entries `base`.
    ///
    /// # Errors
    /// They are not in the order of git.
    pub(super) fn new(base: TreeEntries) -> Result<Self> {
        let key = |entry: EntryRef<'_>| (entry.name.to_vec(), entry.mode == Mode::Tree);
        let mut before: Option<EntryRef<'_>> = None;
        for entry in base.in_tree_order() {
            if let Some(before) = before.map(key)
                && compare((&before.0, before.1), (entry.name, entry.mode == Mode::Tree)).is_ge()
            {
                return Err(Error::corrupt("a git tree is not sorted")
                    .hint("run `git fsck` for details; write to another repository"));
            }
            before = Some(entry);
        }
        Ok(Self { base, edits: Vec::new(), waiting: Vec::new(), last: Vec::new() })
    }

    /// Returns the directory with this name, as it was before the edits; `None` if there is none,
    /// or it was replaced by something else.
    pub(super) fn tree(&self, name: &[u8]) -> Option<ObjectId> {
        let found = self.base.find(name).filter(|entry| entry.mode == Mode::Tree);
        found.filter(|_| self.last != name).map(|entry| entry.to_owned().id)
    }

    /// Puts an entry that is not a directory at `name`, or removes what is there. Names must come
    /// in the order of a manifest. Returns true if this changes something.
    pub(super) fn set(&mut self, name: &[u8], wanted: Option<(Mode, ObjectId)>) -> bool {
        let before = self.base.find(name).map(|entry| entry.to_owned());
        if before.as_ref().map(|entry| (entry.mode, entry.id)) == wanted {
            return false;
        }
        let was_tree = before.as_ref().is_some_and(|entry| entry.mode == Mode::Tree);
        if wanted.is_some() || before.is_some() && !was_tree {
            self.push(name, false, wanted);
        }
        if was_tree {
            self.wait(name, None);
        }
        self.last = name.to_vec();
        true
    }

    /// Puts a directory at `name`, or removes the one that is there.
    pub(super) fn set_tree(&mut self, name: &[u8], tree: Option<ObjectId>) {
        let before = self.base.find(name).map(|entry| entry.mode);
        let replaces = tree.is_some() && before.is_some_and(|mode| mode != Mode::Tree);
        if replaces && self.last != name {
            self.push(name, false, None);
        }
        self.wait(name, tree);
    }

    /// Adds a directory to those that wait.
    fn wait(&mut self, name: &[u8], tree: Option<ObjectId>) {
        self.release((name, true));
        self.waiting.push((name.to_vec(), tree));
    }

    /// Adds the directories that git sorts before `next`.
    fn release(&mut self, next: (&[u8], bool)) {
        while let Some((name, tree)) =
            self.waiting.pop_if(|(name, _)| compare((name, true), next).is_lt())
        {
            self.add(&name, true, tree.map(|tree| (Mode::Tree, tree)));
        }
    }

    fn push(&mut self, name: &[u8], is_tree: bool, entry: Option<(Mode, ObjectId)>) {
        self.release((name, is_tree));
        self.add(name, is_tree, entry);
    }

    fn add(&mut self, name: &[u8], is_tree: bool, entry: Option<(Mode, ObjectId)>) {
        let known = entry.and_then(|(mode, _)| KINDS.iter().find(|(_, known)| *known == mode));
        self.edits.push(match known {
            Some((kind, _)) => *kind,
            None if is_tree => REMOVED_TREE,
            None => REMOVED,
        });
        self.edits.extend_from_slice(name);
        self.edits.push(0);
        if let Some((_, id)) = entry {
            self.edits.extend_from_slice(id.as_slice());
        }
    }

    /// Calls `each` with all entries of the edited directory, in the order of git, until it returns
    /// false.
    fn merged(&mut self, each: &mut dyn FnMut(EntryRef<'_>) -> Result<bool>) -> Result<()> {
        while let Some((name, tree)) = self.waiting.pop() {
            self.add(&name, true, tree.map(|tree| (Mode::Tree, tree)));
        }
        let mut base = self.base.in_tree_order().peekable();
        let mut edits = &self.edits[..];
        loop {
            let edit = split(edits);
            let order = match (base.peek(), &edit) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(entry), Some((edit, _))) => {
                    compare((entry.name, entry.mode == Mode::Tree), (edit.name, edit.is_tree))
                }
            };
            let old = if order.is_le() { base.next() } else { None };
            let entry = match edit.filter(|_| order.is_ge()) {
                Some((edit, rest)) => {
                    edits = rest;
                    edit.entry
                }
                None => old,
            };
            if let Some(entry) = entry
                && !each(entry)?
            {
                return Ok(());
            }
        }
    }

    /// Returns true if nothing is in the directory.
    pub(super) fn is_empty(&mut self) -> bool {
        let mut is_empty = true;
        let each = self.merged(&mut |_| {
            is_empty = false;
            Ok(false)
        });
        is_empty && each.is_ok()
    }

    /// Writes the tree, and returns its id.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&mut self, target: &BareRepository) -> Result<ObjectId> {
        let mut length = 0;
        self.merged(&mut |entry| {
            length += (mode_text(entry.mode).len() + entry.name.len() + 1 + ID_BYTES) as u64;
            Ok(true)
        })?;
        let mut writer = BlobWriter::of_kind(target, Kind::Tree, length)?;
        let mut bytes = Vec::new();
        self.merged(&mut |entry| {
            bytes.extend_from_slice(mode_text(entry.mode));
            bytes.extend_from_slice(entry.name);
            bytes.push(0);
            bytes.extend_from_slice(entry.id);
            if bytes.len() >= STEP_BYTES {
                writer.write(&bytes)?;
                bytes.clear();
            }
            Ok(true)
        })?;
        writer.write(&bytes)?;
        writer.finish()
    }
}

/// Returns the mode as it is in a tree, with the space after it.
fn mode_text(mode: Mode) -> &'static [u8] {
    match mode {
        Mode::Tree => b"40000 ",
        Mode::File { executable: false } => b"100644 ",
        Mode::File { executable: true } => b"100755 ",
        Mode::Link => b"120000 ",
        Mode::Submodule => b"160000 ",
    }
}
