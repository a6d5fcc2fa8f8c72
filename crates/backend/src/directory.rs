//! A store in a directory.
//!
//! What is written goes to `tmp/`, is synced, moved to its name with a rename that never replaces,
//! and the directory that holds the name is synced: so an object is visible only whole, and once
//! it is acknowledged it stays. A file in `tmp/` is locked while it is being written; one that
//! nobody locks was left by a process that died, and is removed by the next.

use crate::{Backend, Created, Listed, Object, Spool};
use freestone_core::wire::Bytes;
use freestone_core::{Error, ErrorKind, Result};
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How often a file is made in `tmp/` that another process takes for left over and removes.
const SPOOL_TRIES: usize = 100;

/// Something that a directory backend is about to do to the disk.
#[derive(Debug)]
pub enum Step<'a> {
    /// Make a directory.
    MakeDirectory(&'a Path),
    /// Sync a file.
    SyncFile(&'a Path),
    /// Move a file to a name that must not exist.
    Rename(&'a Path, &'a Path),
    /// Sync a directory.
    SyncDirectory(&'a Path),
    /// Remove a file.
    Remove(&'a Path),
}

/// Sees every step before it is taken and may stop it: how tests crash a store at each of them.
pub trait Watcher: Send + Sync {
    /// Called before `step`.
    ///
    /// # Errors
    /// To keep the step from being taken.
    fn before(&self, step: &Step<'_>) -> io::Result<()>;
}

struct NoWatcher;

impl Watcher for NoWatcher {
    fn before(&self, _: &Step<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps objects in a directory.
#[derive(Clone)]
pub struct Directory {
    root: PathBuf,
    watcher: Arc<dyn Watcher>,
    /// Directories below the root whose names were synced since this was made.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let out = Error::io(format!("cannot {what} {}", path.display()), error_clone(&error));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            out.hint("the disk is full: make room and run the command again; nothing is lost")
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            out.hint("the store can be read, but not written by this user or on this file system")
        }
        _ => out,
    }
}

fn error_clone(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Directory {
    /// The directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::watched(root, Arc::new(NoWatcher))
    }

    /// The directory `root`, each of whose steps `watcher` sees.
    pub fn watched(root: impl Into<PathBuf>, watcher: Arc<dyn Watcher>) -> Self {
        Self { root: root.into(), watcher, durable: Arc::default() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        let sync = || {
            self.watcher.before(&Step::SyncDirectory(path))?;
            File::open(path)?.sync_all()
        };
        sync().map_err(|error| failed("sync", path, error))
    }

    /// Makes a directory and those above it, each durable. Below the root one that is there
    /// already is made durable too: whoever made it may have died before it came as far.
    ///
    /// # Errors
    /// A directory cannot be made or synced.
    pub fn make_directory(&self, path: &Path) -> Result<()> {
        let is_above = path == self.root || !path.starts_with(&self.root);
        let durable = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if path.is_dir() && (is_above || durable().contains(path)) {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(parent)?;
        }
        let make = || {
            self.watcher.before(&Step::MakeDirectory(path))?;
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        };
        if !path.is_dir() {
            make().map_err(|error| failed("make", path, error))?;
        }
        self.sync_parent(path)?;
        durable().insert(path.into());
        Ok(())
    }

    /// Makes the name of `path` durable.
    ///
    /// # Errors
    /// The directory of `path` cannot be synced.
    pub fn sync_parent(&self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_directory(parent),
            _ => self.sync_directory(Path::new(".")),
        }
    }

    /// Gives a file its name, unless there is one of that name.
    fn rename(&self, from: &Path, to: &Path) -> Result<Created> {
        let rename = || {
            self.watcher.before(&Step::Rename(from, to))?;
            rename_no_replace(from, to)
        };
        match rename() {
            Ok(()) => Ok(Created::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Existed),
            Err(error) => Err(failed("make", to, error)),
        }
    }

    /// Removes what dead processes left in `tmp/`.
    pub fn clear_left_over(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("tmp")) else { return };
        for entry in entries.flatten() {
            let Ok(file) = open_at_once(&entry.path()) else { continue };
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // Somebody may have published it in between; then it has no such name any more.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn collect(&self, path: &Path, name: &str, out: &mut Vec<Listed>) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let name = format!("{name}/{file_name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.collect(&entry.path(), &name, out)?;
            } else if kind.is_file() {
                match entry.metadata() {
                    Ok(metadata) => out.push(Listed { name, length: metadata.len() }),
                    // Gone since it was listed: whoever opens it finds out, and lists again.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        out.push(Listed { name, length: 0 });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

impl Backend for Directory {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let path = self.root.join(folder);
        let mut out = Vec::new();
        self.collect(&path, folder, &mut out).map_err(|error| failed("list", &path, error))?;
        out.sort_unstable();
        Ok(out)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        let path = self.root.join(name);
        let open = || {
            let file = open_at_once(&path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            Ok((file, metadata.len()))
        };
        match open() {
            Ok((file, length)) => Ok(Some(Box::new(FileObject { file, length, path }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path, error)),
        }
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut spool = self.spool()?;
        let target = self.root.join(name);
        // Neither is synced: what a power cut leaves of a hint is as good as none.
        let mut file = &spool.file;
        file.write_all(bytes).map_err(|error| failed("write", &spool.path, error))?;
        fs::rename(&spool.path, &target).map_err(|error| failed("make", &target, error))?;
        spool.keep = true;
        Ok(())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let spool = self.spool()?;
        let mut file = &spool.file;
        file.write_all(bytes).map_err(|error| failed("write", &spool.path, error))?;
        self.publish(spool, name)
    }

    fn spool(&self) -> Result<Spool> {
        let folder = self.root.join("tmp");
        // What is in it need not last, so neither need its name.
        if !folder.is_dir() {
            self.make_directory(&folder)?;
        }
        for _ in 0..SPOOL_TRIES {
            let number = u64::from_le_bytes(crate::random());
            let path = folder.join(format!("{number:016x}"));
            let made = make_spool(&path).map_err(|error| failed("make", &path, error))?;
            if let Some(file) = made {
                return Ok(Spool { file, path, keep: false });
            }
        }
        Err(Error::new(ErrorKind::Storage, format!("no file stays in {}", folder.display()))
            .hint("something removes the files that a push makes there"))
    }

    fn publish(&self, mut spool: Spool, name: &str) -> Result<Created> {
        let target = self.root.join(name);
        let folder = target.parent().unwrap_or(&self.root).to_path_buf();
        let sync = || {
            self.watcher.before(&Step::SyncFile(&spool.path))?;
            spool.file.sync_all()
        };
        sync().map_err(|error| failed("sync", &spool.path, error))?;
        self.make_directory(&folder)?;
        let created = self.rename(&spool.path, &target)?;
        spool.keep = created == Created::New;
        // Also when it existed: whoever made it may not have come as far as this.
        self.sync_directory(&folder)?;
        Ok(created)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        if !path.is_dir() {
            return Ok(());
        }
        self.make_directory(&path)?;
        self.sync_directory(&path)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        let remove = || {
            self.watcher.before(&Step::Remove(&path))?;
            fs::remove_file(&path)
        };
        match remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, error))
            }
            _ => Ok(()),
        }
    }
}

/// The directory that `url` names: a path, or `file://` and one; `None` for other URLs.
pub fn directory_of(url: &str) -> Option<PathBuf> {
    match url.strip_prefix("file://") {
        Some(path) => Some(PathBuf::from(path)),
        None => (!url.contains("://")).then(|| PathBuf::from(url)),
    }
}

/// Opens a file for reading, and never waits: a named pipe in the place of a file would make
/// whoever opens it wait for ever.
fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Makes and locks a file to write into; `None` if it was taken for one that a dead process left:
/// between the making and the locking it looks like that.
fn make_spool(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        outcome => outcome?,
    }
    // Who removes a file holds its lock meanwhile; so now it is gone, or stays.
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do it can still link.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        outcome => Ok(outcome?),
    }
}

struct FileObject {
    file: File,
    length: u64,
    path: PathBuf,
}

impl Object for FileObject {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(out, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{} ends before byte {}",
                    self.path.display(),
                    offset.saturating_add(out.len() as u64)
                ),
            ),
            _ => failed("read", &self.path, error),
        })
    }

    fn map(&self) -> Result<Bytes> {
        if self.length == 0 {
            return Ok(Arc::new(Vec::new()));
        }
        // SAFETY: the file is immutable by the rules of the store: it was moved to its name whole
        // and is never written again. A file that somebody cuts off while it is mapped ends the
        // process; whoever may do that may do anything to the store.
        let map = unsafe { memmap2::Mmap::map(&self.file) };
        Ok(Arc::new(map.map_err(|error| failed("map", &self.path, error))?))
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_made_once_and_stay_readable() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::new(folder.path());
        assert_eq!(store.list("packs").unwrap(), []);
        assert_eq!(store.create("packs/ab/x", b"one").unwrap(), Created::New);
        assert_eq!(store.create("packs/ab/x", b"two").unwrap(), Created::Existed);
        assert_eq!(store.get("packs/ab/x", 10).unwrap().as_deref(), Some(&b"one"[..]));
        assert!(store.get("packs/ab/x", 2).is_err());
        assert_eq!(store.get("packs/ab/y", 10).unwrap(), None);
        let object = store.open("packs/ab/x").unwrap().unwrap();
        store.remove("packs/ab/x").unwrap();
        store.remove("packs/ab/x").unwrap();
        let mut bytes = [0; 2];
        object.read_at(1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"ne");
        assert!(object.read_at(2, &mut bytes).is_err());
        assert_eq!((*object.map().unwrap()).as_ref(), b"one");
    }

    #[test]
    fn only_what_dead_processes_left_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::new(folder.path());
        let spool = store.spool().unwrap();
        fs::write(folder.path().join("tmp/77-1"), "left over").unwrap();
        store.clear_left_over();
        let left = fs::read_dir(folder.path().join("tmp")).unwrap().count();
        assert_eq!(left, 1);
        store.publish(spool, "packs/p").unwrap();
        assert_eq!(store.list("packs").unwrap().len(), 1);
        drop(store.spool().unwrap());
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}
