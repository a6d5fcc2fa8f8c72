//! A directory of files as a source.
//!
//! | found | pushed as |
//! |---|---|
//! | directory | a directory; what is mounted in it is part of it |
//! | regular file | a file; of its mode, only whether its owner may execute it |
//! | link to a file inside the directory | that file, with the link's text |
//! | the same by an absolute path | that file; such a text means something on this machine only |
//! | any other link, device, pipe, socket | refused, or skipped with [`DirectoryOptions::skip_special`] |
//! | version control's names ([`VERSION_CONTROL_NAMES`], [`VERSION_CONTROL_DIRECTORIES`]) | nothing |
//! | what a pattern names ([`DirectoryOptions::excludes`]) | nothing; a link to it is still its content |
//! | what [`DirectoryOptions::leave_out`] names | nothing; a link to it is refused |
//!
//! A link has the modification time, executable bit and stamp of the file that it leads to. What
//! is left out is left out before it can be refused. A file that vanishes while the directory is
//! listed was never there; a listed directory that is replaced by another is an error.

mod link;
mod listing;
mod names;
mod opener;
mod options;
mod spill;
mod stamp;
mod tree;
pub(crate) mod version_control;
mod walk;

pub use crate::report::{REFUSALS_LISTED_MAX, Reason, Refusal, SourceReport};
pub use opener::Opener;
pub use options::DirectoryOptions;
pub use version_control::{VERSION_CONTROL_DIRECTORIES, VERSION_CONTROL_NAMES};
pub use walk::Walk;

use crate::exclude::Excludes;
use freestone_core::Result;
use std::path::Path;
use std::sync::Arc;

/// Opens the directory `root` and lists its top; a link to it is followed.
///
/// # Errors
/// `root` is missing, no directory, unreadable or itself to be left out; a pattern cannot be
/// understood; there is no room for a temporary file.
pub fn open(root: &Path, options: &DirectoryOptions) -> Result<(Walk, Opener)> {
    let excludes = Excludes::new(&options.excludes)?;
    let tree = Arc::new(tree::Tree::open(root, &options.leave_out)?);
    let opener = Opener::new(Arc::clone(&tree));
    Ok((Walk::new(tree, excludes, options)?, opener))
}
