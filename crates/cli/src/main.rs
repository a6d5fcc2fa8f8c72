//! The freestone program: the command line over freestone's libraries.
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`], [`global`], [`command`] | the command line; one file a command |
//! | [`context`], [`config`], [`interrupt`] | what a command works with |
//! | [`output`], [`transfer`], [`exit`] | answers, notes, progress bars, exit codes |
//! | [`values`], [`location`], [`part`] | what arguments name |
//! | [`upstreams`] | which upstreams may be contacted |
//! | [`following`] | fetching from the upstream of a store that follows one |
//! | [`loose`] | the image of a directory, without a store |
//! | [`ordered`] | work on many threads, with its results in order |

mod arguments;
mod command;
mod config;
mod contents;
mod context;
mod exit;
mod following;
mod global;
mod interrupt;
mod location;
mod loose;
mod ordered;
mod output;
mod part;
mod systemd;
mod transfer;
mod upstreams;
mod values;

use arguments::Arguments;
use clap::{CommandFactory, Parser};
use context::Context;
use freestone_core::{Error, Result};
use interrupt::Interrupt;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return arguments::report(&error),
    };
    raise_file_limit();
    let interrupt = Interrupt::watch();
    match run(&arguments, &interrupt) {
        Ok(exit) => exit.code(),
        Err(error) => failed(&error, &interrupt),
    }
}

/// Raises the number of files that may be open to what the system allows. The usual soft limit of
/// 1,024 is there for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Without it less can be done at the same time.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<exit::Exit> {
    let context = Context::new(&arguments.global, interrupt.clone(), Arguments::command)?;
    let exit = arguments.command.run(&context)?;
    match context.output.finish() {
        // The reader of the output may have closed it early; the exit code still counts.
        Err(error) if !exit::is_closed_output(&error) => Err(error),
        _ => Ok(exit),
    }
}

fn failed(error: &Error, interrupt: &Interrupt) -> ExitCode {
    // The reader of the output may have closed it early.
    if exit::is_closed_output(error) {
        return ExitCode::SUCCESS;
    }
    let (text, code) = if interrupt.is_set() {
        ("freestone: interrupted\n".to_owned(), exit::INTERRUPTED)
    } else {
        (exit::describe(error), exit::code_of(error.kind()))
    };
    // If standard error is closed, there is nowhere left to report to.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}
