//! The directory that `extract` fills, without ever writing outside of it.
//!
//! Everything in it is created; nothing that exists is followed or replaced. Another user who may
//! write to the directory can make the extraction fail, but cannot make it write elsewhere.

use freestone_core::{Error, Result, lock, path};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, mkdirat, open,
    openat, openat2, syncfs, utimensat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory in which files are created.
pub(super) struct OutputDirectory {
    root: OwnedFd,
    /// The directory that was used last: the next entry is mostly in the same one.
    last: Mutex<(Vec<u8>, Option<Arc<OwnedFd>>)>,
    /// The names that were created at the top, each followed by a zero byte.
    made: Mutex<Vec<u8>>,
}

fn wrong(path: &[u8], what: &str, errno: Errno) -> Error {
    let name = path::display(path);
    let error = Error::io(format!("{name} cannot be {what}"), errno.into());
    match errno {
        Errno::EXIST => error.hint(
            "another program writes to this directory, or its file system treats two different \
             names as the same",
        ),
        Errno::NAMETOOLONG => error.hint("the file system does not support names of this length"),
        _ => error,
    }
}

impl OutputDirectory {
    fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Opened before anything is written, so that `sync` reports every failed write.
        let root = open(directory, flags, Mode::empty())?;
        Ok(Self { root, last: Mutex::default(), made: Mutex::default() })
    }

    /// Creates the directory `path`, whose parent was created before.
    pub(super) fn make_directory(&self, path: &[u8]) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let parent = parent.as_ref().map_or(self.root.as_fd(), |parent| parent.as_fd());
        mkdirat(parent, name, Mode::from_raw_mode(0o755))
            .map_err(|errno| wrong(path, "created", errno))?;
        self.note_made(path);
        Ok(())
    }

    /// Creates the file `path`, whose directory was created before.
    pub(super) fn make_file(&self, path: &[u8], executable: bool) -> Result<File> {
        let mode = if executable { 0o755 } else { 0o644 };
        let (parent, name) = self.parent(path)?;
        let parent = parent.as_ref().map_or(self.root.as_fd(), |parent| parent.as_fd());
        let file = openat(parent, name, NEW_FILE, Mode::from_raw_mode(mode));
        let file = file.map(File::from).map_err(|errno| wrong(path, "created", errno))?;
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
        let parent = parent.as_ref().map_or(self.root.as_fd(), |parent| parent.as_fd());
        utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| wrong(path, "given its time", errno))
    }

    /// Returns the directory that holds `path`, `None` for the top, and the name in it.
    fn parent<'a>(&self, path: &'a [u8]) -> Result<(Option<Arc<OwnedFd>>, &'a [u8])> {
        let Some(parent) = path::parent(path) else { return Ok((None, path)) };
        let name = &path[parent.len() + 1..];
        let mut last = lock(&self.last);
        if let (known, Some(open)) = &*last
            && known == parent
        {
            return Ok((Some(open.clone()), name));
        }
        let open = self.directory(parent).map_err(|errno| wrong(parent, "opened", errno))?;
        let open = Arc::new(open);
        *last = (parent.to_vec(), Some(open.clone()));
        Ok((Some(open), name))
    }

    fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, DIRECTORY, Mode::empty(), resolve) {
            // The system call is missing or forbidden by a sandbox, or a directory was renamed.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
            opened => return opened,
        }
        let mut held: Option<OwnedFd> = None;
        for part in path.split(|byte| *byte == b'/') {
            let directory = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            held = Some(openat(directory, part, DIRECTORY, Mode::empty())?);
        }
        held.ok_or(Errno::INVAL)
    }
}

/// The directory to fill. If it is dropped without [`Self::finish`], everything written is removed.
pub(super) struct Destination {
    place: OutputDirectory,
    path: PathBuf,
    /// The temporary directory next to `path` in which a new directory is filled.
    beside: Option<TempDir>,
    is_finished: bool,
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
        let beside = match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => None,
            Ok(false) => {
                return Err(Error::refused(format!("{name} is not empty"))
                    .hint("give a directory that is empty or does not exist"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(beside(path)?),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(Error::refused(format!("{name} exists and is not a directory"))
                    .hint("give a directory that is empty or does not exist"));
            }
            Err(error) => return Err(wrong(error)),
        };
        let filled = match &beside {
            None => path.to_owned(),
            Some(beside) => {
                let filled = beside.path().join(FILLED);
                mkdirat(CWD, &filled, Mode::from_raw_mode(0o755))
                    .map_err(|errno| wrong(errno.into()))?;
                filled
            }
        };
        let place = OutputDirectory::open(&filled).map_err(wrong)?;
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
            fs::rename(beside.path().join(FILLED), &self.path).map_err(|error| {
                Error::io(format!("{} cannot be created", self.path.display()), error)
                    .hint("another program may have created it meanwhile")
            })?;
            // The name is made durable too, if possible. Its failure is ignored: the files are
            // there.
            if let Some(parent) = beside.path().parent().and_then(|parent| File::open(parent).ok())
            {
                let _ = parent.sync_all();
            }
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
            let path = self.path.join(OsStr::from_bytes(name));
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            let _ = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

/// Creates a directory next to `path` that only this user can read.
fn beside(path: &Path) -> Result<TempDir> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new().prefix(".freestone-").tempdir_in(parent).map_err(|error| {
        let what = format!("{} cannot be created", path.display());
        match error.kind() {
            io::ErrorKind::NotFound => {
                let parent = parent.display();
                Error::not_found(format!("{what}: {parent} does not exist")).hint("create it first")
            }
            _ => Error::io(what, error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
