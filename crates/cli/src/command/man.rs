//! `freestone man`.

use crate::context::Context;
use crate::exit::Exit;
use clap::Args;
use freestone_core::{Error, Result};
use std::path::PathBuf;

/// Write the manual pages to a directory
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone man /usr/local/share/man/man1")]
pub struct Man {
    /// Directory to write to; it is created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    /// Runs the command.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let place = self.directory.display();
        let wrong =
            |error| Error::io(format!("the manual pages cannot be written to {place}"), error);
        std::fs::create_dir_all(&self.directory).map_err(wrong)?;
        clap_mangen::generate_to((context.grammar)(), &self.directory).map_err(wrong)?;
        context.output.detail(format_args!("wrote the manual pages to {place}"));
        Ok(Exit::Done)
    }
}
