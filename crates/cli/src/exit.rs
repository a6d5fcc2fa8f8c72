//! How the program ends: its exit codes, and what it says when it fails.

use freestone_core::{Error, ErrorKind};
use std::fmt::Write as _;
use std::process::ExitCode;

/// What a command that did its work has to say by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done,
    /// What was to be looked at is something else.
    Failed,
    /// It found corruption, and has reported it.
    Corrupt,
    /// `diff --exit-code` found a difference.
    Different,
}

/// The request makes no sense; clap's own choice too.
pub const USAGE: u8 = 2;
/// A signal asked for the end.
pub const INTERRUPTED: u8 = 130;

const FAILED: u8 = 1;
const CORRUPT: u8 = 3;
const DIFFERENT: u8 = 8;

/// All exit codes, for the help.
pub const TEXT: &str = "\
Exit codes:
    0  done
    1  failed
    2  usage: the request makes no sense
    3  corruption found
    4  storage or network failed
    5  not found
    6  conflict: somebody else was first
    7  refused, by a policy or because a format cannot hold it
    8  diff --exit-code: different
  130  interrupted";

impl Exit {
    /// The exit code.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => FAILED,
            Self::Corrupt => CORRUPT,
            Self::Different => DIFFERENT,
        })
    }
}

/// The exit code that an error of `kind` ends the program with.
pub fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => USAGE,
        ErrorKind::Corrupt | ErrorKind::Missing => CORRUPT,
        ErrorKind::Storage => 4,
        ErrorKind::NotFound => 5,
        ErrorKind::Conflict => 6,
        ErrorKind::Refused => 7,
        _ => FAILED,
    }
}

/// Whether `error` says no more than that whoever read our output has closed it.
pub fn is_closed_output(error: &Error) -> bool {
    freestone_sink::stream::is_closed(error)
}

/// The error as it stands on the standard error: what happened, why, and what to do.
pub fn describe(error: &Error) -> String {
    let mut text = format!("freestone: {error}\n");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = writeln!(text, "  caused by: {error}");
        cause = error.source();
    }
    if let Some(hint) = error.hint_text() {
        let _ = writeln!(text, "  hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = Error::io("pack 12 cannot be read", std::io::Error::other("disk on fire"))
            .hint("look at the disk");
        assert_eq!(
            describe(&error),
            "freestone: pack 12 cannot be read\n  caused by: disk on fire\n  hint: look at the disk\n"
        );
        assert_eq!(code_of(error.kind()), 4);
    }
}
