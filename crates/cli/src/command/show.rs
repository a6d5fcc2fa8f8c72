//! `freestone show`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{JSON_SEE, JsonRevision};
use crate::values::name::{self, Name};
use crate::values::size::show;
use crate::values::time;
use clap::Args;
use freestone_core::Result;
use std::ffi::OsString;

/// Show the record of a revision: parents, time, totals, labels and message
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Show {
    /// Revision to show
    #[arg(value_name = "REV")]
    name: OsString,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone show main
  freestone show main~3 --json

With --json: {{{}}}
{JSON_SEE}

{}",
        JsonRevision::KEYS,
        name::TEXT
    )
}

impl Show {
    /// Runs the command.
    ///
    /// # Errors
    /// The revision does not exist or cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let resolved = context.store()?.resolve(&Name::parse_revision(&self.name)?)?;
        let (id, revision) = (resolved.id, resolved.revision);
        let output = &context.output;
        if output.is_json() {
            output.json(&JsonRevision::new(&id, &revision))?;
            return Ok(Exit::Done);
        }
        output.line(format_args!("revision  {id}"))?;
        for parent in &revision.parents {
            output.line(format_args!("parent    {parent}"))?;
        }
        output.line(format_args!("time      {}", time::show(revision.time)))?;
        output.line(format_args!("root      {}", revision.root))?;
        output.line(format_args!("entries   {}", revision.entries))?;
        output.line(format_args!("content   {} ({})", revision.bytes, show(revision.bytes)))?;
        for (key, value) in &revision.labels {
            output.line(format_args!("label     {key}={value}"))?;
        }
        if !revision.message.is_empty() {
            output.line("")?;
            for line in revision.message.lines() {
                output.line(format_args!("  {line}"))?;
            }
        }
        Ok(Exit::Done)
    }
}
