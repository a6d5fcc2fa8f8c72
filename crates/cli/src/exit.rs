//! How the program ends: exit codes, and the text of an error.

use freestone_core::{Error, ErrorKind, shown};
use std::fmt::Write as _;
use std::process::ExitCode;

/// The result of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It succeeded.
    Done,
    /// It failed, and there is no error to print.
    Failed,
    /// It found corruption, and reported it.
    Corrupt,
    /// `diff --exit-code` found a difference.
    Different,
}

/// The command line or the configuration is not valid. clap uses the same code.
pub const USAGE: u8 = 2;
/// The program was ended by a signal.
pub const INTERRUPTED: u8 = 130;

const FAILED: u8 = 1;
const CORRUPT: u8 = 3;
const DIFFERENT: u8 = 8;

/// The text about exit codes in the help.
pub const TEXT: &str = "\
Exit codes:
    0  success
    1  failure
    2  usage: the command line or the configuration is not valid
    3  corruption was found
    4  storage or network failure
    5  not found
    6  conflict: another process made a change first
    7  refused: by a safety rule, or because a format cannot represent the content
    8  diff --exit-code: the revisions differ
  130  interrupted by a signal";

impl Exit {
    /// Returns the exit code.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => FAILED,
            Self::Corrupt => CORRUPT,
            Self::Different => DIFFERENT,
        })
    }
}

/// Returns the exit code for an error of `kind`.
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

/// Returns true if `error` means only that the reader of our output has closed it.
pub fn is_closed_output(error: &Error) -> bool {
    freestone_sink::stream::is_closed(error)
}

/// Renders `error` for standard error: what happened, each cause on a line, and the hint. Every
/// part may quote what comes from elsewhere, so each is escaped, and secrets of URLs are left out.
pub fn describe(error: &Error) -> String {
    let shown = |text: &str| shown::line(&shown::without_secrets(text)).into_owned();
    let mut text = format!("freestone: {}\n", shown(error.message()));
    for line in error.lines() {
        let _ = writeln!(text, "{}", shown(line));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = writeln!(text, "  caused by: {}", shown(&error.to_string()));
        cause = error.source();
    }
    if let Some(hint) = error.hint_text() {
        let _ = writeln!(text, "  hint: {}", shown(hint));
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

    /// None of the parts can forge another, or a line of its own.
    #[test]
    fn no_part_of_an_error_reaches_the_terminal_as_it_is() {
        let hostile = "\x1b[31m\n  hint: \u{202e}https://user:SECRET@h/a?t=SECRET";
        let error = Error::io(hostile, std::io::Error::other(hostile))
            .list([format!("  {hostile}")])
            .hint(hostile);
        let text = describe(&error);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.replace('\n', "").contains(shown::is_unsafe), "{text}");
        assert!(!text.contains("SECRET"), "{text}");
    }
}
