//! `freestone log`.

use crate::command::diff;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::diff_stats::DiffStats;
use crate::output::{JSON_SEE, JsonRevision, short};
use crate::values::name::{self, Name};
use crate::values::size::show;
use crate::values::time;
use clap::Args;
use freestone_core::Result;
use freestone_manifest::{Change, Times, Tree};
use freestone_store::Records;
use serde::Serialize;
use std::ffi::{OsStr, OsString};

/// List a revision and its ancestors, newest first
///
/// Of several parents, only the first is followed. To list the revisions that a ref has named, use
/// `freestone ref log`.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Log {
    /// Revision to start with. Default: the default ref of `push`
    #[arg(value_name = "REV")]
    name: Option<OsString>,

    /// List at most N revisions
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<u64>,

    /// Also list what each revision changed, as `freestone diff` does, with totals
    #[arg(long)]
    stat: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone log
  freestone log main -n 10
  freestone log --stat -n 1
  freestone log main --json | jq -r .revision

A line has the first digits of the id, the time, the size of the content, and the first line of the
message.
With --json, one object per line: {{{}}}
and with --stat also \"stat\":
{{{}}}
{JSON_SEE}

{}",
        JsonRevision::KEYS,
        DiffStats::KEYS,
        name::TEXT
    )
}

/// A line of the result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    revision: JsonRevision,
    #[serde(skip_serializing_if = "Option::is_none")]
    stat: Option<DiffStats>,
}

impl Log {
    /// Runs the command.
    ///
    /// # Errors
    /// The revision does not exist, or a record cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let store = context.store()?;
        let default = context.ref_name(None);
        let name = self.name.as_deref().unwrap_or(OsStr::new(&default));
        let resolved = store.resolve(&Name::parse_revision(name)?)?;
        let (mut id, mut revision) = (resolved.id, resolved.revision);
        let mut count = 0;
        // The manifest of the next revision, which was compared with the one before.
        let mut tree = None;
        while self.max_count.is_none_or(|max| count < max) {
            context.interrupt.check()?;
            let parent = revision.parents.first();
            let before = match parent {
                Some(parent) => store.revision(parent)?,
                None => None,
            };
            // A copy may lack older revisions: what its oldest revision changed is then unknown.
            let cut = parent.filter(|_| before.is_none()).copied();
            let shows_stat = self.stat && cut.is_none();
            let after = match tree.take().filter(|_| shows_stat) {
                None if shows_stat => Some(store.manifest(&revision)?),
                known => known,
            };
            if shows_stat && let Some(before) = &before {
                tree = Some(store.manifest(before)?);
            }
            if context.output.is_json() {
                let stat = match &after {
                    Some(after) => Some(stat(tree.as_ref(), after, context, &mut |_| Ok(()))?),
                    None => None,
                };
                let revision = JsonRevision::new(&id, &revision);
                context.output.json(&Answer { revision, stat })?;
            } else {
                let message = revision.message.lines().next().unwrap_or_default();
                let (time, size) = (time::show(revision.time), show(revision.bytes));
                let line = format!("{} {time} {size:>9}  {message}", short(&id));
                context.output.line(line.trim_end())?;
                if let Some(after) = &after {
                    let each = &mut |change: &Change| {
                        context.output.line(format_args!("  {}", diff::line(change)))
                    };
                    let figures = stat(tree.as_ref(), after, context, each)?;
                    context.output.line(format_args!("  {}", figures.line()))?;
                }
            }
            count += 1;
            if let Some(parent) = cut {
                context.output.note(format_args!(
                    "the history ends here: {}, the parent of {}, is not in this store",
                    short(&parent),
                    short(&id)
                ));
            }
            let Some(before) = before else { break };
            revision = before;
            id = revision.id();
        }
        Ok(Exit::Done)
    }
}

/// Passes the changes from `before` to `after` to `each`, and counts them. Without a manifest before
/// it, everything that it holds is new.
fn stat(
    before: Option<&Tree<Records>>,
    after: &Tree<Records>,
    context: &Context,
    each: &mut dyn FnMut(&Change) -> Result<()>,
) -> Result<DiffStats> {
    let mut figures = DiffStats::default();
    let mut seen = |change: &Change| {
        context.interrupt.check()?;
        figures.add(change);
        each(change)
    };
    match before {
        Some(before) => {
            freestone_manifest::diff(before, after, Times::Ignore, &mut |change| seen(&change))?;
        }
        None => {
            let mut cursor = after.cursor();
            while let Some(entry) = cursor.next()? {
                seen(&Change { before: None, after: Some(entry.clone()) })?;
            }
        }
    }
    Ok(figures)
}
