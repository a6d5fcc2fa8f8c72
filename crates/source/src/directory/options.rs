//! The options of a directory that is pushed.

use std::path::PathBuf;

/// Options of a directory that is pushed: what is left out, and the memory for listing.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Patterns of paths to leave out ([`crate::exclude`]); a later pattern overrides earlier ones.
    pub excludes: Vec<String>,
    /// Whether files and directories of version control are pushed, too.
    pub keep_version_control: bool,
    /// Whether paths that cannot be pushed are skipped and reported, instead of making the push
    /// fail.
    pub skip_special: bool,
    /// Files and directories that must not be pushed, such as the store itself: absolute paths.
    /// They need not exist yet, and need not be inside the directory.
    pub leave_out: Vec<PathBuf>,
    /// The memory for names of directories, in bytes. Each directory on the way down may take half
    /// of the free memory; if its names need more, they go to a temporary file.
    pub memory_bytes: usize,
    /// The directory of that temporary file, which never has a name.
    pub spill_dir: PathBuf,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            excludes: Vec::new(),
            keep_version_control: false,
            skip_special: false,
            leave_out: Vec::new(),
            memory_bytes: 64 << 20,
            spill_dir: std::env::temp_dir(),
        }
    }
}
