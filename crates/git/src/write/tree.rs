//! A tree from another and what changed, paths in manifest order: a directory is written as soon as
//! the paths leave it, and only those on the way are held.

use super::Target;
use crate::tree::{Mode, entries};
use freestone_core::{Error, Result, path};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::collections::BTreeMap;

/// What is to stand at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File {
        /// Whether it is executable.
        executable: bool,
        /// Its blob.
        blob: ObjectId,
    },
    /// A symbolic link, whose text is this blob.
    Link(ObjectId),
}

/// A directory that is open.
struct Open {
    name: Vec<u8>,
    entries: BTreeMap<Vec<u8>, (Mode, ObjectId)>,
    changed: bool,
}

/// Edits a tree.
pub struct TreeWriter<'a> {
    target: &'a Target,
    /// The directories that the last path lies in; the top first.
    open: Vec<Open>,
}

impl<'a> TreeWriter<'a> {
    /// Begins with the tree `base`, or with an empty one.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub fn new(target: &'a Target, base: Option<ObjectId>) -> Result<Self> {
        let mut writer = Self { target, open: Vec::new() };
        writer.enter(Vec::new(), base)?;
        Ok(writer)
    }

    fn enter(&mut self, name: Vec<u8>, tree: Option<ObjectId>) -> Result<()> {
        let listed = match tree {
            Some(tree) => entries(&self.target.repository, tree)?,
            None => Vec::new(),
        };
        let entries = listed.into_iter().map(|entry| (entry.name, (entry.mode, entry.id)));
        self.open.push(Open { name, entries: entries.collect(), changed: tree.is_none() });
        Ok(())
    }

    /// Writes the innermost directory, and enters it where it stands.
    fn leave(&mut self) -> Result<()> {
        let Some(left) = self.open.pop() else { return Ok(()) };
        if !left.changed {
            return Ok(());
        }
        let is_empty = left.entries.is_empty();
        let tree = if is_empty { None } else { Some(self.write(&left)?) };
        if let Some(above) = self.open.last_mut() {
            above.changed = true;
            match tree {
                Some(tree) => above.entries.insert(left.name, (Mode::Tree, tree)),
                // Git has no empty directories.
                None => above.entries.remove(&left.name),
            };
        }
        Ok(())
    }

    fn write(&self, directory: &Open) -> Result<ObjectId> {
        let mut sorted: Vec<_> = directory.entries.iter().collect();
        // Git sorts a directory as if its name ended in a slash.
        let key = |name: &[u8], mode: Mode| match mode {
            Mode::Tree => [name, b"/"].concat(),
            _ => name.to_vec(),
        };
        sorted.sort_by_cached_key(|(name, (mode, _))| key(name, *mode));
        let mut bytes = Vec::new();
        for (name, (mode, id)) in sorted {
            bytes.extend_from_slice(match mode {
                Mode::Tree => b"40000 ",
                Mode::File { executable: false } => b"100644 ",
                Mode::File { executable: true } => b"100755 ",
                Mode::Link => b"120000 ",
                Mode::Submodule => b"160000 ",
            });
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(id.as_slice());
        }
        self.target.object(Kind::Tree, &bytes)
    }

    /// Puts `node` at `path`, or takes away what stands there. Paths come in manifest order; a
    /// directory is there when something is in it.
    ///
    /// # Errors
    /// The path cannot stand in git, or a tree cannot be read or written.
    pub fn set(&mut self, path: &[u8], node: Option<Node>) -> Result<()> {
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let Some(name) = parts.pop() else { return Ok(()) };
        let same = self.open[1..].iter().zip(&parts).take_while(|(open, part)| open.name == **part);
        let shared = same.count();
        while self.open.len() > shared + 1 {
            self.leave()?;
        }
        for part in &parts[shared..] {
            check_name(part, path)?;
            let at = self.open.last().and_then(|open| open.entries.get(*part)).copied();
            let tree = match at {
                Some((Mode::Tree, tree)) => Some(tree),
                _ if node.is_none() => return Ok(()),
                _ => None,
            };
            self.enter(part.to_vec(), tree)?;
        }
        if node.is_some() {
            check_name(name, path)?;
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let wanted = node.map(|node| match node {
            Node::File { executable, blob } => (Mode::File { executable }, blob),
            Node::Link(blob) => (Mode::Link, blob),
        });
        let before = open.entries.get(name).copied();
        if before != wanted {
            open.changed = true;
            match wanted {
                Some(entry) => open.entries.insert(name.to_vec(), entry),
                None => open.entries.remove(name),
            };
        }
        Ok(())
    }

    /// Writes what is left; gives the tree.
    ///
    /// # Errors
    /// A tree cannot be written.
    pub fn finish(mut self) -> Result<ObjectId> {
        while self.open.len() > 1 {
            self.leave()?;
        }
        match self.open.pop() {
            Some(top) => self.write(&top),
            None => self.target.object(Kind::Tree, &[]),
        }
    }
}

fn check_name(name: &[u8], whole: &[u8]) -> Result<()> {
    match name_fault(name) {
        None => Ok(()),
        Some(fault) => Err(Error::refused(format!(
            "path {}: git takes no name that {fault}",
            path::display(whole)
        ))
        .hint("it would let a checkout change the repository itself")),
    }
}

/// Why a name cannot stand in a tree of git's.
pub fn name_fault(name: &[u8]) -> Option<&'static str> {
    // Some file systems take these for `.git` too: in any case, shortened, with trailing dots or
    // spaces, or with characters that do not show.
    let lower = String::from_utf8_lossy(name).to_lowercase();
    let shown: String = lower
        .chars()
        .filter(|c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .collect();
    let stem = shown.split(':').next().unwrap_or_default().trim_end_matches([' ', '.']);
    (matches!(stem, ".git" | "git~1")
        || name.contains(&b'\\') && shown.split('\\').any(|part| part == ".git"))
    .then_some("means the repository itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_the_repository_are_known() {
        for bad in
            [".git", ".GIT", ".Git ", ".git.", "git~1", "GIT~1", ".g\u{200c}it", ".git::$INDEX"]
        {
            assert!(name_fault(bad.as_bytes()).is_some(), "{bad}");
        }
        for good in [".gitignore", "git", ".g", "git~2", "x.git", ".gitmodules", ".well-known"] {
            assert!(name_fault(good.as_bytes()).is_none(), "{good}");
        }
    }
}
