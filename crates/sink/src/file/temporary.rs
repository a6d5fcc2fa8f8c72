//! The new file that replaces the target when it is complete.
//!
//! It is next to the target as `.NAME.freestone-XXXXXXXXXXXXXXXX`, and its writer holds a `flock`
//! on it. A killed writer leaves its file, but not the lock: the next writer to the same target
//! removes every such file that it can lock. (A process id would not do: the two may run in
//! different containers.) Where locks are not supported, nothing is removed.

use crate::faults::storage;
use freestone_core::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The part of the name between the target's name and the random digits.
const MARK: &str = ".freestone-";
const RANDOM_DIGITS: usize = 16;
/// A name has at most 255 bytes, so the target's may have to be cut.
const NAME_BYTES_MAX: usize = 255 - 1 - MARK.len() - RANDOM_DIGITS;
/// A try fails only if a sweeper meets the new file between its creation and its lock.
const TRIES: usize = 16;

/// A file that is removed when this is dropped, unless it replaced the target.
pub(super) struct Temporary {
    /// The file, open for reading and writing.
    pub file: File,
    path: PathBuf,
    persisted: bool,
}

impl Temporary {
    /// Creates an empty file next to `target`, of `mode` less the umask. Also removes the files
    /// that killed writers of the same target left.
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
        Err(io::Error::other("another process removed every temporary file"))
    }

    /// Replaces `target` by the file, durably.
    ///
    /// # Errors
    /// [`Storage`](freestone_core::ErrorKind::Storage). The target is unchanged, unless only the
    /// sync of its directory failed.
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
            // If this fails, the next writer tries again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the directory of `target`, and the prefix of the names of its temporary files.
fn split(target: &Path) -> (&Path, OsString) {
    let directory = target.parent().unwrap_or(Path::new("/"));
    let name = target.file_name().unwrap_or_default().as_bytes();
    let mut prefix = vec![b'.'];
    prefix.extend_from_slice(&name[..name.len().min(NAME_BYTES_MAX)]);
    prefix.extend_from_slice(MARK.as_bytes());
    (directory, OsString::from_vec(prefix))
}

/// Removes the files in `directory` whose names begin with `prefix` and that are not being written
/// any more. It is a courtesy, so errors are ignored.
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
        // Open for writing, because NFS requires that for such a lock.
        let file = OpenOptions::new().write(true).open(&path);
        if file.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(path);
        }
    }
}
