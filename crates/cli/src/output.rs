//! What is said, and where: the answer on the standard output, all else on the standard error.

pub mod diff_stats;
mod json;
pub mod progress;
pub mod skipped;

pub use json::{JsonEntry, JsonPath, JsonRevision};

use freestone_core::{Error, ErrorKind, Id, Result, lock, path};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// How JSON is written, for the help.
pub const JSON_TEXT: &str = "\
JSON (--json):
  One object on the standard output, or one a line for `log` and `ref log`. Sizes are bytes, times
  are seconds since 1970. A path is \"path\" if it is UTF-8; else it is \"path_escaped\", with bytes
  that are not UTF-8 and control characters as \\xNN, and \\ doubled; so are \"store\" and \"output\",
  places on this machine, if they are not UTF-8. Keys may be added, and are not removed. Errors
  stay text on the standard error.";

/// Where the help of a command says no more of JSON than its keys.
pub const JSON_SEE: &str = "`freestone --help` says how paths, sizes and times are written.";

/// Digits of an id where it is shortened for people.
const SHORT_DIGITS: usize = 12;

/// The first digits of an id, enough to name it.
pub fn short(id: &Id) -> String {
    let mut digits = id.to_string();
    digits.truncate(SHORT_DIGITS);
    digits
}

/// A text that somebody else wrote, for people: without control characters.
pub fn text(text: &str) -> String {
    path::display(text.as_bytes()).replace("\\\\", "\\")
}

/// A place on this machine, in JSON.
pub fn place(place: &Path) -> String {
    let bytes = place.as_os_str().as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| path::display(bytes), str::to_owned)
}

/// The two outputs.
pub struct Output {
    json: bool,
    quiet: bool,
    verbosity: u8,
    stdout: Mutex<BufWriter<io::Stdout>>,
}

impl Output {
    /// `json` chooses the form of answers; `quiet` silences all but answers and errors;
    /// `verbosity` counts the `-v`.
    pub fn new(json: bool, quiet: bool, verbosity: u8) -> Self {
        let stdout = Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()));
        Self { json, quiet, verbosity, stdout }
    }

    /// Whether answers are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether people asked for answers and errors only.
    #[cfg(feature = "remote")]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether people asked for more.
    pub fn is_verbose(&self) -> bool {
        self.verbosity > 0
    }

    /// Whether progress may be shown.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether the standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// A line of the answer.
    ///
    /// # Errors
    /// The standard output cannot be written, or was closed.
    pub fn line(&self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.stdout(), "{line}").map_err(wrong)
    }

    /// Bytes of the answer as they are.
    ///
    /// # Errors
    /// The standard output cannot be written, or was closed.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        self.stdout().write_all(bytes).map_err(wrong)
    }

    /// The answer as JSON, on one line.
    ///
    /// # Errors
    /// The standard output cannot be written, or was closed.
    pub fn json(&self, answer: &impl Serialize) -> Result<()> {
        let mut stdout = self.stdout();
        serde_json::to_writer(&mut *stdout, answer).map_err(|error| wrong(error.into()))?;
        stdout.write_all(b"\n").map_err(wrong)
    }

    /// The answer as JSON: the object `head`, and in it the list `key` of any number of items,
    /// which `fill` writes one after the other.
    ///
    /// # Errors
    /// The standard output cannot be written, or was closed; or what `fill` returns.
    pub fn json_list(
        &self,
        head: &impl Serialize,
        key: &str,
        fill: impl FnOnce(&mut JsonList<'_>) -> Result<()>,
    ) -> Result<()> {
        let head = serde_json::to_string(head).map_err(|error| wrong(error.into()))?;
        let open = head.strip_suffix('}').unwrap_or(&head);
        let comma = if open.len() > 1 { "," } else { "" };
        self.bytes(format!("{open}{comma}\"{key}\":[").as_bytes())?;
        fill(&mut JsonList { output: self, is_first: true })?;
        self.bytes(b"]}\n")
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// The standard output cannot be written, or was closed.
    pub fn finish(&self) -> Result<()> {
        self.stdout().flush().map_err(wrong)
    }

    /// A line of an answer whose place on the standard output is taken.
    pub fn aside(&self, line: impl fmt::Display) {
        // Nobody can be told that nothing can be said.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// A line for people, unless they asked for quiet.
    pub fn note(&self, line: impl fmt::Display) {
        if !self.quiet {
            self.aside(line);
        }
    }

    /// A line for people who asked for more.
    pub fn detail(&self, line: impl fmt::Display) {
        if self.verbosity > 0 {
            self.note(line);
        }
    }

    /// Where a server says what happens, line by line, unless they asked for quiet.
    pub fn log(&self) -> Box<dyn Fn(&str) + Send + Sync> {
        let quiet = self.quiet;
        Box::new(move |line| {
            if !quiet {
                let _ = writeln!(io::stderr(), "freestone: {}", text(line));
            }
        })
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<io::Stdout>> {
        lock(&self.stdout)
    }
}

fn wrong(error: io::Error) -> Error {
    let what = "the standard output cannot be written";
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::new(ErrorKind::Failed, what).because(error),
        _ => Error::io(what, error),
    }
}

/// Writes the items of a list in an answer.
pub struct JsonList<'a> {
    output: &'a Output,
    is_first: bool,
}

impl JsonList<'_> {
    /// The next item.
    ///
    /// # Errors
    /// The standard output cannot be written, or was closed.
    pub fn item(&mut self, item: &impl Serialize) -> Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.output.bytes(b",")?;
        }
        serde_json::to_writer(&mut *self.output.stdout(), item).map_err(|error| wrong(error.into()))
    }
}
