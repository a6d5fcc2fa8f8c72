//! The new file that replaces the target when it is complete.
//!
//! It is next to the target as `.NAME.freestone-XXXXXXXXXXXXXXXX`, and its writer holds a `flock`
//! on it. A killed writer leaves its file, but not the lock: the next writer to the same target
//! removes every such file that it can lock. (A process id would not do: the two may run in
//! different containers.) Where locks are not supported, nothing is removed.

use crate::faults::storage;
use crate::file_target::FileTarget;
use freestone_core::{Error, Result};
use freestone_files::{Folder, prefix_beside};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// A file that is removed when this is dropped, unless it replaced the target.
pub(super) struct Temporary {
    /// The file, open for reading and writing.
    pub file: File,
    folder: Folder,
    name: PathBuf,
    persisted: bool,
}

impl Temporary {
    /// Creates an empty file next to `target`, of `mode` less the umask. Also removes the files
    /// that killed writers of the same target left.
    pub fn beside(target: &FileTarget, mode: u32) -> io::Result<Self> {
        let (folder, prefix) = (target.folder().clone(), prefix_beside(target.name()));
        folder.clear_left_over("", &prefix);
        let made = folder.create_temporary("", &prefix, mode)?;
        Ok(Self { file: made.file, folder, name: made.name, persisted: false })
    }

    /// Replaces `target` by the file, durably.
    ///
    /// # Errors
    /// [`Storage`](freestone_core::ErrorKind::Storage). The target is unchanged, unless only the
    /// sync of its directory failed.
    pub fn persist(mut self, target: &FileTarget) -> Result<()> {
        let wrong = |error| storage(target.path(), "cannot be put in place", error);
        self.file.sync_all().map_err(wrong)?;
        self.folder.rename(&self.name, target.name()).map_err(wrong)?;
        self.persisted = true;
        self.folder.sync("").map_err(|error| {
            let directory = self.folder.path().display();
            Error::io(format!("directory {directory} cannot be synced"), error)
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.persisted {
            // If this fails, the next writer tries again.
            let _ = self.folder.remove_file(&self.name);
        }
    }
}
