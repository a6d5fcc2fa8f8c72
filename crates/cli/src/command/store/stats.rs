//! `freestone store stats`.

use crate::context::Context;
use crate::following;
use crate::output::progress::Unit;
use crate::output::{Output, short};
use crate::values::size::show;
use crate::values::time;
use freestone_core::Result;
use freestone_maintain::{self as maintain, Stats};
use serde::Serialize;
use std::collections::BTreeMap;

/// The details in the help.
pub(super) const HELP: &str = "\
Sizes are those of the files in packs, index, revisions and refs. The growth of a revision is the
length of the pack that holds its record. Without -v, only the last ten are shown.

With --json: {\"logical_bytes\" (of all files of all revisions), \"stored_bytes\", \"revisions\",
\"files\": {FOLDER: {\"count\", \"bytes\"}}, \"records\": {KIND: {\"count\", \"plain_bytes\",
\"stored_bytes\", \"based_count\", \"based_stored_bytes\" (of those that are stored against a base)}},
\"depths\": {DEPTH: number of records with so many bases}, \"table_bytes\", \"gap_bytes\",
\"growth\": [{\"revision\", \"time\", \"entries\", \"content_bytes\", \"stored_bytes\"}] (oldest first)}";

/// Number of revisions whose growth is shown without `--verbose`.
const GROWTH_SHOWN: usize = 10;

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    logical_bytes: u64,
    stored_bytes: u64,
    revisions: u64,
    files: BTreeMap<&'static str, JsonFiles>,
    records: BTreeMap<&'static str, JsonRecords>,
    depths: BTreeMap<u64, u64>,
    table_bytes: u64,
    gap_bytes: u64,
    growth: Vec<JsonGrowth>,
}

#[derive(Serialize)]
struct JsonFiles {
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct JsonRecords {
    count: u64,
    plain_bytes: u64,
    stored_bytes: u64,
    based_count: u64,
    based_stored_bytes: u64,
}

#[derive(Serialize)]
struct JsonGrowth {
    revision: String,
    time: i64,
    entries: u64,
    content_bytes: u64,
    stored_bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// The store cannot be read, or standard output cannot be written.
pub(super) fn run(context: &Context) -> Result<()> {
    let store = context.store()?;
    following::refuse_follower(&store)?;
    let stats = context.watched("reading packs and revisions", Unit::Things, None, |watch| {
        maintain::stats(&store, watch)
    })?;
    if context.output.is_json() {
        return context.output.json(&answer(&stats));
    }
    say(&stats, &context.output)
}

fn folders(stats: &Stats) -> [(&'static str, (u64, u64)); 4] {
    [
        ("packs", stats.packs),
        ("index", stats.segments),
        ("revisions", stats.revision_files),
        ("refs", stats.ref_entries),
    ]
}

fn answer(stats: &Stats) -> Answer {
    let files = folders(stats).into_iter();
    let records = stats.records.iter();
    let growth = stats.growth.iter().map(|growth| JsonGrowth {
        revision: growth.revision.to_string(),
        time: growth.time,
        entries: growth.entries,
        content_bytes: growth.bytes,
        stored_bytes: growth.stored,
    });
    Answer {
        logical_bytes: stats.logical,
        stored_bytes: stats.stored(),
        revisions: stats.revisions,
        files: files.map(|(name, (count, bytes))| (name, JsonFiles { count, bytes })).collect(),
        records: records
            .map(|(kind, sum)| {
                let (plain_bytes, stored_bytes) = (sum.plain, sum.stored);
                let (based_count, based_stored_bytes) = (sum.based, sum.based_stored);
                let count = sum.count;
                let records = JsonRecords {
                    count,
                    plain_bytes,
                    stored_bytes,
                    based_count,
                    based_stored_bytes,
                };
                (*kind, records)
            })
            .collect(),
        depths: stats.depths.clone(),
        table_bytes: stats.tables,
        gap_bytes: stats.gaps,
        growth: growth.collect(),
    }
}

fn say(stats: &Stats, output: &Output) -> Result<()> {
    let (logical, stored) = (stats.logical, stats.stored());
    output.line(format_args!("revisions  {}", stats.revisions))?;
    output.line(format_args!("logical    {} (all files of all revisions)", show(logical)))?;
    let hundredths = u128::from(stored) * 10_000 / u128::from(logical.max(1));
    output.line(format_args!(
        "stored     {}, {}.{:02} % of that",
        show(stored),
        hundredths / 100,
        hundredths % 100
    ))?;
    for (name, (count, bytes)) in folders(stats) {
        output.line(format_args!("  {name:20} {count:>10} {:>12}", show(bytes)))?;
    }
    output.line("")?;
    output.line(format_args!(
        "in packs               {:>10} {:>12} {:>12} {:>10} {:>12}",
        "count", "stored", "plain", "on bases", "stored"
    ))?;
    for (kind, sum) in &stats.records {
        let (stored, plain) = (show(sum.stored), show(sum.plain));
        output.line(format_args!(
            "  {kind:20} {:>10} {stored:>12} {plain:>12} {:>10} {:>12}",
            sum.count,
            sum.based,
            show(sum.based_stored)
        ))?;
    }
    output.line(format_args!("  {:20} {:>10} {:>12}", "tables", "", show(stats.tables)))?;
    output.line(format_args!("  {:20} {:>10} {:>12}", "headers and gaps", "", show(stats.gaps)))?;
    if let Some((deepest, _)) = stats.depths.last_key_value() {
        output.line(format_args!("  longest chain of bases: {deepest}"))?;
    }
    output.line("")?;
    output.line(format_args!("{:34} {:>12} {:>12}", "growth", "stored", "content"))?;
    let shown = if output.is_verbose() { stats.growth.len() } else { GROWTH_SHOWN };
    for growth in stats.growth.iter().rev().take(shown) {
        let (id, time) = (short(&growth.revision), time::show(growth.time));
        let (stored, content) = (show(growth.stored), show(growth.bytes));
        output.line(format_args!("{id} {time} {stored:>12} {content:>12}"))?;
    }
    Ok(())
}
