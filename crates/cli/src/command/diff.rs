//! `freestone diff`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::diff_stats::DiffStats;
use crate::output::{JSON_SEE, JsonEntry, JsonPath};
use crate::part::Part;
use crate::values::name::{self, Name};
use clap::Args;
use freestone_core::{Result, path};
use freestone_manifest::{Change, Entry, Times, diff};
use serde::Serialize;
use std::ffi::OsString;

/// List the differences between two revisions, or between directories in them
///
/// A line has A (added), M (modified) or D (deleted), the size before and after, and the path.
/// Times are not compared.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Diff {
    /// First revision, or directory in it
    #[arg(value_name = "REV[:PATH]")]
    before: OsString,

    /// Second revision, or directory in it
    #[arg(value_name = "REV[:PATH]")]
    after: OsString,

    /// Exit with code 8 if anything differs
    #[arg(long)]
    exit_code: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone diff main~1 main
  freestone diff --exit-code main live && echo nothing to deploy

With --json: {{\"before\", \"after\" (revision ids),
{},
\"changes\": [{{\"path\", \"before\", \"after\" (null, or the entry as in `freestone ls --json`)}}]}}
{JSON_SEE}

{}",
        DiffStats::KEYS,
        name::TEXT
    )
}

/// The result as JSON, without the changes. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    before: String,
    after: String,
    #[serde(flatten)]
    stats: DiffStats,
}

#[derive(Serialize)]
struct JsonChange {
    #[serde(flatten)]
    path: JsonPath,
    before: Option<JsonEntry>,
    after: Option<JsonEntry>,
}

impl Diff {
    /// Runs the command.
    ///
    /// # Errors
    /// A revision or path does not exist or cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let opened = context.opened()?;
        let before = Part::find(&opened, &Name::parse(&self.before)?)?;
        let after = Part::find(&opened, &Name::parse(&self.after)?)?;
        let trees = (before.manifest(&context.interrupt)?, after.manifest(&context.interrupt)?);
        let mut differs = false;
        let mut changes = |each: &mut dyn FnMut(&Change) -> Result<()>| {
            diff(&trees.0, &trees.1, Times::Ignore, &mut |change| {
                context.interrupt.check()?;
                differs = true;
                each(&change)
            })
        };
        if context.output.is_json() {
            let answer = Answer {
                before: before.id.to_string(),
                after: after.id.to_string(),
                stats: DiffStats::of(&mut changes)?,
            };
            context.output.json_list(&answer, "changes", |list| {
                changes(&mut |change| {
                    let entry = |entry: &Option<Entry>| {
                        entry.as_ref().map(|entry| JsonEntry::new(&entry.path, entry))
                    };
                    list.item(&JsonChange {
                        path: JsonPath::new(change.path()),
                        before: entry(&change.before),
                        after: entry(&change.after),
                    })
                })
            })?;
        } else {
            let mut stats = DiffStats::default();
            changes(&mut |change| {
                stats.add(change);
                context.output.line(line(change))
            })?;
            if differs {
                context.output.note(stats.line());
            }
        }
        Ok(if differs && self.exit_code { Exit::Different } else { Exit::Done })
    }
}

/// Renders a change as a line for people.
pub fn line(change: &Change) -> String {
    let size = |entry: &Option<Entry>| match entry.as_ref().map(Entry::size) {
        None => String::new(),
        Some(None) => "-".to_owned(),
        Some(Some(size)) => size.to_string(),
    };
    let letter = match (&change.before, &change.after) {
        (None, _) => 'A',
        (_, None) => 'D',
        _ => 'M',
    };
    let directory =
        change.after.as_ref().or(change.before.as_ref()).is_some_and(Entry::is_directory);
    let slash = if directory { "/" } else { "" };
    let (before, after) = (size(&change.before), size(&change.after));
    format!("{letter} {before:>12} {after:>12} {}{slash}", path::display(change.path()))
}
