//! Progress and result of a push.

use crate::context::Context;
use crate::output::skipped::{self, JsonSkipped};
use crate::transfer::Transfer;
use crate::values::size::{count, show};
use crate::values::time;
use freestone_core::Result;
use freestone_push::{PushOptions, PushOutcome};
use freestone_source::directory::SourceReport;
use serde::Serialize;
use std::time::Duration;

/// The result as JSON. The help of `push` documents its keys.
#[derive(Serialize)]
struct Answer {
    revision: String,
    up_to_date: bool,
    made: u64,
    dry_run: bool,
    r#ref: Option<String>,
    n: Option<u64>,
    parents: Vec<String>,
    entries: u64,
    content_bytes: u64,
    new: u64,
    changed: u64,
    gone: u64,
    files_hashed: u64,
    bytes_hashed: u64,
    bytes_stored: u64,
    seconds: f64,
    transfer: Transfer,
    skipped: Vec<JsonSkipped>,
    skipped_count: u64,
}

/// The result of a push, from any kind of source.
pub(super) struct Pushed {
    /// The last revision.
    pub(super) outcome: PushOutcome,
    /// Number of revisions that were made.
    pub(super) made: u64,
    /// The paths of the source that were skipped or left out.
    pub(super) left_out: SourceReport,
}

/// Prints the result.
pub(super) fn say(
    pushed: &Pushed,
    options: &PushOptions,
    took: Duration,
    context: &Context,
) -> Result<()> {
    let Pushed { outcome, made, left_out } = pushed;
    let output = &context.output;
    if output.is_json() {
        let transfer = Transfer::of(context);
        let answer = answer(pushed, options, took);
        return output.json(&Answer { transfer, ..answer });
    }
    skipped::note(left_out, output);
    if outcome.inexpressible {
        output.note(
            "a path is too long for tar images: `freestone image` will refuse this revision and list it",
        );
    }
    if let Some(entry) = &outcome.ref_entry {
        output.detail(format_args!("ref {}@{} names the revision", entry.name, entry.n));
    }
    output.line(outcome.id)?;
    let entries = count(outcome.revision.entries, "entry", "entries");
    let what = if outcome.up_to_date {
        format!("up to date, {entries}")
    } else {
        let PushOutcome { new, changed, gone, .. } = outcome;
        let what = format!("{new} new, {changed} changed, {gone} gone of {entries}");
        match made {
            0 | 1 => what,
            _ => format!("{} revisions, {what}", made),
        }
    };
    let would = if options.dry_run { "would store" } else { "stored" };
    output.note(format_args!(
        "{what}; hashed {} ({}), {would} {}, {}",
        count(outcome.files_hashed, "file", "files"),
        show(outcome.bytes_hashed),
        show(outcome.bytes_stored),
        time::show_duration(took),
    ));
    Transfer::note(context);
    Ok(())
}

fn answer(pushed: &Pushed, options: &PushOptions, took: Duration) -> Answer {
    let Pushed { outcome, made, left_out } = pushed;
    let entry = outcome.ref_entry.as_ref();
    Answer {
        revision: outcome.id.to_string(),
        up_to_date: outcome.up_to_date,
        made: *made,
        dry_run: options.dry_run,
        r#ref: entry.map(|entry| entry.name.clone()),
        n: entry.map(|entry| entry.n),
        parents: outcome.revision.parents.iter().map(ToString::to_string).collect(),
        entries: outcome.revision.entries,
        content_bytes: outcome.revision.bytes,
        new: outcome.new,
        changed: outcome.changed,
        gone: outcome.gone,
        files_hashed: outcome.files_hashed,
        bytes_hashed: outcome.bytes_hashed,
        bytes_stored: outcome.bytes_stored,
        seconds: took.as_secs_f64(),
        transfer: Transfer::default(),
        skipped: JsonSkipped::all(left_out),
        skipped_count: left_out.refused_count,
    }
}
