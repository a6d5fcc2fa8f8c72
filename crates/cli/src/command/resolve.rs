//! `freestone resolve`.

use crate::context::Context;
use crate::exit::Exit;
use crate::values::name::{self, Name};
use clap::Args;
use freestone_core::Result;
use serde::Serialize;
use std::ffi::OsString;

/// Print the id of a revision
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Resolve {
    /// Revision whose id to print
    #[arg(value_name = "REV")]
    name: OsString,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone resolve main
  freestone resolve commit:4f2a9c01

With --json: {{\"revision\", \"root\" (of the manifest), \"ref\" or null}}

{}",
        name::TEXT
    )
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    revision: String,
    root: String,
    r#ref: Option<String>,
}

impl Resolve {
    /// Runs the command.
    ///
    /// # Errors
    /// The revision does not exist.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let resolved = context.store()?.resolve(&Name::parse_revision(&self.name)?)?;
        if context.output.is_json() {
            context.output.json(&Answer {
                revision: resolved.id.to_string(),
                root: resolved.revision.root.to_string(),
                r#ref: resolved.ref_name,
            })?;
        } else {
            context.output.line(resolved.id)?;
        }
        Ok(Exit::Done)
    }
}
