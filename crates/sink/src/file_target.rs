//! The file to which an image is written.

use freestone_files::Folder;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A regular file, which need not exist yet, in a directory that is open: whoever exchanges a
/// directory of its path for another one does not change where the image goes.
#[derive(Clone, Debug)]
pub struct FileTarget {
    folder: Folder,
    name: OsString,
    path: PathBuf,
}

impl FileTarget {
    /// Returns the file `name` in `folder`, whose path is `path` for messages.
    pub(crate) fn new(folder: Folder, name: OsString, path: PathBuf) -> Self {
        Self { folder, name, path }
    }

    /// Returns the directory that holds the file.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the name of the file in its directory.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the path of the file, without links, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
