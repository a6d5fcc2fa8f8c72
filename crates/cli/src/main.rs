//! The freestone program: the command line over freestone's libraries.
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`], [`command`] | what can be said; one file a command |
//! | [`session`], [`config`] | what a command works with: outputs, configuration, the store |
//! | [`output`], [`progress`], [`transfer`], [`exit`] | what is said back |
//! | [`name`], [`part`], [`place`] | what arguments name |
//! | [`following`] | bringing what a store that follows an upstream has not |
//! | [`loose`] | manifests that no store holds, for images of directories and parts |
//! | [`order`] | work on many threads |

mod arguments;
mod command;
mod config;
mod exit;
mod figures;
mod following;
mod interrupt;
mod loose;
mod name;
mod order;
mod output;
mod part;
mod place;
mod progress;
mod session;
mod size;
mod skipped;
mod time;
mod transfer;

use arguments::Arguments;
use clap::Parser;
use freestone_core::{Error, Result};
use interrupt::Interrupt;
use session::Session;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return arguments::report(&error),
    };
    let interrupt = Interrupt::watch();
    match run(&arguments, &interrupt) {
        Ok(exit) => exit.code(),
        Err(error) => failed(&error, &interrupt),
    }
}

fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<exit::Exit> {
    let session = Session::new(&arguments.global, interrupt.clone())?;
    let exit = arguments.command.run(&session)?;
    match session.output.finish() {
        // Who reads the answer may have seen enough of it; what was found is as it was.
        Err(error) if !exit::is_closed_output(&error) => Err(error),
        _ => Ok(exit),
    }
}

fn failed(error: &Error, interrupt: &Interrupt) -> ExitCode {
    // Who reads an answer may have seen enough of it.
    if exit::is_closed_output(error) {
        return ExitCode::SUCCESS;
    }
    let (text, code) = if interrupt.is_set() {
        ("freestone: interrupted\n".to_owned(), exit::INTERRUPTED)
    } else {
        (exit::describe(error), exit::code_of(error.kind()))
    };
    // Nobody can be told that nothing can be said.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}
