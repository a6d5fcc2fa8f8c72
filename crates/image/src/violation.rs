//! Violations: the places where an image breaks a rule.

use crate::rule::Rule;
use freestone_core::path;
use std::fmt;

/// How many violations are kept. Those after them are only counted.
const KEPT_MAX: usize = 100;

/// A place where an image breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's short name, for programs.
    pub rule: &'static str,
    /// The consequence of a broken rule, for people.
    pub why: &'static str,
    /// The place, in bytes from the image's start.
    pub offset: u64,
    /// The path of the file or directory, where the violation is about one.
    pub path: Option<Vec<u8>>,
    /// A description of the place.
    pub what: String,
}

/// The violation and its consequence, on one line.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.rule, self.offset)?;
        if let Some(path) = &self.path {
            write!(f, " ({})", path::display(path))?;
        }
        write!(f, ": {}; {}", self.what, self.why)
    }
}

/// The first hundred violations, and the number of all.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    kept: Vec<Violation>,
    count: u64,
}

impl Violations {
    /// Adds one. It is only counted if enough were kept already.
    pub(crate) fn add(
        &mut self,
        rule: impl Rule,
        offset: u64,
        path: Option<&[u8]>,
        what: impl Into<String>,
    ) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            let (rule, why) = rule.texts();
            let path = path.map(<[u8]>::to_vec);
            self.kept.push(Violation { rule, why, offset, path, what: what.into() });
        }
    }

    /// Returns the first hundred, in the order in which they were found.
    pub fn kept(&self) -> &[Violation] {
        &self.kept
    }

    /// Returns the number of all violations.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::strict::TarRule;

    #[test]
    fn violations_are_bounded_and_counted() {
        let mut violations = Violations::default();
        for offset in 0..1000 {
            violations.add(TarRule::Name, offset, Some(b"a\n"), "it is odd");
        }
        assert_eq!((violations.kept().len(), violations.count()), (100, 1000));
        assert_eq!(
            violations.kept()[7].to_string(),
            "name at byte 7 (a\\x0a): it is odd; MirageOS takes such parts literally, and other \
             readers drop them"
        );
    }
}
