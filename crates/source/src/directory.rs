//! A directory of files as a source.
//!
//! | found | pushed as |
//! |---|---|
//! | directory | a directory; what is mounted in it is part of it |
//! | regular file | a file; of its mode, only whether its owner may execute it |
//! | link to a file inside the directory | that file, with the link's text |
//! | the same by an absolute path | that file, without the link's text, which is valid on this
//! machine only |
//! | any other link, device, pipe, socket | refused, or skipped with
//! [`DirectoryOptions::skip_special`] |
//! | what belongs to version control ([`version_control`]) | nothing |
//! | a Git LFS pointer ([`crate::lfs`]) | refused, or skipped with
//! [`DirectoryOptions::skip_special`] |
//! | a path that a pattern excludes ([`DirectoryOptions::excludes`]) | nothing; a link to it is
//! pushed as that file |
//! | a path of [`DirectoryOptions::leave_out`] | nothing; a link to it is refused |
//!
//! A link has the modification time, executable bit and stamp of its target. A path that is left
//! out is never refused. A file that is removed while the directory is listed is ignored; a listed
//! directory that is replaced by another one is an error.

mod changing;
mod link;
mod listing;
mod names;
mod opener;
mod options;
mod spill;
mod stamp;
mod tree;
pub mod version_control;
mod walk;

pub use crate::report::{REFUSALS_LISTED_MAX, Reason, Refusal, SourceReport};
pub use opener::Opener;
pub use options::DirectoryOptions;
pub use walk::Walk;

use crate::exclude::Excludes;
use freestone_core::Result;
use std::path::Path;
use std::sync::Arc;

/// Opens the directory `root`, or the one that the link `root` leads to, and lists its top.
///
/// # Errors
/// `root` is missing, not a directory, unreadable or itself left out; a pattern is invalid; or a
/// temporary file cannot be written.
pub fn open(root: &Path, options: &DirectoryOptions) -> Result<(Walk, Opener)> {
    let excludes = Excludes::new(&options.excludes)?;
    let tree = Arc::new(tree::Tree::open(root, &options.leave_out)?);
    let opener = Opener::new(Arc::clone(&tree), options.skip_special);
    Ok((Walk::new(tree, excludes, options)?, opener))
}
