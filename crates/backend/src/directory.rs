//! A store in a directory.
//!
//! What is written goes to `tmp/`, is synced, and moved to its name with a rename that never
//! replaces. Then the directory that holds the name is synced. So an object is visible only when it
//! is whole, and after it is acknowledged it stays. A file in `tmp/` is locked while it is written;
//! one that nobody locks was left by a process that died, and is removed by the next.
//!
//! The directory is opened once, and everything in it is reached through its descriptor
//! ([`Folder`]): a link in a store leads nowhere, and a pipe in the place of a file is an error.

use crate::pages::{FilePages, read_error};
use crate::{Backend, Created, Listed, Object, Spool};
use freestone_core::wire::{Bytes, to_usize};
use freestone_core::{Error, Result, lock};
use freestone_files::Folder;
use rustix::fs::{FileType, Stat};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// The folder of files that are being written.
const TEMPORARY: &str = "tmp";
/// The most folders inside each other in a store. A ref of 255 bytes has at most 128.
const DEPTH_MAX: usize = 256;
/// The mode of a root that is made for the first file in it.
const ROOT_MODE: u32 = 0o700;
/// The modes of new folders and files, less the umask.
const FOLDER_MODE: u32 = 0o777;
const FILE_MODE: u32 = 0o666;

/// A file of at most this length is held in memory when it is read here and there: that takes no
/// descriptor.
const HELD_BYTES_MAX: u64 = 128 << 10;

/// A step that a directory backend is about to take on the disk.
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
    /// Is called before `step`.
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
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    /// The directory, from its first use on.
    folder: OnceLock<Folder>,
    watcher: Arc<dyn Watcher>,
    /// Folders whose names were synced since this was made.
    durable: Mutex<HashSet<PathBuf>>,
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let out = Error::io(format!("cannot {what} {}", path.display()), error_clone(&error));
    if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) {
        return out.hint(
            "this file system can neither rename without replacing nor make links: keep the store on \
             another one, such as ext4, XFS or btrfs",
        );
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            out.hint("the disk is full: make room and run the command again; nothing is lost")
        }
        io::ErrorKind::PermissionDenied if matches!(what, "open" | "list") => out.hint(
            "this user may not read the store: `freestone init` makes one for its owner alone, and \
             `freestone init --shared` one for all whom the umask lets in",
        ),
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
    /// Returns the backend of the directory `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::watched(root, Arc::new(NoWatcher))
    }

    /// Returns the backend of the directory `root`, each of whose steps `watcher` sees.
    pub fn watched(root: impl Into<PathBuf>, watcher: Arc<dyn Watcher>) -> Self {
        Self::with(root.into(), OnceLock::new(), watcher)
    }

    /// Returns the backend of a directory that is open.
    pub fn of(folder: Folder) -> Self {
        Self::with(folder.path().into(), OnceLock::from(folder), Arc::new(NoWatcher))
    }

    fn with(root: PathBuf, folder: OnceLock<Folder>, watcher: Arc<dyn Watcher>) -> Self {
        Self { inner: Arc::new(Inner { root, folder, watcher, durable: Mutex::default() }) }
    }

    /// Returns the path of the directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Returns the directory, opened at the first call.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn folder(&self) -> io::Result<&Folder> {
        match self.inner.folder.get() {
            Some(folder) => Ok(folder),
            None => {
                let folder = Folder::open(self.root())?;
                Ok(self.inner.folder.get_or_init(|| folder))
            }
        }
    }

    /// Returns the path of `name`, for messages and watchers.
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.inner.root.join(name)
    }

    fn before(&self, step: &Step<'_>) -> io::Result<()> {
        self.inner.watcher.before(step)
    }

    /// Makes the directory itself, with `mode` less the umask, and those above it. Makes its name
    /// durable, as far as the directory above may be read.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn make_root(&self, mode: u32) -> Result<()> {
        let root = self.root();
        let above = match root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let make = || {
            self.before(&Step::MakeDirectory(root))?;
            if !root.is_dir() {
                fs::create_dir_all(above)?;
                let mut builder = fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
                builder.create(root)?;
            }
            Ok(())
        };
        make().map_err(|error| failed("make", root, error))?;
        let sync = || {
            self.before(&Step::SyncDirectory(above))?;
            File::open(above)?.sync_all()
        };
        // A user who may not read the directory above made nothing in it.
        let _ = sync();
        Ok(())
    }

    fn sync_folder(&self, name: &Path) -> Result<()> {
        let path = self.path(name);
        let sync = || {
            self.before(&Step::SyncDirectory(&path))?;
            self.folder()?.sync(name)
        };
        sync().map_err(|error| failed("sync", &path, error))
    }

    /// Makes a folder and those above it, each durable. One that exists is made durable too:
    /// its maker may have died before it was durable.
    fn make_folder(&self, name: &Path) -> Result<()> {
        if name.as_os_str().is_empty() || lock(&self.inner.durable).contains(name) {
            return Ok(());
        }
        let parent = name.parent().unwrap_or(Path::new(""));
        self.make_folder(parent)?;
        let path = self.path(name);
        let make = || {
            let folder = self.folder()?;
            if folder.stat(name).is_ok_and(|stat| is_folder(stat.st_mode)) {
                return Ok(());
            }
            self.before(&Step::MakeDirectory(&path))?;
            folder.create_folders(name, FOLDER_MODE)
        };
        make().map_err(|error| failed("make", &path, error))?;
        self.sync_folder(parent)?;
        lock(&self.inner.durable).insert(name.into());
        Ok(())
    }

    /// Gives a file its name, unless there is one of that name.
    fn rename(&self, from: &Path, to: &Path) -> Result<Created> {
        let target = self.path(to);
        let rename = || {
            self.before(&Step::Rename(&self.path(from), &target))?;
            self.folder()?.rename_new(from, to)
        };
        match rename() {
            Ok(()) => Ok(Created::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Existed),
            Err(error) => Err(failed("make", &target, error)),
        }
    }

    /// Returns a spool that holds `bytes`.
    ///
    /// # Errors
    /// As [`Backend::spool`].
    pub fn spool_of(&self, bytes: &[u8]) -> Result<Spool> {
        let spool = self.spool()?;
        let mut file = spool.file();
        file.write_all(bytes).map_err(|error| failed("write", spool.path(), error))?;
        Ok(spool)
    }

    /// Makes of a spool the file `name`, whose folder exists, and replaces one of that name. Nothing
    /// is synced.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn replace(&self, mut spool: Spool, name: &str) -> Result<()> {
        let rename = || self.folder()?.rename(spool.name(), name);
        rename().map_err(|error| failed("make", &self.path(name), error))?;
        spool.keep();
        Ok(())
    }

    /// Removes what dead processes left in `tmp/`: files of the names that are made there, and that
    /// nobody has locked. Everything else stays.
    pub fn clear_left_over(&self) {
        if let Ok(folder) = self.folder() {
            folder.clear_left_over(TEMPORARY, "");
        }
    }

    /// Adds the objects in the folder `place`, whose name is `name`, and in those below it.
    fn collect(place: &Folder, name: &str, depth: usize, out: &mut Vec<Listed>) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("there are too many folders inside each other"));
        }
        let mut entries = place.entries("")?;
        while let Some(entry) = entries.next().transpose()? {
            let Some(file_name) = entry.name().to_str() else { continue };
            let name = format!("{name}/{file_name}");
            if entry.kind == FileType::Directory {
                match place.folder(file_name) {
                    // Gone, or replaced, since it was listed.
                    Err(error) if is_away(&error) => {}
                    below => Self::collect(&below?, &name, depth + 1, out)?,
                }
            } else if entry.kind == FileType::RegularFile {
                // One that is gone since it was listed is found to be when it is opened.
                let (length, modified) = match entries.stat(&entry) {
                    Ok(stat) => (
                        u64::try_from(stat.st_size).unwrap_or(0),
                        u64::try_from(stat.st_mtime).unwrap_or(0),
                    ),
                    Err(error) if is_away(&error) => (0, 0),
                    Err(error) => return Err(error),
                };
                out.push(Listed { name, length, modified });
            }
        }
        Ok(())
    }
}

/// Returns true if something does not exist, or is not a directory.
fn is_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_folder(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}

impl Backend for Directory {
    fn place(&self) -> String {
        self.root().display().to_string()
    }

    fn moved(&self) -> Result<Option<Arc<dyn Backend>>> {
        let Some(held) = self.inner.folder.get() else { return Ok(None) };
        let look = || -> io::Result<_> {
            let there = Folder::open(self.root())?;
            let found = there.stat("")?;
            // The file system of the one that is open may be gone.
            let is_same = |held: Stat| (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino);
            Ok((!held.stat("").is_ok_and(is_same)).then_some(there))
        };
        let there = look().map_err(|error| failed("open", self.root(), error))?;
        Ok(there.map(|there| -> Arc<dyn Backend> {
            Arc::new(Self::with(
                self.root().into(),
                OnceLock::from(there),
                self.inner.watcher.clone(),
            ))
        }))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut out = Vec::new();
        let place = self.folder().and_then(|root| root.folder(folder));
        match place.and_then(|place| Self::collect(&place, folder, 0, &mut out)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.map_err(|error| failed("list", &self.path(folder), error))?,
        }
        out.sort_unstable();
        Ok(out)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        let open = || -> io::Result<_> {
            let file = self.folder()?.read_file(name)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        match open() {
            Ok((file, length)) => {
                Ok(Some(Box::new(FileObject { file, length, path: self.path(name) })))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &self.path(name), error)),
        }
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // Neither is synced: what a power cut leaves of a hint is as good as none.
        self.replace(self.spool_of(bytes)?, name)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.publish(self.spool_of(bytes)?, name)
    }

    fn spool(&self) -> Result<Spool> {
        let cannot = |error| failed("make a file in", &self.path(TEMPORARY), error);
        let folder = match self.folder() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_root(ROOT_MODE)?;
                self.folder()
            }
            folder => folder,
        };
        let folder = folder.map_err(cannot)?;
        // What is in it need not last, so neither need its name.
        if folder.stat(TEMPORARY).is_err() {
            self.make_folder(Path::new(TEMPORARY))?;
        }
        let made = folder.create_temporary(TEMPORARY, "", FILE_MODE).map_err(cannot)?;
        Ok(Spool::below(folder.clone(), made))
    }

    fn publish(&self, mut spool: Spool, name: &str) -> Result<Created> {
        let target = Path::new(name);
        let folder = target.parent().unwrap_or(Path::new(""));
        let sync = || {
            self.before(&Step::SyncFile(spool.path()))?;
            spool.file().sync_all()
        };
        sync().map_err(|error| failed("sync", spool.path(), error))?;
        self.make_folder(folder)?;
        let created = self.rename(spool.name(), target)?;
        if created == Created::New {
            spool.keep();
        }
        // Also when it existed: its maker may not have come as far as this.
        self.sync_folder(folder)?;
        Ok(created)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        let name = Path::new(folder);
        match self.folder().and_then(|root| root.stat(name)) {
            Ok(stat) if is_folder(stat.st_mode) => {
                self.make_folder(name)?;
                self.sync_folder(name)
            }
            _ => Ok(()),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let remove = || {
            self.before(&Step::Remove(&path))?;
            self.folder()?.remove_file(name)
        };
        match remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, error))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the directory that `url` names, as a path or `file://` and one. Returns `None` for other
/// URLs.
pub fn directory_of(url: &str) -> Option<PathBuf> {
    match url.strip_prefix("file://") {
        Some(path) => Some(PathBuf::from(path)),
        None => (!url.contains("://")).then(|| PathBuf::from(url)),
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
        let read = self.file.read_exact_at(out, offset);
        read.map_err(|error| read_error(&self.path, offset, out.len(), error))
    }

    fn map(&self) -> Result<Bytes> {
        if self.length <= HELD_BYTES_MAX {
            let mut bytes = vec![0; to_usize(self.length)];
            self.read_at(0, &mut bytes)?;
            return Ok(Arc::new(bytes));
        }
        let file = self.file.try_clone().map_err(|error| failed("open", &self.path, error))?;
        Ok(Arc::new(FilePages::new(file, self.path.clone(), self.length)))
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
        let map = object.map().unwrap();
        let mut bytes = [0; 3];
        map.read_at(0, &mut bytes).unwrap();
        assert_eq!((map.length(), &bytes), (3, b"one"));
    }

    #[test]
    fn a_directory_stays_itself_and_tells_that_another_is_in_its_place() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("at");
        let store = Directory::new(&at);
        assert!(store.moved().unwrap().is_none(), "nothing is open");
        store.create("packs/x", b"old").unwrap();
        assert!(store.moved().unwrap().is_none());
        fs::rename(&at, place.path().join("away")).unwrap();
        assert!(store.moved().is_err());
        Directory::new(&at).create("packs/x", b"new").unwrap();
        let there = store.moved().unwrap().expect("another directory");
        assert_eq!(store.get("packs/x", 9).unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(there.get("packs/x", 9).unwrap().as_deref(), Some(&b"new"[..]));
        assert!(there.moved().unwrap().is_none());
    }

    #[test]
    fn a_file_system_without_links_is_named() {
        let error = io::Error::from(rustix::io::Errno::OPNOTSUPP);
        let error = failed("make", Path::new("/s/format"), error);
        assert!(error.hint_text().unwrap().contains("file system can neither"));
    }

    #[test]
    fn only_what_dead_processes_left_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::new(folder.path());
        let spool = store.spool().unwrap();
        let other = folder.path().join("tmp/keep.txt");
        fs::write(folder.path().join("tmp/0123456789abcdef"), "left over").unwrap();
        fs::write(&other, "another program's").unwrap();
        store.clear_left_over();
        let left = fs::read_dir(folder.path().join("tmp")).unwrap().count();
        assert_eq!(left, 2);
        fs::remove_file(other).unwrap();
        store.publish(spool, "packs/p").unwrap();
        assert_eq!(store.list("packs").unwrap().len(), 1);
        drop(store.spool().unwrap());
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
    #[test]
    fn links_in_a_store_lead_nowhere() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("0123456789abcdef");
        fs::write(&victim, "victim").unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["tmp", "packs", "refs"] {
            symlink(outside.path(), folder.path().join(name)).unwrap();
        }
        symlink(&victim, folder.path().join("format")).unwrap();
        let store = Directory::new(folder.path());
        store.clear_left_over();
        assert!(store.spool().is_err());
        assert!(store.create("packs/x", b"new").is_err());
        assert!(store.hint("packs/hint", b"new").is_err());
        assert!(store.list("packs").is_err());
        assert!(store.remove("packs/0123456789abcdef").is_err());
        assert!(store.open("packs/0123456789abcdef").is_err());
        assert!(store.open("format").is_err());
        fs::remove_file(folder.path().join("tmp")).unwrap();
        assert!(store.create("packs/x", b"new").is_err());
        assert!(store.hint("packs/hint", b"new").is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"victim");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}
