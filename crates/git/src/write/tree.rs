//! Makes a git tree from another one and a list of changes, in manifest order. A directory is
//! written as soon as the paths leave it, so only the directories around the current path are in
//! memory.

use super::BareRepository;
use super::edits::DirectoryEdits;
use crate::entry::{Mode, TreeEntries, entries};
use freestone_core::{Error, Result, path};
use gix_hash::ObjectId;
use gix_object::Kind;

/// The new entry of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewEntry {
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its blob.
        blob: ObjectId,
    },
    /// A symbolic link, whose text is in this blob.
    Link(ObjectId),
}

/// A directory that is being edited.
struct OpenDirectory {
    name: Vec<u8>,
    edits: DirectoryEdits,
    changed: bool,
}

/// An editor of a git tree.
pub struct TreeWriter<'a> {
    target: &'a BareRepository,
    /// The directories that contain the last path, the top first.
    open: Vec<OpenDirectory>,
}

impl<'a> TreeWriter<'a> {
    /// Starts with the tree `base`, or with an empty one.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub fn new(target: &'a BareRepository, base: Option<ObjectId>) -> Result<Self> {
        let mut writer = Self { target, open: Vec::new() };
        writer.enter(Vec::new(), base)?;
        Ok(writer)
    }

    fn enter(&mut self, name: Vec<u8>, tree: Option<ObjectId>) -> Result<()> {
        let base = match tree {
            Some(tree) => entries(&self.target.repository, tree)?,
            None => TreeEntries::default(),
        };
        let edits = DirectoryEdits::new(base)?;
        self.open.push(OpenDirectory { name, edits, changed: tree.is_none() });
        Ok(())
    }

    /// Writes the innermost directory, and puts it into the one around it.
    fn leave(&mut self) -> Result<()> {
        let Some(mut left) = self.open.pop() else { return Ok(()) };
        if !left.changed {
            return Ok(());
        }
        // Git has no empty directories.
        let tree = match left.edits.is_empty() {
            true => None,
            false => Some(left.edits.write(self.target)?),
        };
        if let Some(above) = self.open.last_mut() {
            above.changed = true;
            above.edits.set_tree(&left.name, tree);
        }
        Ok(())
    }

    /// Puts `node` at `path`, or removes the entry there. Paths must come in manifest order. A
    /// directory exists only if it contains something.
    ///
    /// # Errors
    /// Git does not accept the path, or a tree cannot be read or written.
    pub fn set(&mut self, path: &[u8], node: Option<NewEntry>) -> Result<()> {
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let Some(name) = parts.pop() else { return Ok(()) };
        let same = self.open[1..].iter().zip(&parts).take_while(|(open, part)| open.name == **part);
        let shared = same.count();
        while self.open.len() > shared + 1 {
            self.leave()?;
        }
        for part in &parts[shared..] {
            check_name(part, FileType::Directory, path)?;
            let tree = self.open.last().and_then(|open| open.edits.tree(part));
            if tree.is_none() && node.is_none() {
                return Ok(());
            }
            self.enter(part.to_vec(), tree)?;
        }
        match node {
            Some(NewEntry::Link(_)) => check_name(name, FileType::Link, path)?,
            Some(NewEntry::File { .. }) => check_name(name, FileType::File, path)?,
            None => {}
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        let wanted = node.map(|node| match node {
            NewEntry::File { executable, blob } => (Mode::File { executable }, blob),
            NewEntry::Link(blob) => (Mode::Link, blob),
        });
        open.changed |= open.edits.set(name, wanted);
        Ok(())
    }

    /// Writes the directories that are left. Returns the id of the tree.
    ///
    /// # Errors
    /// A tree cannot be written.
    pub fn finish(mut self) -> Result<ObjectId> {
        while self.open.len() > 1 {
            self.leave()?;
        }
        match self.open.pop() {
            Some(mut top) => top.edits.write(self.target),
            None => self.target.object(Kind::Tree, &[]),
        }
    }
}

fn check_name(name: &[u8], kind: FileType, whole: &[u8]) -> Result<()> {
    let shown = path::display(whole);
    if let Some(fault) = name_fault(name) {
        return Err(Error::refused(format!("path {shown}: git refuses a name that {fault}"))
            .hint("it would let a checkout change the repository itself"));
    }
    match kind_fault(name, kind) {
        None => Ok(()),
        Some(fault) => Err(Error::refused(format!("path {shown}: git refuses a {fault}"))
            .hint("git reads a file of that name, and accepts nothing else there")),
    }
}

/// The kind of the entry of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileType {
    File,
    Link,
    Directory,
}

/// Returns true if a file system may treat a name as one for which `is_bad` returns true. Some
/// ignore case, some ignore invisible characters, some split at `\`, end a name at `:`, and remove
/// dots and spaces at its end.
fn any_spelling(name: &[u8], is_bad: impl Fn(&str) -> bool) -> bool {
    let mut lower = String::from_utf8_lossy(name).to_lowercase();
    lower.retain(|c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'));
    lower.split('\\').any(|part| {
        let stem = part.split(':').next().unwrap_or_default();
        is_bad(stem.trim_end_matches([' ', '.']))
    })
}

/// Returns the reason why a name cannot be in a git tree; `None` if it can.
pub fn name_fault(name: &[u8]) -> Option<&'static str> {
    any_spelling(name, |part| matches!(part, ".git" | "git~1"))
        .then_some("means the repository itself")
}

/// Returns the description of a link or directory `name` that git accepts only as a file; `None` if
/// git accepts it. Git accepts links with the names `.gitattributes`, `.gitignore` and `.mailmap`:
/// `git fsck` warns of them, but does not report an error.
fn kind_fault(name: &[u8], kind: FileType) -> Option<&'static str> {
    let is_any = |full: &str, short: &str, hashed: &str| {
        any_spelling(name, |part| means(part, full, short, hashed))
    };
    let is_modules = || is_any(".gitmodules", "gitmod", "gi7eba");
    match kind {
        FileType::Link if is_modules() => Some("link that means .gitmodules"),
        FileType::Directory if is_modules() => Some("directory that means .gitmodules"),
        FileType::Directory if is_any(".gitattributes", "gitatt", "gi7d29") => {
            Some("directory that means .gitattributes")
        }
        _ => None,
    }
}

/// Returns true if Windows may treat `part` as `full`: the name itself, or its short name of eight
/// characters. The first four names with the same beginning have short names that begin with
/// `short`. The short names of all others begin with a prefix of `hashed`, which depends on the
/// whole name.
fn means(part: &str, full: &str, short: &str, hashed: &str) -> bool {
    if part == full {
        return true;
    }
    let Some((head, number)) = part.split_once('~') else { return false };
    let is_number = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    (head == short && matches!(number, "1" | "2" | "3" | "4"))
        || (part.len() == 8 && is_number && hashed.starts_with(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a number below `max`, another one each time.
    fn dice(state: &mut u64, max: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(*state >> 33).unwrap() % max
    }

    /// Returns all files below a tree, after checking that git would accept their order.
    fn files(target: &BareRepository, tree: ObjectId, top: &str) -> Vec<(String, ObjectId)> {
        let listed = entries(target.repository(), tree).unwrap();
        let names: Vec<(String, bool)> = listed
            .in_tree_order()
            .map(|entry| {
                (String::from_utf8(entry.name.to_vec()).unwrap(), entry.mode == Mode::Tree)
            })
            .collect();
        let key =
            |(name, is_tree): &(String, bool)| format!("{name}{}", if *is_tree { "/" } else { "" });
        assert!(names.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "{names:?}");
        let mut found = Vec::new();
        for entry in listed.iter() {
            let (path, entry) =
                (format!("{top}{}", String::from_utf8_lossy(entry.name)), entry.to_owned());
            match entry.mode {
                Mode::Tree => {
                    let below = files(target, entry.id, &format!("{path}/"));
                    assert!(!below.is_empty(), "{path} is empty");
                    found.extend(below);
                }
                _ => found.push((path, entry.id)),
            }
        }
        found
    }

    #[test]
    fn any_edits_of_any_tree_give_the_tree_of_the_files_that_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = BareRepository::open(folder.path(), "main").unwrap();
        let blobs: Vec<ObjectId> = (0..4_u8).map(|byte| target.blob(&[byte]).unwrap()).collect();
        // Names that git and a manifest sort in different orders when they are directories.
        let parts = ["a", "a!", "a!!", "a-", "a.b", "a0", "ab", "b"];
        let mut state = 1;
        let mut tree = None;
        let mut model: std::collections::BTreeMap<Vec<u8>, ObjectId> = Default::default();
        let key = |path: &str| path.replace('/', "\0").into_bytes();
        for _ in 0..400 {
            let mut after = model.clone();
            for _ in 0..=dice(&mut state, 6) {
                let depth = 1 + dice(&mut state, 3);
                let path: Vec<&str> =
                    (0..depth).map(|_| parts[dice(&mut state, parts.len())]).collect();
                let path = key(&path.join("/"));
                // A path that becomes a file loses what was below it, and the files above it go.
                after.retain(|other, _| {
                    let (short, long) =
                        if other.len() < path.len() { (other, &path) } else { (&path, other) };
                    !(long.starts_with(short)
                        && (long.len() == short.len() || long[short.len()] == 0))
                });
                if dice(&mut state, 3) > 0 {
                    after.insert(path, blobs[dice(&mut state, blobs.len())]);
                }
            }
            let mut writer = TreeWriter::new(&target, tree).unwrap();
            let paths: std::collections::BTreeSet<&Vec<u8>> =
                model.keys().chain(after.keys()).collect();
            for path in paths {
                let (old, new) = (model.get(path), after.get(path));
                if old != new {
                    let path: Vec<u8> =
                        path.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
                    let node = new.map(|blob| NewEntry::File { executable: false, blob: *blob });
                    writer.set(&path, node).unwrap();
                }
            }
            let written = writer.finish().unwrap();
            let mut expected: Vec<(String, ObjectId)> = after
                .iter()
                .map(|(path, blob)| (String::from_utf8_lossy(path).replace('\0', "/"), *blob))
                .collect();
            let mut found = files(&target, written, "");
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
            (model, tree) = (after, Some(written));
        }
    }

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

    #[test]
    fn each_part_between_backslashes_is_a_name_on_some_file_systems() {
        for bad in [
            "a\\.git",
            ".git\\config",
            "a\\.GIT. .\\config",
            "a\\git~1",
            "git~1 \\x",
            "a\\.git::$INDEX_ALLOCATION\\b",
            ".git:a\\b",
            "a\\.g\u{200c}it",
        ] {
            assert!(name_fault(bad.as_bytes()).is_some(), "{bad}");
        }
        for good in ["a\\b", "a\\git", "x.git\\a", "a:\\.gitignore", "\\", "a:.git"] {
            assert!(name_fault(good.as_bytes()).is_none(), "{good}");
        }
    }

    #[test]
    fn a_link_or_directory_that_means_the_list_of_submodules_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let target = BareRepository::open(folder.path(), "main").unwrap();
        let blob = target.blob(b"x").unwrap();
        let file = NewEntry::File { executable: false, blob };
        let set = |path: &str, node: NewEntry| {
            let mut writer = TreeWriter::new(&target, None).unwrap();
            writer.set(path.as_bytes(), Some(node)).map_err(|error| error.to_string())
        };
        assert!(set("a/.gitmodules", file).is_ok());
        assert!(set("a/.gitignore", NewEntry::Link(blob)).is_ok());
        for (path, node, said) in [
            ("a/.GitModules", NewEntry::Link(blob), "a/.GitModules: git refuses a link that means"),
            ("gitmod~1/x", file, "gitmod~1/x: git refuses a directory that means .gitmodules"),
        ] {
            let error = set(path, node).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn what_git_reads_itself_is_a_file() {
        for name in [
            ".gitmodules",
            ".GitModules",
            ".gitmodules . ",
            ".gitmodules:x",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "gi7eb~10",
            ".g\u{200c}itmodules",
            "a\\.gitmodules",
        ] {
            assert!(kind_fault(name.as_bytes(), FileType::Link).is_some(), "{name}");
            assert!(kind_fault(name.as_bytes(), FileType::Directory).is_some(), "{name}");
            assert!(kind_fault(name.as_bytes(), FileType::File).is_none(), "{name}");
        }
        for name in [".gitattributes", "gitatt~1", "gi7d29~1"] {
            assert!(kind_fault(name.as_bytes(), FileType::Directory).is_some(), "{name}");
            assert!(kind_fault(name.as_bytes(), FileType::Link).is_none(), "{name}");
        }
        for name in ["gitmodules", "gitmod~5", "gi7eba~0", ".gitignore", ".mailmap", "a~1", "~"] {
            for kind in [FileType::File, FileType::Link, FileType::Directory] {
                assert!(kind_fault(name.as_bytes(), kind).is_none(), "{name}");
            }
        }
    }
}
