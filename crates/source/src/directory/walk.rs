//! Lists a directory depth first, the names of each directory in bytewise order. Together that is
//! manifest order.
//!
//! The walk keeps a stack of the directories that it is in. It opens names relative to open
//! directories, never by whole paths, so a rename outside cannot lead it elsewhere. Of a very deep
//! stack only the innermost directories stay open. The others are opened again when the walk comes
//! back, and must still be the same directories.

use super::changing::CHANGING;
use super::link::{self, LinkTarget};
use super::listing::{Lister, Listing, shown};
use super::names::NameKind;
use super::options::DirectoryOptions;
use super::tree::{DIRECTORY, LOOK, Tree};
use super::{stamp, version_control};
use crate::exclude::Excludes;
use crate::report::{Reason, SourceReport};
use freestone_core::item::{Item, ItemKind, ItemSource};
use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::{Error, ErrorKind, Result, Unreadable};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;

/// The most directories that stay open: far less than the 1,024 files that a process may usually
/// open.
const DIRECTORIES_OPEN_MAX: usize = 64;

/// A walk over the files and directories of a directory, in manifest order; made by
/// [`super::open`].
///
/// Paths that cannot be read or pushed are left out. At the end, an error lists them. After any
/// error every later call fails, too.
pub struct Walk {
    tree: Arc<Tree>,
    excludes: Excludes,
    keep_version_control: bool,
    skip_special: bool,
    lister: Lister,
    /// The directories that the walk is in, the innermost last.
    stack: Vec<Directory>,
    entry: CurrentPath,
    report: SourceReport,
    unreadable: Unreadable,
    failed: bool,
}

/// A directory that the walk is in.
struct Directory {
    /// `None` while it is too far out to stay open.
    open: Option<OwnedFd>,
    identity: (u64, u64),
    listing: Listing,
    /// The length of the temporary file before its listing.
    spilled: u64,
    path_length: usize,
}

/// The path that is examined, with a NUL after it.
struct CurrentPath {
    bytes: Vec<u8>,
    name_start: usize,
}

impl CurrentPath {
    fn set(&mut self, directory_length: usize, name: &[u8]) {
        self.bytes.truncate(directory_length);
        if directory_length > 0 {
            self.bytes.push(b'/');
        }
        self.name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    fn path(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 1]
    }

    fn name(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[self.name_start..])
            .expect("names come from the kernel as C strings")
    }
}

/// The result of entering a directory.
enum Entered {
    Done(Item),
    Gone,
    NotDirectory,
}

impl Walk {
    pub(super) fn new(
        tree: Arc<Tree>,
        excludes: Excludes,
        options: &DirectoryOptions,
    ) -> Result<Self> {
        let mut walk = Self {
            tree,
            excludes,
            keep_version_control: options.keep_version_control,
            skip_special: options.skip_special,
            lister: Lister::new(options.memory_bytes, options.spill_dir.clone()),
            stack: Vec::new(),
            entry: CurrentPath { bytes: vec![0], name_start: 0 },
            report: SourceReport::default(),
            unreadable: Unreadable::default(),
            failed: false,
        };
        let root =
            walk.tree.open_at(b"", DIRECTORY).map_err(|errno| cannot(b"", "opened", errno))?;
        walk.push(root)?;
        Ok(walk)
    }

    /// Returns what was left out or cannot be pushed so far; after the end, all of it.
    pub fn report(&self) -> &SourceReport {
        &self.report
    }

    /// Enters the open directory at the current path.
    fn push(&mut self, open: OwnedFd) -> Result<Stat> {
        let path = self.entry.path();
        let stat = fstat(&open).map_err(|errno| cannot(path, "looked at", errno))?;
        let spilled = self.lister.spilled();
        let listing = self.lister.list(open.as_fd(), path)?;
        if let Some(outer) = self.stack.len().checked_sub(DIRECTORIES_OPEN_MAX) {
            self.stack[outer].open = None;
        }
        self.stack.push(Directory {
            open: Some(open),
            identity: stamp::identity(&stat),
            listing,
            spilled,
            path_length: path.len(),
        });
        Ok(stat)
    }

    fn step(&mut self) -> Result<Option<Item>> {
        while let Some(directory) = self.stack.last_mut() {
            match self.lister.next(&mut directory.listing)? {
                Some((kind, name)) => {
                    self.entry.set(directory.path_length, name);
                    if directory.open.is_none() {
                        let place = &self.entry.bytes[..directory.path_length];
                        directory.open = Some(reopen(&self.tree, place, directory.identity)?);
                    }
                    match self.look(kind) {
                        Ok(Some(item)) => return Ok(Some(item)),
                        Ok(None) => {}
                        Err(error) => self.unreadable.collect(error)?,
                    }
                }
                None => {
                    if let Some(Directory { listing, spilled, .. }) = self.stack.pop() {
                        self.lister.release(listing, spilled)?;
                    }
                }
            }
        }
        let mut wrong = std::mem::take(&mut self.unreadable);
        if let Some(error) = self.report.error().filter(|_| !self.skip_special) {
            wrong.set_beside(error);
        }
        wrong.into_error().map_or(Ok(None), Err)
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        let innermost = self.stack.last().and_then(|directory| directory.open.as_ref());
        innermost.expect("the innermost directory is open while it is looked at").as_fd()
    }

    /// Returns the item at the current path; `None` if it is left out, refused or gone.
    fn look(&mut self, mut kind: NameKind) -> Result<Option<Item>> {
        if kind == NameKind::Unknown {
            match self.stat()? {
                Some(stat) => kind = NameKind::of(stamp::kind(&stat)),
                None => return Ok(None),
            }
        }
        if self.leaves_out(kind == NameKind::Directory)? {
            return Ok(None);
        }
        if self.entry.path().len() > PATH_BYTES_MAX {
            return Ok(self.refuse(Reason::PathLong));
        }
        if kind == NameKind::Directory {
            match self.enter()? {
                Entered::Done(item) => return Ok(Some(item)),
                Entered::Gone => return Ok(None),
                Entered::NotDirectory => {}
            }
        }
        let Some(stat) = self.stat()? else { return Ok(None) };
        match stamp::kind(&stat) {
            FileType::RegularFile => Ok(Some(self.file(&stat, None))),
            FileType::Symlink => self.link(),
            FileType::Directory => match self.enter()? {
                Entered::Done(item) => Ok(Some(item)),
                // It changed its kind twice meanwhile.
                Entered::Gone | Entered::NotDirectory => Ok(None),
            },
            FileType::Fifo => Ok(self.refuse(Reason::Pipe)),
            FileType::Socket => Ok(self.refuse(Reason::Socket)),
            FileType::CharacterDevice | FileType::BlockDevice => Ok(self.refuse(Reason::Device)),
            _ => Ok(self.refuse(Reason::Unknown)),
        }
    }

    fn leaves_out(&mut self, is_directory: bool) -> Result<bool> {
        let path = self.entry.path();
        let holds = |mark: &str| {
            let place = [path, b"/", mark.as_bytes()].concat();
            Ok(self.tree.open_at(&place, LOOK).is_ok())
        };
        let count = if self.tree.leaves_out(path) {
            &mut self.report.left_out_count
        } else if !self.keep_version_control
            && version_control::owns_entry(self.entry.name().to_bytes(), is_directory, holds)?
        {
            &mut self.report.version_control_count
        } else if self.excludes.leaves_out(path, is_directory) {
            &mut self.report.excluded_count
        } else {
            return Ok(false);
        };
        *count += 1;
        Ok(true)
    }

    fn refuse(&mut self, reason: Reason) -> Option<Item> {
        self.report.refuse(self.entry.path(), reason);
        None
    }

    /// Returns the status of the current path; `None` if nothing is there.
    fn stat(&self) -> Result<Option<Stat>> {
        match statat(self.innermost(), self.entry.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(cannot(self.entry.path(), "looked at", errno)),
        }
    }

    fn enter(&mut self) -> Result<Entered> {
        let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = match openat(self.innermost(), self.entry.name(), flags, Mode::empty()) {
            Ok(open) => open,
            Err(Errno::NOENT) => return Ok(Entered::Gone),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Entered::NotDirectory),
            Err(errno) => return Err(cannot(self.entry.path(), "opened", errno)),
        };
        let stat = self.push(open)?;
        let path = self.entry.path().to_vec();
        Ok(Entered::Done(Item { path, mtime: stat.st_mtime, kind: ItemKind::Directory }))
    }

    fn file(&self, stat: &Stat, link: Option<Vec<u8>>) -> Item {
        let (executable, stamp) = (stamp::executable(stat), stamp::of(stat));
        let kind = ItemKind::File { executable, stamp, link };
        Item { path: self.entry.path().to_vec(), mtime: stat.st_mtime, kind }
    }

    fn link(&mut self) -> Result<Option<Item>> {
        let path = self.entry.path();
        let text = match readlinkat(self.innermost(), self.entry.name(), Vec::new()) {
            Ok(text) => text.into_bytes(),
            // It is gone, or not a link any more.
            Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(cannot(path, "looked at", errno)),
        };
        if text.len() > LINK_BYTES_MAX {
            return Ok(self.refuse(Reason::LinkLong));
        }
        let target = link::follow(&self.tree, path, &text);
        match target.map_err(|error| error.at_path(path.to_vec()))? {
            LinkTarget::File(_, stat) => {
                self.tree.remember_link(path);
                let text = if text.starts_with(b"/") { None } else { Some(text) };
                Ok(Some(self.file(&stat, text)))
            }
            LinkTarget::Refused(reason) => Ok(self.refuse(reason)),
        }
    }
}

impl ItemSource for Walk {
    fn next(&mut self) -> Result<Option<Item>> {
        if self.failed {
            return Err(Error::new(
                ErrorKind::Failed,
                "the directory could not be listed to its end",
            ));
        }
        self.step().inspect_err(|_| self.failed = true)
    }
}

/// Opens the directory at `place` again, and checks that it still has `identity`.
fn reopen(tree: &Tree, place: &[u8], identity: (u64, u64)) -> Result<OwnedFd> {
    let replaced = || {
        let place = shown(place);
        let what = format!("directory {place} was replaced while it was read");
        Error::new(ErrorKind::Conflict, what).hint(CHANGING)
    };
    let open = match tree.open_at(place, DIRECTORY) {
        Ok(open) => open,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(replaced()),
        Err(errno) => return Err(cannot(place, "opened", errno)),
    };
    let stat = fstat(&open).map_err(|errno| cannot(place, "looked at", errno))?;
    if stamp::identity(&stat) == identity { Ok(open) } else { Err(replaced()) }
}

fn cannot(place: &[u8], what: &str, errno: Errno) -> Error {
    let error = Error::io(format!("{} cannot be {what}", shown(place)), errno.into());
    let error = error.at_path(place.to_vec());
    match errno {
        Errno::ACCESS | Errno::PERM => {
            error.hint("make it readable, or leave it out with --exclude")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::names::Names;

    /// Some file systems do not report kinds in directories, and kinds change.
    #[test]
    fn what_a_directory_says_of_kinds_is_not_believed() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        for directory in [".svn", "cache", "d", "d2", "gone2"] {
            std::fs::create_dir(root.join(directory)).unwrap();
            std::fs::write(root.join(directory).join("x"), "").unwrap();
        }
        for file in ["f", "gone"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let options =
            DirectoryOptions { excludes: vec!["cache/".to_owned()], ..DirectoryOptions::default() };
        let mut walk = super::super::open(root, &options).unwrap().0;
        let mut names = Names::default();
        for (kind, name) in [
            (NameKind::Unknown, &b".svn"[..]),
            (NameKind::Unknown, b"cache"),
            (NameKind::Unknown, b"d"),
            (NameKind::Other, b"d2"),
            (NameKind::Directory, b"f"),
            (NameKind::Unknown, b"gone"),
            (NameKind::Directory, b"gone2"),
        ] {
            assert!(names.add(kind, name, usize::MAX));
        }
        walk.stack[0].listing = Listing::Memory(names, 0);
        std::fs::remove_file(root.join("gone")).unwrap();
        std::fs::remove_dir_all(root.join("gone2")).unwrap();
        let paths: Vec<_> = std::iter::from_fn(|| walk.next().unwrap())
            .map(|item| String::from_utf8(item.path).unwrap())
            .collect();
        assert_eq!(paths, ["d", "d/x", "d2", "d2/x", "f"]);
    }
}
