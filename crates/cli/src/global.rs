//! The options that every command takes.

#[cfg(feature = "remote")]
use crate::values::size;
use clap::Args;
use std::path::PathBuf;

/// The options that every command takes.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The store: a directory, s3://BUCKET/PREFIX, or https://HOST/PATH (read-only). Default:
    /// $FREESTONE_STORE, then `store` in the configuration, then $STATE_DIRECTORY, then
    /// /var/lib/freestone for root or ~/.local/share/freestone for other users
    #[arg(short, long, global = true, value_name = "STORE")]
    pub store: Option<PathBuf>,

    /// Read this configuration file instead of the system's and the user's
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Do not contact the upstream; use only what is cached on this machine
    #[arg(long, global = true)]
    pub offline: bool,

    /// Contact this upstream although this user has not named it before: one that the store itself
    /// names. A URL, which also stands for those below it; can be repeated
    #[arg(long, global = true, value_name = "URL")]
    pub trust_upstream: Vec<String>,

    /// Limit the upload rate and the download rate to this many bytes per second each
    #[cfg(feature = "remote")]
    #[arg(long, global = true, value_name = "SIZE", value_parser = rate)]
    pub limit_rate: Option<u64>,

    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print more details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Parses a rate for clap: a size that is not 0.
#[cfg(feature = "remote")]
fn rate(text: &str) -> Result<u64, String> {
    match size::argument(text)? {
        0 => Err("a rate of 0 would send nothing".into()),
        rate => Ok(rate),
    }
}
