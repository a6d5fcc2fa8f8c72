//! The directory of a cache, `cache/<store id>` in the host's own store.
//!
//! The store's directory is open, and everything in the cache is reached through its descriptor. A
//! name is resolved from there each time, since a cache may be deleted at any time.

use freestone_backend::directory::Directory;
use freestone_core::{Error, ErrorKind, Result};
use freestone_files::{Folder, lock_within};
use freestone_format::header::StoreId;
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, FileType, Stat, fallocate, fstatvfs, syncfs};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The modes of new directories and files, less the umask.
const FOLDER_MODE: u32 = 0o777;
const FILE_MODE: u32 = 0o666;
/// The file that is locked while files of runs are changed.
const LOCK: &str = "lock";
/// How long that lock is waited for. A process that holds it writes small files.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Returns the error for what failed at `path` of the cache.
fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    let out = Error::io(format!("the cache: cannot {what} {}", path.display()), error);
    out.hint(match is_link {
        true => {
            "there is a link, and links in a store are not followed: remove it; a cache on another \
             disk is mounted in its place"
        }
        false => "the cache can be deleted at any time; what was in it is fetched again",
    })
}

/// Returns true if something does not exist, or is below what is not a directory.
fn is_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns true if a disk cannot read what it holds. What is written in its place can be read again.
pub(crate) fn is_unreadable(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.and_then(io::Error::raw_os_error) == Some(Errno::IO.raw_os_error())
}

/// The directory of a cache. Clones share the descriptor.
#[derive(Clone)]
pub(crate) struct CacheFolder {
    /// The host's own store.
    store: Folder,
    /// The name of the cache in it.
    name: Arc<Path>,
    /// Set if its lock was waited for in vain: it is not waited for again.
    has_waited: Arc<AtomicBool>,
}

impl CacheFolder {
    /// Creates the directory of the cache of the upstream `id` in a host's store.
    pub(crate) fn new(store: Folder, id: &StoreId) -> Self {
        let name = Path::new("cache").join(id.to_string()).into();
        Self { store, name, has_waited: Arc::default() }
    }

    /// Returns the path of `name` in the cache, for messages.
    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.store.path_of(self.name.join(name))
    }

    /// Returns the error for what failed with `name`.
    pub(crate) fn failed(&self, what: &str, name: &str, error: io::Error) -> Error {
        failed(what, &self.path_of(name), error)
    }

    /// Returns `outcome`, or `None` if there is nothing of the name.
    fn found<T>(&self, what: &str, name: &str, outcome: io::Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_away(&error) => Ok(None),
            Err(error) => Err(self.failed(what, name, error)),
        }
    }

    fn done<T>(&self, what: &str, name: &str, outcome: io::Result<T>) -> Result<T> {
        outcome.map_err(|error| self.failed(what, name, error))
    }

    /// Returns the cache as a directory of objects; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn objects(&self) -> Result<Option<Directory>> {
        let folder = self.found("open", "", self.store.folder(&self.name))?;
        Ok(folder.map(Directory::of))
    }

    /// Returns the cache as a directory of objects, and creates it if there is none.
    ///
    /// # Errors
    /// It cannot be created or opened.
    pub(crate) fn make_objects(&self) -> Result<Directory> {
        let make = || {
            self.store.create_folders(&self.name, FOLDER_MODE)?;
            self.store.folder(&self.name)
        };
        self.done("make", "", make()).map(Directory::of)
    }

    /// Opens the file `name` for reading; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be opened, or is not a regular file.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>> {
        self.found("open", name, self.store.read_file(self.name.join(name)))
    }

    /// Opens the file `name` for reading and writing, and creates it if there is none, with the
    /// folders above it.
    ///
    /// # Errors
    /// As [`Self::file`], or it cannot be created.
    pub(crate) fn make_file(&self, name: &str) -> Result<File> {
        let inner = self.name.join(name);
        let open = || self.store.update_or_create_file(&inner, FILE_MODE);
        let opened = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = inner.parent().unwrap_or(Path::new(""));
                self.store.create_folders(above, FOLDER_MODE).and_then(|()| open())
            }
            opened => opened,
        };
        self.done("write", name, opened)
    }

    /// Creates the folder `name` in the cache.
    ///
    /// # Errors
    /// It cannot be created.
    pub(crate) fn make_folder(&self, name: &str) -> Result<()> {
        self.done("make", name, self.store.create_folders(self.name.join(name), FOLDER_MODE))
    }

    /// Returns all bytes of the file `name`; `None` if there is none, or it is longer than `limit`.
    ///
    /// # Errors
    /// It cannot be read, or is not a regular file.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.store.read_whole(self.name.join(name), limit) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
            outcome => self.found("read", name, outcome),
        }
    }

    /// Returns the length of the file `name`, the bytes that it takes on the disk, and when it was
    /// last written to, in seconds since 1970; `None` if there is no such file.
    ///
    /// # Errors
    /// The file system fails.
    pub(crate) fn sizes(&self, name: &str) -> Result<Option<Sizes>> {
        let stat = self.found("look at", name, self.store.stat(self.name.join(name)))?;
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(stat.filter(is_file).map(|stat| Sizes {
            length: u64::try_from(stat.st_size).unwrap_or(0),
            on_disk: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            written: u64::try_from(stat.st_mtime).unwrap_or(0),
        }))
    }

    /// Removes the file `name`. A file that does not exist is removed already.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let removed = self.store.remove_file(self.name.join(name));
        self.found("remove", name, removed).map(|_| ())
    }

    /// Returns the room of a range of the file `name` to the file system. If that cannot punch holes,
    /// the room is returned only with the whole file.
    pub(crate) fn punch(&self, name: &str, range: &Range<u64>) {
        if range.start < range.end
            && let Ok(file) = self.store.update_file(self.name.join(name))
        {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(&file, flags, range.start, range.end - range.start);
        }
    }

    /// Cuts the file `name` to nothing, so that processes that have it open do not keep its room.
    pub(crate) fn empty(&self, name: &str) {
        let _ = self.store.update_file(self.name.join(name)).and_then(|file| file.set_len(0));
    }

    /// Takes the lock of the cache, which is held while files of runs are changed, until the returned
    /// file is closed.
    ///
    /// # Errors
    /// Another process holds it for longer than anything that freestone does; or it cannot be made.
    pub(crate) fn lock(&self) -> Result<File> {
        let file = self.make_file(LOCK)?;
        // Each command takes it several times.
        let wait = match self.has_waited.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => LOCK_WAIT,
        };
        let is_locked = lock_within(&file, wait);
        self.has_waited.store(!is_locked, Ordering::Relaxed);
        if is_locked {
            return Ok(file);
        }
        let path = self.path_of(LOCK);
        let (path, seconds) = (path.display(), LOCK_WAIT.as_secs());
        Err(Error::new(
            ErrorKind::Storage,
            format!("the cache: another process has locked {path} for {seconds} seconds"),
        )
        .hint(format!("`fuser -v {path}` shows which one: end it, or try again later")))
    }

    /// Makes durable all files of the file system that the cache is on.
    ///
    /// # Errors
    /// They cannot be synced.
    pub(crate) fn sync_files(&self) -> Result<()> {
        let sync = || Ok(syncfs(self.store.folder(&self.name)?.as_fd())?);
        self.done("sync", "", sync())
    }

    /// Makes the names in `folders` of the cache durable, and those in the folders above them, from
    /// the store's own directory down.
    ///
    /// # Errors
    /// They cannot be synced.
    pub(crate) fn sync_names<'a>(&self, folders: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut all = BTreeSet::new();
        for folder in folders {
            all.extend(self.name.join(folder).ancestors().map(Path::to_path_buf));
        }
        all.iter().try_for_each(|folder| {
            let synced = self.store.sync(folder);
            synced.map_err(|error| failed("sync", &self.store.path_of(folder), error))
        })
    }

    /// Returns true if the disk of the cache has room for `bytes`, as far as it says so.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let folder = self.store.folder(&self.name).unwrap_or_else(|_| self.store.clone());
        fstatvfs(folder.as_fd())
            .map_or(true, |room| bytes <= room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// The sizes of a file of the cache.
pub(crate) struct Sizes {
    /// Its length.
    pub(crate) length: u64,
    /// The bytes that it takes on the disk.
    pub(crate) on_disk: u64,
    /// When it was last written to: seconds since 1970.
    pub(crate) written: u64,
}
