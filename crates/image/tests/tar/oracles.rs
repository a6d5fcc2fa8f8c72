//! Reading our images with other programs. A program that is missing fails the test.

mod list;
mod unpack;

use std::ffi::OsStr;
use std::process::{Command, Output};

/// Runs a program of Debian's `package`.
fn run(package: &str, command: &mut Command) -> Output {
    let output = command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").output().unwrap_or_else(|e| {
        panic!("{command:?}: {e}; these tests need Debian's package {package}")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn command(program: &str, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
