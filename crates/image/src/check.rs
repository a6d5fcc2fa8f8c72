//! Checking an image, whatever its format: what is in it, and which rules of its readers it breaks.
//!
//! Each format has rules of its own and a model that checks them; what they find is told alike.

use crate::{Format, Identity, ImageName, ReadAt};
use freestone_core::{Result, path};
use std::fmt;
use std::ops::Range;

/// Violations that are kept; beyond, they are counted.
const KEPT_MAX: usize = 100;

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

/// A place where an image breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's short name, for programs.
    pub rule: &'static str,
    /// What breaks where the rule is broken, for people.
    pub why: &'static str,
    /// Where, in bytes from the image's start.
    pub offset: u64,
    /// The path that it is about.
    pub path: Option<Vec<u8>>,
    /// What stands there.
    pub what: String,
}

/// The violation and why it matters, on one line.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.rule, self.offset)?;
        if let Some(path) = &self.path {
            write!(f, " ({})", path::display(path))?;
        }
        write!(f, ": {}; {}", self.what, self.why)
    }
}

/// The first violations, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    kept: Vec<Violation>,
    count: u64,
}

impl Violations {
    /// Adds one.
    pub(crate) fn add(&mut self, violation: Violation) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(violation);
        }
    }

    /// Counts those that were found but not kept, up to `count` in all.
    pub(crate) fn count_more(&mut self, count: u64) {
        self.count = self.count.max(count);
    }

    /// The first hundred, in the order in which they were found.
    pub fn kept(&self) -> &[Violation] {
        &self.kept
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
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

/// Checks an image whose head is `identity`, and gives `each` what is in it; `None` if it is of no
/// format that is known here.
///
/// # Errors
/// The image cannot be read, or what `each` returns. Broken rules are no errors.
pub fn check<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    identity: &Identity,
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<Option<Report>> {
    let name = match identity {
        Identity::Image(name) => Some(name.format.name()),
        Identity::Other(looks_like) => Format::looking_like(looks_like),
        _ => None,
    };
    match name {
        Some(name) => Format::check(name, image, container, each),
        None => Ok(None),
    }
}
