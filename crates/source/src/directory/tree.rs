//! The directory that is pushed: opens files in it, and nothing outside.
//!
//! Paths are resolved below the open directory, without following any link ([`Folder`]). Links are
//! followed by [`super::link`], which opens every part of the way here.

use freestone_core::{Error, ErrorKind, Result, path};
use freestone_files::Folder;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

/// Flags to open a directory for listing it.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Flags to examine a file of any kind without opening it.
pub(super) const LOOK: OFlags = OFlags::PATH;

/// Flags to read a file. A pipe or device in its place must neither block nor become the
/// process's terminal.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// The most links that are remembered. If there are more, every link to a file inside counts as one
/// that was listed. It bounds the memory, at a hash of eight bytes per link.
const LINKS_REMEMBERED_MAX: usize = 1 << 18;

/// The directory, shared by the walk and the openers.
pub(super) struct Tree {
    root: Folder,
    /// The absolute paths of the directory: the canonical one, and the one that was given.
    addresses: [PathBuf; 2],
    /// The paths inside the directory that must not be pushed.
    left_out: HashSet<Vec<u8>>,
    links: RwLock<Links>,
}

/// Hashes of the paths of the links that were listed as files.
#[derive(Default)]
struct Links {
    hasher: RandomState,
    hashes: HashSet<u64>,
    full: bool,
}

impl Tree {
    /// Opens the directory `place`; the paths of `left_out` must not be pushed.
    ///
    /// # Errors
    /// It is missing, not a directory, unreadable, or itself a path of `left_out`.
    pub(super) fn open(place: &Path, left_out: &[PathBuf]) -> Result<Self> {
        let name = path::display(place.as_os_str().as_bytes());
        let cannot = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(format!("{name} does not exist"))
                .hint("give a directory; its contents become the revision"),
            std::io::ErrorKind::NotADirectory => {
                Error::new(ErrorKind::Usage, format!("{name} is not a directory"))
                    .hint("give the directory that holds the files to push")
            }
            _ => Error::io(format!("directory {name} cannot be opened"), error)
                .hint("it must be readable by the user who runs this"),
        };
        if place.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the name of a directory is empty")
                .hint("give a directory, or . for the current one"));
        }
        let canonical = place.canonicalize().map_err(cannot)?;
        let root = Folder::open(&canonical).map_err(cannot)?;
        let given = std::path::absolute(place).map_err(cannot)?;
        let mut inside = HashSet::new();
        for thing in left_out {
            let thing = canonical_or_new(thing);
            if let Ok(below) = thing.strip_prefix(&canonical) {
                if below.as_os_str().is_empty() {
                    return Err(Error::new(
                        ErrorKind::Usage,
                        format!("directory {name} must not be pushed"),
                    )
                    .hint("give a directory that is neither the store nor the output"));
                }
                inside.insert(below.as_os_str().as_bytes().to_vec());
            }
        }
        Ok(Self { root, addresses: [canonical, given], left_out: inside, links: RwLock::default() })
    }

    /// Returns true if `path` must not be pushed.
    pub(super) fn leaves_out(&self, path: &[u8]) -> bool {
        !self.left_out.is_empty() && self.left_out.contains(path)
    }

    /// Returns the part of the absolute path `text` after the directory's own path; `None` if
    /// `text` does not begin with that path.
    pub(super) fn below<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        self.addresses.iter().find_map(|address| {
            let mut rest = text;
            let mut parts = address.as_os_str().as_bytes().split(|byte| *byte == b'/');
            parts.try_for_each(|part| {
                if part.is_empty() {
                    return Some(());
                }
                while let Some(more) = rest.strip_prefix(b"/").or(rest.strip_prefix(b"./")) {
                    rest = more;
                }
                rest = rest.strip_prefix(part)?;
                (rest.is_empty() || rest[0] == b'/').then_some(())
            })?;
            Some(rest)
        })
    }

    /// Remembers that the link at `path` was listed as a file.
    pub(super) fn remember_link(&self, path: &[u8]) {
        let mut links = self.links.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hash = links.hasher.hash_one(path);
        if links.hashes.len() < LINKS_REMEMBERED_MAX {
            links.hashes.insert(hash);
        } else {
            links.full = true;
        }
    }

    /// Returns true if a link at `path` was listed as a file, as far as links are remembered.
    pub(super) fn is_listed_link(&self, path: &[u8]) -> bool {
        let links = self.links.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        links.full || links.hashes.contains(&links.hasher.hash_one(path))
    }

    /// Opens `path` in the directory, or the directory itself if `path` is empty. No link is
    /// followed: with [`LOOK`] a link at the end is opened itself, any other link is an error.
    pub(super) fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if !path.is_empty() && path::fault(path).is_some() {
            return Err(Errno::INVAL);
        }
        self.root.open_at(OsStr::from_bytes(path), flags, Mode::empty())
    }

    #[cfg(test)]
    pub(super) fn without_openat2(self) -> Self {
        Self { root: self.root.without_openat2(), ..self }
    }
}

/// Returns the canonical path of `place`, which need not exist yet.
fn canonical_or_new(place: &Path) -> PathBuf {
    let place = std::path::absolute(place).unwrap_or_else(|_| place.to_owned());
    if let Ok(canonical) = place.canonicalize() {
        return canonical;
    }
    match (place.parent().map(Path::canonicalize), place.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::stamp;
    use rustix::fs::{FileType, fstat};
    use std::os::unix::fs::symlink;

    /// Returns the directory with `openat2`, and as if the first call of `openat2` had failed.
    #[test]
    fn no_link_is_followed_and_nothing_outside_is_opened() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        for file in ["a/b/file", "../outside"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        symlink("file", root.join("a/b/link")).unwrap();
        symlink("b", root.join("a/to_b")).unwrap();
        let open = || Tree::open(&root, &[]).unwrap();
        for tree in [open(), open().without_openat2()] {
            let kind = |path: &str, flags| {
                let file = tree.open_at(path.as_bytes(), flags).ok()?;
                Some(stamp::kind(&fstat(&file).unwrap()))
            };
            for (path, flags, expected) in [
                ("", DIRECTORY, Some(FileType::Directory)),
                ("a/b", DIRECTORY, Some(FileType::Directory)),
                ("a/b/file", DIRECTORY, None),
                ("a/b/file", READ, Some(FileType::RegularFile)),
                ("a/b/link", LOOK, Some(FileType::Symlink)),
                ("a/b/link", READ, None),
                ("a/to_b", DIRECTORY, None),
                ("a/to_b/file", READ, None),
                ("a/to_b/file", LOOK, None),
                ("a/b/file/x", LOOK, None),
                ("../outside", READ, None),
                ("a/../../outside", READ, None),
                ("/etc/passwd", READ, None),
                ("a/b/missing", READ, None),
            ] {
                assert_eq!(kind(path, flags), expected, "{path}");
            }
        }
    }

    #[test]
    fn links_are_remembered_up_to_a_number_and_then_all() {
        let temporary = tempfile::tempdir().unwrap();
        let tree = Tree::open(temporary.path(), &[]).unwrap();
        for number in 0..LINKS_REMEMBERED_MAX {
            tree.remember_link(&number.to_le_bytes());
        }
        assert!(tree.is_listed_link(&1_usize.to_le_bytes()));
        assert!(!tree.is_listed_link(b"another"));
        tree.remember_link(b"one more");
        assert!(tree.is_listed_link(b"one more") && tree.is_listed_link(b"another"));
    }
}
