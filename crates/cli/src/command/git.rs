//! `freestone git`.

mod write;

use crate::context::Context;
use crate::exit::Exit;
use clap::{Args, Subcommand};
use freestone_core::Result;

/// Write revisions into git repositories
///
/// To push from a git repository, use `freestone push --git`.
#[derive(Args)]
pub struct Git {
    #[command(subcommand)]
    command: GitCommand,
}

#[derive(Subcommand)]
enum GitCommand {
    Write(write::Write),
}

impl Git {
    /// Runs the command.
    ///
    /// # Errors
    /// As of the subcommand.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        match &self.command {
            GitCommand::Write(write) => write.run(context),
        }
    }
}
