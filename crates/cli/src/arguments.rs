//! What can be said before any command, and how a wrong command line is answered.

use crate::command::Command;
use crate::global::Global;
use crate::values::{name, size};
use crate::{config, exit, output};
use clap::Parser;
use clap::error::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// Keeps content once, and cuts the block image of any of its revisions out of it
///
/// A directory is pushed into a store as a revision, in which equal contents are kept once; the
/// tar image of any revision comes out again, byte for byte the same everywhere, to be attached
/// as a block device.
#[derive(Parser)]
#[command(
    name = "freestone",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = after_help()
)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

fn after_help() -> String {
    let examples = "\
Examples:
  freestone image ./site -o www.img       the image of a directory, without any store
  freestone init                          make a store
  freestone push ./site -m 'first one'    push a directory; prints the revision's id
  freestone image main -o www.img         the image of what was pushed last
  freestone diff main~1 main              what changed";
    [examples, name::TEXT, config::TEXT, output::JSON_TEXT, size::TEXT, exit::TEXT].join("\n\n")
}

/// Answers a command line that is not understood, or that asks for help.
pub fn report(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked {
        // Styled where it goes to a terminal; a closed pipe is as good as any other end.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = match text.strip_prefix("error: ") {
        Some(rest) => format!("freestone: {rest}"),
        None => text,
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(exit::USAGE)
}
