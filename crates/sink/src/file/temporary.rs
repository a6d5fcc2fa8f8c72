//! The file that becomes the target when it is complete.
//!
//! It stands beside the target as `.NAME.freestone-XXXXXXXXXXXXXXXX` and its writer holds a
//! `flock` on it. A killed writer leaves its file behind, but not the lock: whoever writes to the
//! same target next removes every such file that it can lock. (A process id would not do: the two
//! may run in different containers.) Where locks are not supported, nothing is removed.

use crate::faults::storage;
use freestone_core::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What stands between the target's name and the random part.
const MARK: &str = ".freestone-";
const RANDOM_DIGITS: usize = 16;
/// A name has at most 255 bytes; the target's may have to be cut.
const NAME_BYTES_MAX: usize = 255 - 1 - MARK.len() - RANDOM_DIGITS;
/// Each is lost only to a sweeper that meets the file between its creation and its lock.
const TRIES: usize = 16;

/// A file that is removed when this is dropped, unless it became the target.
pub(super) struct Temporary {
    /// The file, open for reading and writing.
    pub file: File,
    path: PathBuf,
    persisted: bool,
}

impl Temporary {
    /// Makes an empty file beside `target`, of `mode` less the umask, and removes what killed
    /// writers of the same target left.
    pub fn beside(target: &Path, mode: u32) -> io::Result<Self> {
        let (directory, prefix) = split(target);
        sweep(directory, &prefix);
        for _ in 0..TRIES {
            let random = RandomState::new().build_hasher().finish();
            let mut name = prefix.clone();
            name.push(format!("{random:016x}"));
            let path = directory.join(name);
            let mut options = OpenOptions::new();
            let file = match options.read(true).write(true).create_new(true).mode(mode).open(&path)
            {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            let temporary = Self { file, path, persisted: false };
            if matches!(temporary.file.try_lock(), Err(TryLockError::WouldBlock))
                || temporary.file.metadata()?.nlink() == 0
            {
                continue;
            }
            return Ok(temporary);
        }
        Err(io::Error::other("no temporary file could be kept"))
    }

    /// Puts the file in the place of `target`, durably.
    ///
    /// # Errors
    /// [`Storage`](freestone_core::ErrorKind::Storage); the target is untouched unless its
    /// directory could not be synced.
    pub fn persist(mut self, target: &Path) -> Result<()> {
        let wrong = |error| storage(target, "cannot be put in place", error);
        self.file.sync_all().map_err(wrong)?;
        fs::rename(&self.path, target).map_err(wrong)?;
        self.persisted = true;
        let (directory, _) = split(target);
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| {
            Error::io(format!("directory {} cannot be synced", directory.display()), error)
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.persisted {
            // Should it fail, the next writer tries again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The directory of `target`, and what the names of its temporary files begin with.
fn split(target: &Path) -> (&Path, OsString) {
    let directory = target.parent().unwrap_or(Path::new("/"));
    let name = target.file_name().unwrap_or_default().as_bytes();
    let mut prefix = vec![b'.'];
    prefix.extend_from_slice(&name[..name.len().min(NAME_BYTES_MAX)]);
    prefix.extend_from_slice(MARK.as_bytes());
    (directory, OsString::from_vec(prefix))
}

/// Removes the files in `directory` that begin with `prefix` and that nobody writes any more.
/// It is a courtesy: what cannot be looked at is left alone.
fn sweep(directory: &Path, prefix: &OsStr) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.as_bytes().strip_prefix(prefix.as_bytes());
        let ours = random.is_some_and(|random| {
            random.len() == RANDOM_DIGITS && random.iter().all(u8::is_ascii_hexdigit)
        });
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        // Open for writing, as NFS wants it for such a lock.
        let file = OpenOptions::new().write(true).open(&path);
        if file.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(path);
        }
    }
}
