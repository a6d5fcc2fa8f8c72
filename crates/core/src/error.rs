//! The error type of all of freestone's libraries: what happened, to which thing, and what the user
//! can do next.

use crate::Id;
use crate::unreadable::About;
use std::fmt;

/// The kind of failure that an [`Error`] is. The program's exit code depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A failure of none of the other kinds.
    Failed,
    /// The request itself is wrong, such as text that is not an id.
    Usage,
    /// Stored bytes do not hash to their id, or are not well formed.
    Corrupt,
    /// A stored thing refers to another one that is not there. Either it was lost, or it was moved
    /// since the reader listed the store. The exit code is that of [`Self::Corrupt`].
    Missing,
    /// Storage or network: reading or writing failed, or there is no space left.
    Storage,
    /// The user named a thing that does not exist.
    NotFound,
    /// Another process changed the same thing first.
    Conflict,
    /// A policy forbids it, or a format cannot hold it.
    Refused,
}

/// The stored thing that an [`Error`] is about, for callers that must know which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The pack with this id.
    Pack(Id),
    /// The index segment with this object name.
    Segment(String),
    /// A record.
    Record {
        /// The kind of the record, as it is displayed.
        kind: &'static str,
        /// Its id.
        id: Id,
    },
    /// The ref with this name.
    Ref(String),
}

/// The system has too many open files; the same number on all processors that Linux runs on.
const ENFILE: i32 = 23;
/// This process has too many open files.
const EMFILE: i32 = 24;

/// A failure: what happened, and to which thing. The cause is [`std::error::Error::source`].
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: String,
    lines: Vec<String>,
    hint: Option<String>,
    is_newer: bool,
    about: About,
    subject: Option<Subject>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in freestone that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns an error of `kind`; `what` names the thing and says what happened to it.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            lines: Vec::new(),
            hint: None,
            is_newer: false,
            about: About::Else,
            subject: None,
            source: None,
        }))
    }

    /// Returns an error of kind [`ErrorKind::Corrupt`]: stored bytes are not what they should be.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    /// Returns an error of kind [`ErrorKind::Missing`]: something stored refers to `what`, which is
    /// not there.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, what)
    }

    /// Returns the error of work that was cancelled, of kind [`ErrorKind::Failed`].
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Failed, "interrupted")
    }

    /// Returns an error of kind [`ErrorKind::NotFound`]: the user named a thing that does not
    /// exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, what)
    }

    /// Returns an error of kind [`ErrorKind::Refused`]: a policy forbids it, or a format cannot
    /// hold it.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, what)
    }

    /// Returns the error for a stored structure of a later version, or one that uses a feature of a
    /// later version. Only for bytes that were checked against their hash: damage can look the
    /// same.
    pub fn newer(what: impl Into<String>) -> Self {
        let mut error = Self::refused(what).hint("use a newer freestone");
        error.0.is_newer = true;
        error
    }

    /// Returns the error of a failed input or output operation on `what`.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let code = source.raw_os_error();
        let error = Self::new(ErrorKind::Storage, what).because(source);
        match code {
            Some(ENFILE | EMFILE) => error.hint(
                "too many files are open: raise the limit (`ulimit -n`, LimitNOFILE= of a service)",
            ),
            _ => error,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds lines below the message, such as a list of paths, each with the spaces that it begins
    /// with. A message has no newlines of its own: one in it comes from elsewhere, and is escaped.
    #[must_use]
    pub fn list(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.0.lines.extend(lines);
        self
    }

    /// Adds a hint: what the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Puts `context` in front of the message, as in "ref main: …".
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.what = format!("{context}: {}", self.0.what);
        self
    }

    /// Names the stored thing that this is about, unless an earlier call named one.
    #[must_use]
    pub fn subject(mut self, subject: Subject) -> Self {
        self.0.subject.get_or_insert(subject);
        self
    }

    /// Marks this as an error of the one `path` of a source, so that a walk can continue and report
    /// all such errors together at its end; see [`Unreadable`](crate::Unreadable).
    #[must_use]
    pub fn at_path(self, path: Vec<u8>) -> Self {
        self.about(About::Path(path))
    }

    pub(crate) fn about(mut self, about: About) -> Self {
        self.0.about = about;
        self
    }

    pub(crate) fn take_about(&mut self) -> About {
        std::mem::take(&mut self.0.about)
    }

    /// Returns the stored thing that this is about, if it is known.
    pub fn subject_of(&self) -> Option<&Subject> {
        self.0.subject.as_ref()
    }

    /// Returns true if stored data is wrong: [`ErrorKind::Corrupt`] or [`ErrorKind::Missing`].
    pub fn is_damage(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Corrupt | ErrorKind::Missing)
    }

    /// Returns the message without the lines below it.
    pub fn message(&self) -> &str {
        &self.0.what
    }

    /// Returns the lines below the message.
    pub fn lines(&self) -> &[String] {
        &self.0.lines
    }

    /// Returns the message and the messages of all causes, separated by `: `, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.0.what.clone();
        for line in &self.0.lines {
            text.push_str("; ");
            text.push_str(line.trim_start());
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Returns the kind of failure that this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns true if a stored structure is of a later version; see [`Self::newer`].
    pub fn is_newer(&self) -> bool {
        self.0.is_newer
    }

    /// Returns the hint: what the user can do next, if that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        self.0.lines.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn the_cause_is_the_source_and_not_part_of_the_text() {
        let error = Error::io("pack 12", std::io::Error::other("disk on fire"))
            .context("push")
            .hint("look at the disk");
        assert_eq!(error.to_string(), "push: pack 12");
        assert_eq!(error.source().map(ToString::to_string), Some("disk on fire".into()));
        assert_eq!(error.hint_text(), Some("look at the disk"));
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert_eq!(error.chain(), "push: pack 12: disk on fire");
    }

    #[test]
    fn the_first_subject_stays() {
        let error = Error::missing("chunk").subject(Subject::Pack(Id([1; 32])));
        let error = error.context("index").subject(Subject::Segment("index/0".into()));
        assert_eq!(error.subject_of(), Some(&Subject::Pack(Id([1; 32]))));
        assert!(error.is_damage());
        assert_eq!(Error::interrupted().subject_of(), None);
    }
}
