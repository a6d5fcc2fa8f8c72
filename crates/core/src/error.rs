//! One error for all of freestone's libraries: what happened, to which thing, and what to do next.

use crate::Id;
use crate::unreadable::About;
use std::fmt;

/// What kind of failure an [`Error`] is; the program's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something failed that none of the other kinds names.
    Failed,
    /// The request itself makes no sense.
    Usage,
    /// Stored bytes are not what their name says.
    Corrupt,
    /// A stored thing names another one that is not there. It may be damage, or the reader's
    /// listing is older than what happened since. The exit code is that of [`Self::Corrupt`].
    Missing,
    /// Storage or network: reading or writing failed, or there is no room.
    Storage,
    /// The named thing does not exist.
    NotFound,
    /// Somebody else was first.
    Conflict,
    /// A policy, or what a format cannot hold.
    Refused,
}

/// The stored object that an [`Error`] is about, for a program that must know which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The pack of this id.
    Pack(Id),
    /// The index segment of this object name.
    Segment(String),
    /// A record.
    Record {
        /// The record's kind, in the word of its display.
        kind: &'static str,
        /// Its id.
        id: Id,
    },
    /// The ref of this name.
    Ref(String),
}

/// What happened, to which thing; the cause is [`std::error::Error::source`].
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    is_newer: bool,
    about: About,
    subject: Option<Subject>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in freestone that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `what` names the thing and what happened to it.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            hint: None,
            is_newer: false,
            about: About::Else,
            subject: None,
            source: None,
        }))
    }

    /// Stored bytes are not what they should be.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    /// Returns an error of kind [`ErrorKind::Missing`]: `what` is named by something stored, and is
    /// not there.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, what)
    }

    /// Returns the error of work that was cancelled, of kind [`ErrorKind::Failed`].
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Failed, "interrupted")
    }

    /// A named thing does not exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, what)
    }

    /// A policy, or what a format cannot hold.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, what)
    }

    /// A stored structure is of a later version, or uses what only a later version knows: to be
    /// said of bytes that are proven, since damage can look the same.
    pub fn newer(what: impl Into<String>) -> Self {
        let mut error = Self::refused(what).hint("use a newer freestone");
        error.0.is_newer = true;
        error
    }

    /// An input or output operation on `what` failed.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Storage, what).because(source)
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Puts `context` before what happened, as in "ref main: …".
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.what = format!("{context}: {}", self.0.what);
        self
    }

    /// Names the stored object that this is about, unless a deeper cause has done so.
    #[must_use]
    pub fn subject(mut self, subject: Subject) -> Self {
        self.0.subject.get_or_insert(subject);
        self
    }

    /// Says that this is about `path` of a source alone, so that what else is wrong with the source
    /// can be looked for before all is told together; see [`Unreadable`](crate::Unreadable).
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

    /// Returns the stored object that this is about, where that is known.
    pub fn subject_of(&self) -> Option<&Subject> {
        self.0.subject.as_ref()
    }

    /// Returns true if stored data is wrong: [`ErrorKind::Corrupt`] or [`ErrorKind::Missing`].
    pub fn is_damage(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Corrupt | ErrorKind::Missing)
    }

    /// Returns the message and the messages of all causes, separated by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.0.what.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a stored structure is of a later version; see [`Self::newer`].
    pub fn is_newer(&self) -> bool {
        self.0.is_newer
    }

    /// What the user can do next, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
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
