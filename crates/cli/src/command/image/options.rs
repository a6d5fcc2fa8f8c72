//! The options for the image of a local directory.

use crate::values::time;
use clap::Args;
use std::path::PathBuf;

/// Options that apply only to the image of a local directory.
#[derive(Args)]
#[command(next_help_heading = "Options for a local directory")]
pub(super) struct DirectoryOptions {
    /// Set the time of all entries: seconds since 1970, or a time such as 2026-05-04T12:00:00Z.
    /// Default: $SOURCE_DATE_EPOCH, then the own time of each file
    #[arg(long, value_name = "T", value_parser = time::argument)]
    pub(super) mtime: Option<i64>,

    /// Leave out paths that match this pattern, written as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<String>,

    /// Leave out paths that match a pattern in this file, one pattern per line
    #[arg(long, value_name = "FILE")]
    pub(super) exclude_from: Vec<PathBuf>,

    /// Skip devices, sockets, pipes, and links that do not lead to a file inside, instead of
    /// failing
    #[arg(long)]
    pub(super) skip_special: bool,
}

impl DirectoryOptions {
    /// Returns true if any of the options was given.
    pub(super) fn is_given(&self) -> bool {
        self.mtime.is_some()
            || !self.exclude.is_empty()
            || !self.exclude_from.is_empty()
            || self.skip_special
    }
}
