//! A directory of files as a source.
//!
//! | found | pushed as |
//! |---|---|
//! | directory | a directory; what is mounted in it is part of it |
//! | regular file | a file; of its mode, only whether its owner may execute it |
//! | link to a file inside the directory | that file, with the link's text |
//! | the same by an absolute path | that file; such a text means something on this machine only |
//! | any other link, device, pipe, socket | refused, or skipped with [`Options::skip_special`] |
//! | version control's names ([`VERSION_CONTROL_NAMES`], [`VERSION_CONTROL_DIRECTORIES`]) | nothing |
//! | what a pattern names ([`Options::excludes`]) | nothing; a link to it is still its content |
//! | what [`Options::leave_out`] names | nothing; a link to it is refused |
//!
//! A link has the modification time, executable bit and stamp of the file that it leads to. What
//! is left out is left out before it can be refused. A file that vanishes while the directory is
//! listed was never there; a listed directory that is replaced by another is an error.

mod link;
mod listing;
mod names;
mod opener;
mod spill;
mod stamp;
mod tree;
pub(crate) mod version_control;
mod walk;

pub use crate::report::{REFUSALS_LISTED_MAX, Reason, Refusal, Report};
pub use opener::Opener;
pub use version_control::{VERSION_CONTROL_DIRECTORIES, VERSION_CONTROL_NAMES};
pub use walk::Walk;

use crate::exclude::Excludes;
use freestone_core::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of a directory is pushed, and what listing it may take.
#[derive(Clone, Debug)]
pub struct Options {
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

impl Default for Options {
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

/// Opens the directory `root` and lists its top; a link to it is followed.
///
/// # Errors
/// `root` is missing, no directory, unreadable or itself to be left out; a pattern cannot be
/// understood; there is no room for a temporary file.
pub fn open(root: &Path, options: &Options) -> Result<(Walk, Opener)> {
    let excludes = Excludes::new(&options.excludes)?;
    let tree = Arc::new(tree::Tree::open(root, &options.leave_out)?);
    let opener = Opener::new(Arc::clone(&tree));
    Ok((Walk::new(tree, excludes, options)?, opener))
}
