//! What is said of a push while it runs and when it is done.

use crate::progress::{Unit, while_working};
use crate::session::Session;
use crate::size::{count, show};
use crate::skipped::{self, JsonSkipped};
use crate::time;
use crate::transfer::Transfer;
use freestone_core::Result;
use freestone_source::directory::SourceReport;
use freestone_store::push::{PushOptions, PushOutcome, PushProgress};
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The answer as JSON; its keys stand in the help of `push`.
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

/// Does `push`, shows its progress meanwhile, and ends it when the program shall end.
pub(super) fn watch<T>(
    progress: &PushProgress,
    session: &Session,
    push: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let entries = || (progress.entries.load(Ordering::Relaxed), None);
    watch_with(progress, session, "pushing", push, entries)
}

/// The same, where `done` tells how much is done, and of how much if that is known.
pub(super) fn watch_with<T>(
    progress: &PushProgress,
    session: &Session,
    label: &'static str,
    push: impl FnOnce() -> Result<T>,
    mut done: impl FnMut() -> (u64, Option<u64>) + Send,
) -> Result<T> {
    let bar = session.progress(label, Unit::Things, None);
    let mut seen = 0;
    let look = || {
        if session.interrupt.is_set() {
            progress.cancel.store(true, Ordering::Relaxed);
        }
        let (done, total) = done();
        if let Some(total) = total {
            bar.set_total(total);
        }
        bar.add(done.saturating_sub(seen));
        seen = seen.max(done);
    };
    while_working(look, push)
}

/// Says what was pushed.
pub(super) fn say(
    outcome: &PushOutcome,
    made: u64,
    options: &PushOptions,
    left: &SourceReport,
    took: Duration,
    session: &Session,
) -> Result<()> {
    let output = &session.output;
    if output.is_json() {
        let transfer = Transfer::of(session);
        let answer = answer(outcome, made, options, left, took);
        return output.json(&Answer { transfer, ..answer });
    }
    skipped::note(left, output);
    if outcome.inexpressible {
        output.note(
            "a path is too long for tar images: `freestone image` will refuse them and list it",
        );
    }
    if let Some(entry) = &outcome.ref_entry {
        output.detail(format_args!("{}@{} names it", entry.name, entry.n));
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
    Transfer::note(session);
    Ok(())
}

fn answer(
    outcome: &PushOutcome,
    made: u64,
    options: &PushOptions,
    left: &SourceReport,
    took: Duration,
) -> Answer {
    let entry = outcome.ref_entry.as_ref();
    Answer {
        revision: outcome.id.to_string(),
        up_to_date: outcome.up_to_date,
        made,
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
        skipped: JsonSkipped::all(left),
        skipped_count: left.refused_count,
    }
}
