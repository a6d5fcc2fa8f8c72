//! `freestone store compact`.

use super::packs::{JsonPacks, packs};
use crate::context::Context;
use crate::output::progress::Unit;
use crate::values::duration::duration;
use crate::values::size::{count, show};
use clap::Args;
use freestone_core::Result;
use freestone_maintain::{self as maintain, CompactOptions, Compacted};
use serde::Serialize;
use std::time::Duration;

/// The details in the help.
pub(super) const HELP: &str = "\
The packs of many pushes are merged into few. The newest version of each content is stored whole,
older ones as differences to newer or similar ones, and the files of revisions are moved into packs.
Ids, images and refs do not change. Pushes and readers may run at the same time. If it is killed,
nothing is lost, and it can be run again.

A pack whose records are now in others is removed after the grace period, by a later compact or gc:
so a reader that has it open need not look for its records again. --grace 0 removes it at once, which
is safe, too: a push that depends on it begins again.

With --json: {\"dry_run\", \"old_packs\", \"new_packs\", \"removed_packs\", \"waiting_packs\" (each
{\"count\", \"bytes\"}; a later compact removes the waiting ones), \"revision_files\" (moved into packs),
\"stored_bytes_before\", \"stored_bytes_after\" (equal in a dry run)}";

/// The options of `compact`.
#[derive(Args)]
pub(super) struct Compact {
    /// Also rewrite packs of 48 MiB or more
    #[arg(long)]
    all: bool,

    /// Report what would be rewritten and removed, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Grace period of packs whose records are now in others: seconds, or a number with m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    grace: Duration,

    /// Compression level of zstd
    #[arg(long, value_name = "N", default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
}

/// The result as JSON. The help documents its keys.
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

impl Compact {
    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) fn run(&self, context: &Context) -> Result<()> {
        let store = context.store()?;
        let before = maintain::stored_bytes(&store)?;
        let options = CompactOptions {
            all: self.all,
            level: self.level,
            grace: self.grace,
            dry_run: self.dry_run,
        };
        let done = context.watched("compacting records", Unit::Things, None, |watch| {
            maintain::compact(&store, &options, watch)
        })?;
        let after = maintain::stored_bytes(&store)?;
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
        let files = count(done.revision_files, "file of a revision", "files of revisions");
        if self.dry_run {
            context.output.note(format_args!(
                "would rewrite {}, move {files} into packs, remove {}",
                packs(done.old_packs),
                packs(done.removed)
            ));
            return;
        }
        match done.old_packs.0 {
            0 => context.output.note(format_args!("nothing to rewrite; moved {files} into packs")),
            _ => context.output.note(format_args!(
                "made {} from {}; moved {files} into packs",
                packs(done.new_packs),
                packs(done.old_packs)
            )),
        }
        context.output.note(format_args!(
            "removed {}; the store now takes {}, before {}",
            packs(done.removed),
            show(after),
            show(before)
        ));
        if done.waiting.0 > 0 {
            context.output.note(format_args!(
                "{} can be removed after the grace period: run `freestone store compact` again then",
                packs(done.waiting)
            ));
        }
    }
}
