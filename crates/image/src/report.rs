//! The result of checking an image.

use crate::violation::Violations;
use std::ops::Range;

/// The thing that holds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A file, which is as long as its image.
    File,
    /// A device, which may be longer than its image.
    Device,
}

/// A file or directory that was found in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: Vec<u8>,
    /// A range of the image that contains its bytes. An offset in the ranges of several files
    /// belongs to the one that was found first.
    pub bytes: Range<u64>,
}

/// The result of checking an image against the rules of its format.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// The name in the image's head, if freestone wrote it.
    pub name: Option<String>,
    /// The number of files in it.
    pub files: u64,
    /// The number of directories in it.
    pub directories: u64,
    /// The sum of the files' lengths, in bytes.
    pub bytes: u64,
    /// Whether all of it could be read.
    pub is_whole: bool,
    /// The rules that it breaks.
    pub violations: Violations,
    /// What some readers cannot do with it, though it breaks no rule: sentences without a full
    /// stop.
    pub notes: Vec<String>,
}
