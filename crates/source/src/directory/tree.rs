//! The directory that is pushed: opens files in it, and nothing outside.
//!
//! Paths are resolved by `openat2` beneath the open directory, without following any link. If the
//! kernel has no `openat2` (before 5.6) or a sandbox forbids it, they are resolved part by part
//! with `openat`. Links are followed by [`super::link`], which opens every part of the way here.

use freestone_core::{Error, ErrorKind, Result, path};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

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
    root: OwnedFd,
    /// The absolute paths of the directory: the canonical one, and the one that was given.
    addresses: [PathBuf; 2],
    /// The paths inside the directory that must not be pushed.
    left_out: HashSet<Vec<u8>>,
    links: RwLock<Links>,
    openat2: AtomicBool,
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
        let root = open(&canonical, DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| cannot(errno.into()))?;
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
        Ok(Self {
            root,
            addresses: [canonical, given],
            left_out: inside,
            links: RwLock::default(),
            openat2: AtomicBool::new(true),
        })
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
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if path.is_empty() {
            return openat(&self.root, c".", flags, Mode::empty());
        }
        if path::fault(path).is_some() {
            return Err(Errno::INVAL);
        }
        if self.openat2.load(Ordering::Relaxed) {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // The kernel lacks it, or a sandbox that does not know it forbids it.
                Err(Errno::NOSYS | Errno::PERM) => self.openat2.store(false, Ordering::Relaxed),
                // Something was renamed at the same moment.
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        self.open_by_parts(path, flags)
    }

    fn open_by_parts(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        let mut rest = path;
        while let Some(end) = rest.iter().position(|byte| *byte == b'/') {
            let through = LOOK | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            held = Some(openat(directory, &rest[..end], through, Mode::empty())?);
            rest = &rest[end + 1..];
        }
        openat(held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd), rest, flags, Mode::empty())
    }

    #[cfg(test)]
    pub(super) fn without_openat2(self) -> Self {
        self.openat2.store(false, Ordering::Relaxed);
        self
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
