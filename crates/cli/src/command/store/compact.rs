//! `freestone store compact`.

use crate::context::Context;
use crate::values::size::{count, show};
use clap::Args;
use freestone_core::Result;
use freestone_store::compact::{CompactOptions, CompactProgress, Compacted};
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const HELP: &str = "\
The packs of many pushes become few; the newest version of each content is kept whole, older ones
are stored over newer or similar ones, and the files of revisions are folded into packs. Ids,
images and refs stay the same. Pushes and readers may go on meanwhile; whenever it is killed, it
has lost nothing, and can be run again.

A pack whose records lie in others is removed when the grace period is over, by a later compact: a
reader may have it open, a push may lean on it. --grace 0 removes at once: only where nobody else
uses the store.

With --json: {\"dry_run\", \"old_packs\", \"new_packs\", \"removed_packs\", \"waiting_packs\" (each
{\"count\", \"bytes\"}; waiting are those that a later compact removes), \"revision_files\" (folded),
\"stored_bytes_before\", \"stored_bytes_after\" (in a dry run the same)}";

#[derive(Args)]
pub(super) struct Compact {
    /// Rewrite packs of 48 MiB and more, too
    #[arg(long)]
    all: bool,

    /// Only say what would be rewritten and removed
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// How long packs stay whose records lie in others: seconds, or with m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    grace: Duration,

    /// How hard zstd tries
    #[arg(long, value_name = "N", default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    dry_run: bool,
    old_packs: JsonPacks,
    new_packs: JsonPacks,
    removed_packs: JsonPacks,
    waiting_packs: JsonPacks,
    revision_files: u64,
    stored_bytes_before: u64,
    stored_bytes_after: u64,
}

#[derive(Serialize)]
struct JsonPacks {
    count: u64,
    bytes: u64,
}

impl From<(u64, u64)> for JsonPacks {
    fn from((count, bytes): (u64, u64)) -> Self {
        Self { count, bytes }
    }
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number of seconds, or one with m, h or d".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "a number of seconds, or one with m, h or d")?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".into())
}

impl Compact {
    pub(super) fn run(&self, context: &Context) -> Result<()> {
        let store = context.store()?;
        let before = store.stored_bytes()?;
        let options = CompactOptions {
            all: self.all,
            level: self.level,
            grace: self.grace,
            dry_run: self.dry_run,
        };
        let progress = CompactProgress::default();
        let count = || {
            let total = progress.records.load(Ordering::Relaxed);
            (progress.records_done.load(Ordering::Relaxed), (total > 0).then_some(total))
        };
        let compact = || store.compact(&options, &progress);
        let done = context.watched_counters("compacting records", None, count, compact)?;
        let after = store.stored_bytes()?;
        if context.output.is_json() {
            return context.output.json(&Answer {
                dry_run: self.dry_run,
                old_packs: done.old_packs.into(),
                new_packs: done.new_packs.into(),
                removed_packs: done.removed.into(),
                waiting_packs: done.waiting.into(),
                revision_files: done.revision_files,
                stored_bytes_before: before,
                stored_bytes_after: after,
            });
        }
        self.say(&done, (before, after), context);
        Ok(())
    }

    fn say(&self, done: &Compacted, (before, after): (u64, u64), context: &Context) {
        let packs = |(number, bytes): (u64, u64)| {
            format!("{} of {}", count(number, "pack", "packs"), show(bytes))
        };
        let files = count(done.revision_files, "file of a revision", "files of revisions");
        if self.dry_run {
            context.output.note(format_args!(
                "would rewrite {}, fold {files}, remove {}",
                packs(done.old_packs),
                packs(done.removed)
            ));
            return;
        }
        match done.old_packs.0 {
            0 => context.output.note(format_args!("nothing to rewrite; folded {files}")),
            _ => context.output.note(format_args!(
                "made {} of {}; folded {files}",
                packs(done.new_packs),
                packs(done.old_packs)
            )),
        }
        context.output.note(format_args!(
            "removed {}; the store takes {}, before {}",
            packs(done.removed),
            show(after),
            show(before)
        ));
        if done.waiting.0 > 0 {
            context.output.note(format_args!(
                "{} wait for the grace period: a later `freestone store compact` removes them",
                packs(done.waiting)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "h", "1w", "-1", "1.5h", "99999999999999999999", "999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
