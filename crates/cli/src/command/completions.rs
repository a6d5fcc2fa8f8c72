//! `freestone completions`.

use crate::context::Context;
use crate::exit::Exit;
use clap::Args;
use clap_complete::Shell;
use freestone_core::Result;

/// Print the completion script for a shell
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone completions bash > /etc/bash_completion.d/freestone
  freestone completions fish > ~/.config/fish/completions/freestone.fish")]
pub struct Completions {
    /// Shell to complete in
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut (context.grammar)(), "freestone", &mut script);
        context.output.bytes(&script)?;
        Ok(Exit::Done)
    }
}
