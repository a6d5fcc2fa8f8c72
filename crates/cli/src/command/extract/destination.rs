//! The directory that `extract` fills, without ever writing outside of it.
//!
//! It is opened once, and everything in it is created and removed through its descriptor; nothing
//! that exists is followed or replaced. Another user who may write to the directory can make the
//! extraction fail, but cannot make it write or remove anything elsewhere.

use freestone_core::{Error, Result, lock, path};
use freestone_files::{Folder, prefix_beside};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, syncfs, utimensat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// An open directory in which files are created.
pub(super) struct OutputDirectory {
    root: Folder,
    /// The directory that was used last: the next entry is mostly in the same one.
    last: Mutex<(Vec<u8>, Option<Folder>)>,
    /// The names that were created at the top, each followed by a zero byte.
    made: Mutex<Vec<u8>>,
}

fn wrong(path: &[u8], what: &str, cause: io::Error) -> Error {
    let name = path::display(path);
    let errno = Errno::from_io_error(&cause);
    let error = Error::io(format!("{name} cannot be {what}"), cause);
    match errno {
        Some(Errno::EXIST) => error.hint(
            "another program writes to this directory, or its file system treats two different \
             names as the same",
        ),
        Some(Errno::NAMETOOLONG) => {
            error.hint("the file system does not support names of this length")
        }
        _ => error,
    }
}

impl OutputDirectory {
    fn new(root: Folder) -> Self {
        Self { root, last: Mutex::default(), made: Mutex::default() }
    }

    /// Creates the directory `path`, whose parent was created before.
    pub(super) fn make_directory(&self, path: &[u8]) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        parent.create_folder(name, 0o755).map_err(|error| wrong(path, "created", error))?;
        self.note_made(path);
        Ok(())
    }

    /// Creates the file `path`, whose directory was created before.
    pub(super) fn make_file(&self, path: &[u8], executable: bool) -> Result<File> {
        let mode = if executable { 0o755 } else { 0o644 };
        let (parent, name) = self.parent(path)?;
        let file = parent.create_file(name, mode).map_err(|error| wrong(path, "created", error))?;
        self.note_made(path);
        Ok(file)
    }

    fn note_made(&self, path: &[u8]) {
        if path::parent(path).is_none() {
            let mut made = lock(&self.made);
            made.extend_from_slice(path);
            made.push(0);
        }
    }

    /// Makes everything durable that was written. Reports writes that failed later.
    fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.root)?)
    }

    /// Sets the time of the directory `path` to `mtime`, in seconds since 1970.
    pub(super) fn set_directory_time(&self, path: &[u8], mtime: i64) -> Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 },
        };
        let (parent, name) = self.parent(path)?;
        utimensat(parent.as_fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| wrong(path, "given its time", errno.into()))
    }

    /// Returns the directory that holds `path`, and the name in it.
    fn parent<'a>(&self, path: &'a [u8]) -> Result<(Folder, &'a OsStr)> {
        let Some(parent) = path::parent(path) else {
            return Ok((self.root.clone(), OsStr::from_bytes(path)));
        };
        let name = OsStr::from_bytes(&path[parent.len() + 1..]);
        let mut last = lock(&self.last);
        if let (known, Some(open)) = &*last
            && known == parent
        {
            return Ok((open.clone(), name));
        }
        let open = self.root.folder(OsStr::from_bytes(parent));
        let open = open.map_err(|error| wrong(parent, "opened", error))?;
        *last = (parent.to_vec(), Some(open.clone()));
        Ok((open, name))
    }
}

/// The directory to fill. If it is dropped without [`Self::finish`], everything written is removed.
pub(super) struct Destination {
    place: OutputDirectory,
    path: PathBuf,
    /// For a new directory, the temporary one next to it in which it is filled.
    beside: Option<Beside>,
    is_finished: bool,
}

/// A temporary directory next to a new one, which only this user can read.
struct Beside {
    parent: Folder,
    /// The open directory, which holds its lock.
    folder: Folder,
    name: PathBuf,
}

/// The name of a new directory in its temporary directory.
const FILLED: &str = "new";

impl Destination {
    /// Opens or creates the directory to fill `path`.
    ///
    /// # Errors
    /// `path` exists and is not an empty directory, or cannot be created.
    pub(super) fn prepare(path: &Path) -> Result<Self> {
        let name = path.display();
        let wrong = |error| Error::io(format!("{name} cannot be written to"), error);
        let refused = |what: &str| {
            Error::refused(format!("{name} {what}"))
                .hint("give a directory that is empty or does not exist")
        };
        // Opened before anything is written, so that `sync` reports every failed write.
        let (root, beside) = match Folder::open_itself(path) {
            Ok(folder) => {
                if folder.entries("").map_err(wrong)?.next().is_some() {
                    return Err(refused("is not empty"));
                }
                (folder, None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let beside = Beside::new(path)?;
                let filled = beside.folder.create_folder(FILLED, 0o755);
                (filled.and_then(|()| beside.folder.folder(FILLED)).map_err(wrong)?, Some(beside))
            }
            Err(error) if path.is_symlink() => {
                return Err(Error::io(format!("{name} is a link"), error)
                    .hint("name the directory that it leads to"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(refused("exists and is not a directory"));
            }
            Err(error) => return Err(wrong(error)),
        };
        let place = OutputDirectory::new(root);
        Ok(Self { place, path: path.to_owned(), beside, is_finished: false })
    }

    /// Returns the directory to create files in.
    pub(super) fn place(&self) -> &OutputDirectory {
        &self.place
    }

    /// Makes the directory durable and visible, when everything is written.
    pub(super) fn finish(mut self) -> Result<()> {
        let wrong = |error| Error::io(format!("{} cannot be written", self.path.display()), error);
        self.place.sync().map_err(wrong)?;
        if let Some(beside) = &self.beside {
            // If `path` was created meanwhile, it is replaced only if it is an empty directory.
            beside.parent.rename(beside.name.join(FILLED), name_of(&self.path)).map_err(
                |error| {
                    Error::io(format!("{} cannot be created", self.path.display()), error)
                        .hint("another program may have created it meanwhile")
                },
            )?;
            // The name is made durable too, if possible. Its failure is ignored: the files are
            // there.
            let _ = beside.parent.sync("");
        }
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.is_finished || self.beside.is_some() {
            return;
        }
        // Only our own names are removed: another program may have written there too.
        let made = lock(&self.place.made);
        for name in made.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let _ = self.place.root.remove_all(OsStr::from_bytes(name));
        }
    }
}

impl Beside {
    /// Creates a directory next to `path`. Also removes those that killed extractions to `path`
    /// left.
    fn new(path: &Path) -> Result<Self> {
        let above = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let create = || {
            let parent = Folder::open(above)?;
            let prefix = prefix_beside(name_of(path));
            parent.clear_left_over("", &prefix);
            let (folder, name) = parent.create_temporary_folder("", &prefix, 0o700)?;
            Ok(Self { parent, folder, name })
        };
        create().map_err(|error: io::Error| {
            let what = format!("{} cannot be created", path.display());
            match error.kind() {
                io::ErrorKind::NotFound => {
                    let above = above.display();
                    Error::not_found(format!("{what}: {above} does not exist"))
                        .hint("create it first")
                }
                _ => Error::io(what, error),
            }
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // If this fails, the next extraction to the same place tries again.
        let _ = self.parent.remove_all(&self.name);
    }
}

/// Returns the last part of `path`.
fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn after_a_failure_files_of_others_remain() {
        let folder = tempfile::tempdir().unwrap();
        let target = Destination::prepare(folder.path()).unwrap();
        target.place().make_directory(b"ours").unwrap();
        target.place().make_file(b"ours/file", false).unwrap();
        target.place().make_file(b"file", false).unwrap();
        fs::create_dir(folder.path().join("theirs")).unwrap();
        fs::write(folder.path().join("theirs/file"), "theirs").unwrap();
        fs::write(folder.path().join("other"), "theirs").unwrap();
        target.place().make_file(b"other", false).unwrap_err();
        drop(target);
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["other", "theirs"]);
        assert_eq!(fs::read(folder.path().join("theirs/file")).unwrap(), b"theirs");
    }

    #[test]
    fn after_a_failure_nothing_is_removed_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::create_dir_all(at("world/etc")).unwrap();
        fs::write(at("world/etc/passwd"), "precious").unwrap();
        let target = Destination::prepare(&at("empty")).unwrap();
        target.place().make_directory(b"etc").unwrap();
        fs::rename(at("empty"), at("moved")).unwrap();
        std::os::unix::fs::symlink("world", at("empty")).unwrap();
        target.place().make_file(b"etc/new", false).unwrap();
        drop(target);
        assert_eq!(fs::read_dir(at("moved")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(at("world/etc")).unwrap().count(), 1);
        // A link is not a directory to fill.
        assert!(Destination::prepare(&at("empty")).is_err());
    }

    #[test]
    fn what_a_killed_extraction_left_is_removed_by_the_next() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let left = at(".new.freestone-0123456789abcdef");
        fs::create_dir_all(left.join("new/deep")).unwrap();
        fs::create_dir(at(".other.freestone-0123456789abcdef")).unwrap();
        let target = Destination::prepare(&at("new")).unwrap();
        assert!(!left.exists() && !at("new").exists());
        target.place().make_file(b"file", false).unwrap();
        target.finish().unwrap();
        assert!(at("new/file").exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
