//! The options of the image of a directory.

use crate::values::time;
use clap::Args;
use std::path::PathBuf;

/// What only an image of a directory can be told.
#[derive(Args)]
#[command(next_help_heading = "For the image of a directory")]
pub(super) struct DirectoryOptions {
    /// Give everything this time, in seconds since 1970 or like 2026-05-04T12:00:00Z; else
    /// $SOURCE_DATE_EPOCH, else each file its own
    #[arg(long, value_name = "T", value_parser = time::argument)]
    pub(super) mtime: Option<i64>,

    /// Leave out what this pattern matches, written as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<String>,

    /// Leave out what the patterns in this file match, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) exclude_from: Vec<PathBuf>,

    /// Skip links that lead to no file inside, devices, sockets and pipes, instead of refusing
    #[arg(long)]
    pub(super) skip_special: bool,
}

impl DirectoryOptions {
    pub(super) fn is_given(&self) -> bool {
        self.mtime.is_some()
            || !self.exclude.is_empty()
            || !self.exclude_from.is_empty()
            || self.skip_special
    }
}
