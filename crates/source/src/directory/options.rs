//! What of a directory is pushed.

use std::path::PathBuf;

/// What of a directory is pushed, and what listing it may take.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Patterns of what to leave out ([`crate::exclude`]), later ones winning.
    pub excludes: Vec<String>,
    /// Whether version control's files and directories are pushed too.
    pub keep_version_control: bool,
    /// Whether to skip and report what cannot be pushed, instead of failing.
    pub skip_special: bool,
    /// Files and directories that must not be pushed, such as the store itself: absolute paths.
    /// They need not exist yet, nor lie inside.
    pub leave_out: Vec<PathBuf>,
    /// How much memory the names of directories may take, in bytes. Half of what is free goes to
    /// each directory on the way down; what is more, to a temporary file.
    pub memory_bytes: usize,
    /// Where that temporary file goes. It never has a name.
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
