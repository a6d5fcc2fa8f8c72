//! The report of a source: the paths that it left out, and those that cannot be pushed.

use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::{Error, path};
use std::fmt;

/// The most refused paths that are listed; the others are only counted. It bounds the memory, and a
/// longer list does not help the user.
pub const REFUSALS_LISTED_MAX: usize = 100;

/// The reason why a path cannot be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A link that leads to a directory.
    LinkToDirectory,
    /// A link that leads to nothing.
    LinkDangling,
    /// A link that leads in a circle, or through more links than the kernel follows.
    LinkCyclic,
    /// A link that leads out of the source, even if it leads back in.
    LinkOutside,
    /// A link that leads to a device, pipe or socket.
    LinkToSpecial,
    /// A link to a path that must not be pushed
    /// ([`crate::directory::DirectoryOptions::leave_out`]).
    LinkToLeftOut,
    /// A link whose text is longer than an entry can hold.
    LinkLong,
    /// A block or character device.
    Device,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A file of a kind that freestone does not know.
    Unknown,
    /// A path that is longer than an entry can hold.
    PathLong,
    /// A hard link whose target is not a file of the archive, or comes more than once in it.
    HardLink,
    /// A sparse file: the archive holds only parts of it.
    Sparse,
    /// The rest of a file that began in another archive.
    Continued,
    /// A path that leads out of the source.
    PathOutside,
    /// A path below a path that is a file.
    PathBelowFile,
    /// A path that holds a NUL byte.
    PathNul,
    /// A git submodule: a commit of another repository.
    Submodule,
    /// A pointer to a file that Git LFS keeps elsewhere.
    LfsPointer,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkToDirectory => "a link to a directory",
            Self::LinkDangling => "a link that leads nowhere",
            Self::LinkCyclic => "a link that leads in a circle",
            Self::LinkOutside => "a link that leads out of the directory",
            Self::LinkToSpecial => "a link to a device, pipe or socket",
            Self::LinkToLeftOut => "a link to a path that must not be pushed",
            Self::LinkLong => return write!(f, "a link of more than {LINK_BYTES_MAX} bytes"),
            Self::Device => "a device",
            Self::Pipe => "a pipe",
            Self::Socket => "a socket",
            Self::Unknown => "of an unknown kind",
            Self::HardLink => {
                "a hard link whose target is not a file, or comes more than once in the archive"
            }
            Self::Sparse => "a sparse file",
            Self::Continued => "a file that began in another archive",
            Self::PathOutside => "a path that leads out of the archive",
            Self::PathBelowFile => "a path below a file",
            Self::PathNul => "a path with a NUL byte",
            Self::Submodule => "a submodule: its files are in another repository",
            Self::LfsPointer => "a Git LFS pointer: the file itself is not here",
            Self::PathLong => return write!(f, "a path of more than {PATH_BYTES_MAX} bytes"),
        })
    }
}

/// A path that cannot be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Relative to the top of the source.
    pub path: Vec<u8>,
    /// The reason.
    pub reason: Reason,
}

/// The counts of what a source has left out, and a list of the paths that cannot be pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// The first paths that cannot be pushed, at most [`REFUSALS_LISTED_MAX`], in manifest order.
    pub refused: Vec<Refusal>,
    /// The number of paths that cannot be pushed.
    pub refused_count: u64,
    /// The number of paths that a pattern left out. The contents of a directory are not counted.
    pub excluded_count: u64,
    /// The number of files and directories of version control that were left out.
    pub version_control_count: u64,
    /// The number of paths of [`crate::directory::DirectoryOptions::leave_out`] that were found.
    pub left_out_count: u64,
    /// The first file of git attributes that marks paths for `git archive`: they are pushed all the
    /// same.
    pub export_attributes: Option<Vec<u8>>,
}

impl SourceReport {
    /// Adds a path that cannot be pushed.
    pub fn refuse(&mut self, path: &[u8], reason: Reason) {
        self.refused_count += 1;
        if self.refused.len() < REFUSALS_LISTED_MAX {
            self.refused.push(Refusal { path: path.to_vec(), reason });
        }
    }

    /// Adds another report of the same source, whose paths come in any order.
    pub fn add(&mut self, other: &Self) {
        self.refused.extend(other.refused.iter().cloned());
        self.refused.sort_by(|a, b| path::compare(&a.path, &b.path));
        self.refused.truncate(REFUSALS_LISTED_MAX);
        self.refused_count += other.refused_count;
        self.excluded_count += other.excluded_count;
        self.version_control_count += other.version_control_count;
        self.left_out_count += other.left_out_count;
    }

    /// Returns an error that lists the paths that cannot be pushed; `None` if there are none.
    pub fn error(&self) -> Option<Error> {
        self.error_with(
            "remove them, leave out some with --exclude, or all of them with --skip-special",
        )
    }

    /// Returns the same error as [`Self::error`], with another hint.
    pub fn error_with(&self, hint: &str) -> Option<Error> {
        if self.refused_count == 0 {
            return None;
        }
        let what = match self.refused_count {
            1 => "one path cannot be pushed:".to_owned(),
            count => format!("{count} paths cannot be pushed:"),
        };
        let shown =
            |refusal: &Refusal| format!("  {}: {}", path::display(&refusal.path), refusal.reason);
        let listed = self.refused.len() as u64;
        let more = self.refused_count - listed;
        let more = (more > 0).then(|| format!("  … and {more} more"));
        let lines = self.refused.iter().map(shown).chain(more);
        Some(Error::refused(what).list(lines).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::ErrorKind;

    #[test]
    fn the_list_is_bounded_and_the_rest_counted() {
        let mut report = SourceReport::default();
        assert!(report.error().is_none());
        report.refuse(b"a\n", Reason::Pipe);
        let one = report.error().unwrap();
        assert_eq!(one.to_string(), "one path cannot be pushed:\n  a\\x0a: a pipe");
        assert_eq!(one.kind(), ErrorKind::Refused);
        assert!(one.hint_text().unwrap().contains("--skip-special"));
        for number in 0..REFUSALS_LISTED_MAX + 6 {
            report.refuse(format!("{number}").as_bytes(), Reason::Socket);
        }
        let many = report.error().unwrap().to_string();
        assert_eq!(report.refused.len(), REFUSALS_LISTED_MAX);
        assert!(many.starts_with("107 paths"), "{many}");
        assert!(many.ends_with("\n  … and 7 more"), "{many}");
        assert_eq!(many.lines().count(), REFUSALS_LISTED_MAX + 2);
    }
}
