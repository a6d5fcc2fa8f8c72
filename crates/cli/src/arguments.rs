//! The grammar of the command line, and the answer to one that is wrong.

use crate::command::Command;
use crate::global::Global;
use crate::values::{name, size};
use crate::{config, exit, output};
use clap::Parser;
use clap::error::ErrorKind;
use freestone_core::shown;
use std::io::Write;
use std::process::ExitCode;

/// Stores revisions of directories without duplicates, and builds block images of them
///
/// `freestone push` stores a directory as a revision; files with equal contents are stored once,
/// across all revisions. `freestone image` builds the block image of any revision, a tar archive or
/// a FAT file system that can be attached as a block device. Its bytes are the same on every
/// machine.
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
    /// The options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

fn after_help() -> String {
    let examples = "\
Examples:
  freestone image ./site -o www.img       build the image of a directory, without a store
  freestone init                          create a store
  freestone push ./site -m 'first one'    store a directory as a revision, print its id
  freestone image main -o www.img         build the image of the newest revision
  freestone diff main~1 main              list what changed";
    [examples, name::TEXT, config::TEXT, output::JSON_TEXT, size::TEXT, exit::TEXT].join("\n\n")
}

/// Prints the help or the version, if the command line asks for it, or what is wrong with it.
pub fn report(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked {
        // It is styled on a terminal. A closed pipe is not an error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = match text.strip_prefix("error: ") {
        Some(rest) => format!("freestone: {rest}"),
        None => text,
    };
    // It quotes the arguments.
    let text = shown::without_secrets(&text);
    let _ = std::io::stderr().write_all(shown::lines(&text).as_bytes());
    ExitCode::from(exit::USAGE)
}
