//! Rules that an image breaks.

use freestone_core::path;
use std::fmt;

/// Violations that are kept; beyond, they are counted.
const KEPT_MAX: usize = 100;

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
