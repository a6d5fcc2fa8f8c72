//! Nothing but the program's output prints: there all text is escaped.

use crate::source::{code_of, files_below};
use freestone_testkit::top;

/// The files that may write to standard output or standard error, and why.
const PRINTING: [(&str, &str); 6] = [
    ("crates/cli/src/output.rs", "all text passes `shown` there"),
    ("crates/cli/src/main.rs", "errors, which `exit::describe` escapes"),
    ("crates/cli/src/arguments.rs", "the help, and errors of the command line, escaped"),
    ("crates/cli/src/command/mount.rs", "errors, which `exit::describe` escapes"),
    ("crates/cli/src/command/mount/background.rs", "a fixed word, between two processes"),
    ("crates/sink/src/stream.rs", "the bytes of an image"),
];

const WORDS: [&str; 7] =
    ["io::stdout(", "io::stderr(", "stdout().lock", "println!", "eprintln!", "print!(", "dbg!("];

#[test]
fn only_the_output_prints() {
    let mut printing = Vec::new();
    for path in files_below(&top().join("crates"), "rs") {
        let name = path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
        let is_source = name.split('/').nth(2) == Some("src") && !name.contains("/testkit/");
        let code = code_of(&std::fs::read_to_string(&path).unwrap());
        if is_source && WORDS.iter().any(|word| code.contains(word)) {
            printing.push(name);
        }
    }
    let mut allowed: Vec<_> = PRINTING.iter().map(|(name, _)| (*name).to_owned()).collect();
    allowed.sort();
    printing.sort();
    assert_eq!(printing, allowed, "print by `Output`; see crates/cli/src/output.rs");
}
