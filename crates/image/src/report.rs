//! What checking an image gives.

use crate::ImageName;
use crate::violation::Violations;
use std::ops::Range;

/// What holds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A file, which is as long as its image.
    File,
    /// A device, which may be longer.
    Device,
}

/// A file or directory that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: Vec<u8>,
    /// The bytes of the image that belong to it, or to none that was found before it.
    pub bytes: Range<u64>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the image says it is, if freestone wrote it.
    pub name: Option<ImageName>,
    /// How many files it holds.
    pub files: u64,
    /// How many directories it holds.
    pub directories: u64,
    /// How many bytes the files have.
    pub bytes: u64,
    /// Whether all of it could be read.
    pub is_whole: bool,
    /// The rules it breaks.
    pub violations: Violations,
}
