//! Output: results on standard output, everything else on standard error.
//!
//! All text passes `freestone_core::shown` here, so that nothing that comes from a store, a server
//! or a name can control the terminal; a test holds that nothing else prints.

pub mod diff_stats;
mod json;
pub mod progress;
pub mod skipped;

pub use json::{JsonEntry, JsonPath, JsonRevision};

use freestone_core::{Error, ErrorKind, Id, Result, lock, path, shown};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// The text about JSON in the help.
pub const JSON_TEXT: &str = "\
JSON (--json):
  One object on standard output; `log` and `ref log` print one object per line. Sizes are in bytes,
  times in seconds since 1970. A path has the key \"path\" if it is UTF-8. Otherwise its key is
  \"path_escaped\": bytes that are not UTF-8 and control characters are written \\xNN, and \\ is
  doubled. Control characters and those that change the direction of text are written \\uNNNN in
  all values. The local paths \"store\" and \"output\" are escaped in the same way if they are not UTF-8.
  Keys may be added, but are never removed. Errors remain text on standard error.";

/// The reference from the help of a command to [`JSON_TEXT`].
pub const JSON_SEE: &str = "`freestone --help` explains how paths, sizes and times are written.";

/// Number of digits of an id that is shortened for people.
const SHORT_DIGITS: usize = 12;

/// Returns the first digits of an id, enough to identify it.
pub fn short(id: &Id) -> String {
    let mut digits = id.to_string();
    digits.truncate(SHORT_DIGITS);
    digits
}

/// Renders a local path for JSON.
pub fn place(place: &Path) -> String {
    let bytes = place.as_os_str().as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| path::display(bytes), str::to_owned)
}

/// Standard output and standard error.
pub struct Output {
    json: bool,
    quiet: bool,
    verbosity: u8,
    stdout: Mutex<BufWriter<io::Stdout>>,
}

impl Output {
    /// Creates the outputs. `json` selects JSON for results, `quiet` suppresses everything but
    /// results and errors, and `verbosity` is the number of `-v`.
    pub fn new(json: bool, quiet: bool, verbosity: u8) -> Self {
        let stdout = Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()));
        Self { json, quiet, verbosity, stdout }
    }

    /// Returns true if results are printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Returns true if more details are printed.
    pub fn is_verbose(&self) -> bool {
        self.verbosity > 0
    }

    /// Returns true if progress bars may be shown.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Returns true if standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Prints a line of the result.
    ///
    /// # Errors
    /// Standard output cannot be written, or was closed.
    pub fn line(&self, line: impl fmt::Display) -> Result<()> {
        let line = line.to_string();
        writeln!(self.stdout(), "{}", shown::line(&line)).map_err(wrong)
    }

    /// Writes bytes of the result as they are.
    ///
    /// # Errors
    /// Standard output cannot be written, or was closed.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        self.stdout().write_all(bytes).map_err(wrong)
    }

    /// Prints the result as JSON, on one line.
    ///
    /// # Errors
    /// Standard output cannot be written, or was closed.
    pub fn json(&self, answer: &impl Serialize) -> Result<()> {
        self.bytes(format!("{}\n", shown::json(&to_json(answer)?)).as_bytes())
    }

    /// Prints the result as JSON: the object `head`, to which the list `key` is added. `fill`
    /// writes the items of the list one by one, so that they need not fit in memory.
    ///
    /// # Errors
    /// Standard output cannot be written, or was closed; or `fill` fails.
    pub fn json_list(
        &self,
        head: &impl Serialize,
        key: &str,
        fill: impl FnOnce(&mut JsonList<'_>) -> Result<()>,
    ) -> Result<()> {
        let head = to_json(head)?;
        let open = head.strip_suffix('}').unwrap_or(&head);
        let comma = if open.len() > 1 { "," } else { "" };
        self.bytes(format!("{}{comma}\"{key}\":[", shown::json(open)).as_bytes())?;
        fill(&mut JsonList { output: self, is_first: true })?;
        self.bytes(b"]}\n")
    }

    /// Flushes standard output at the end of the result.
    ///
    /// # Errors
    /// Standard output cannot be written, or was closed.
    pub fn finish(&self) -> Result<()> {
        self.stdout().flush().map_err(wrong)
    }

    /// Prints a line of the result to standard error, if standard output is used for something
    /// else.
    pub fn aside(&self, line: impl fmt::Display) {
        print_aside("", &line.to_string());
    }

    /// Prints a line to standard error, except with `--quiet`.
    pub fn note(&self, line: impl fmt::Display) {
        if !self.quiet {
            self.aside(line);
        }
    }

    /// Prints a line to standard error with `--verbose`.
    pub fn detail(&self, line: impl fmt::Display) {
        if self.verbosity > 0 {
            self.note(line);
        }
    }

    /// Returns a function that writes the log of a server to standard error, except with `--quiet`.
    pub fn log(&self) -> Box<dyn Fn(&str) + Send + Sync> {
        let quiet = self.quiet;
        Box::new(move |line| {
            if !quiet {
                print_aside("freestone: ", line);
            }
        })
    }

    /// Returns a function that prints as [`Self::note`] does.
    pub fn notice(&self) -> Box<dyn Fn(&str) + Send + Sync> {
        let quiet = self.quiet;
        Box::new(move |line| {
            if !quiet {
                print_aside("", line);
            }
        })
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<io::Stdout>> {
        lock(&self.stdout)
    }
}

/// Renders a value as JSON.
fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| wrong(error.into()))
}

/// Prints a line to standard error, without the secrets of URLs.
fn print_aside(start: &str, line: &str) {
    let line = shown::without_secrets(line);
    // If standard error is closed, there is nowhere left to report to.
    let _ = io::stderr().write_all(format!("{start}{}\n", shown::line(&line)).as_bytes());
}

fn wrong(error: io::Error) -> Error {
    let what = "cannot write to standard output";
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::new(ErrorKind::Failed, what).because(error),
        _ => Error::io(what, error),
    }
}

/// A list in a JSON result, whose items are written one by one.
pub struct JsonList<'a> {
    output: &'a Output,
    is_first: bool,
}

impl JsonList<'_> {
    /// Writes the next item.
    ///
    /// # Errors
    /// Standard output cannot be written, or was closed.
    pub fn item(&mut self, item: &impl Serialize) -> Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.output.bytes(b",")?;
        }
        self.output.bytes(shown::json(&to_json(item)?).as_bytes())
    }
}
