//! The options that every command takes.

#[cfg(feature = "remote")]
use crate::values::size;
use clap::Args;
use std::path::PathBuf;

/// What holds for every command.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The store: a directory, s3://BUCKET/PREFIX, or https://HOST/PATH to read only; else $FREESTONE_STORE, the configuration, $STATE_DIRECTORY,
    /// /var/lib/freestone for root, the user's data directory
    #[arg(short, long, global = true, value_name = "STORE")]
    pub store: Option<PathBuf>,

    /// Read this configuration instead of the system's and the user's
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Ask nobody: read only what is here already, where the store follows an upstream
    #[arg(long, global = true)]
    pub offline: bool,

    /// Send at most so many bytes a second, and receive as many
    #[cfg(feature = "remote")]
    #[arg(long, global = true, value_name = "SIZE", value_parser = rate)]
    pub limit_rate: Option<u64>,

    /// Give the answer as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Say nothing but answers and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// A rate for clap: a size, and not nothing.
#[cfg(feature = "remote")]
fn rate(text: &str) -> Result<u64, String> {
    match size::argument(text)? {
        0 => Err("nothing could be sent at all".into()),
        rate => Ok(rate),
    }
}
