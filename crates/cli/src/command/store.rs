//! `freestone store`.

mod compact;
mod stats;

use crate::context::Context;
use crate::exit::Exit;
use crate::following;
use crate::output::progress::Unit;
use crate::values::size::count;
use clap::{Args, Subcommand};
use freestone_core::Result;
use serde::Serialize;

/// Look after the store itself
#[derive(Args)]
pub struct Store {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Show what the store's bytes are spent on, and what each revision added
    #[command(after_long_help = stats::HELP)]
    Stats,

    /// Rewrite small packs as few, as small as they get
    #[command(after_long_help = compact::HELP)]
    Compact(compact::Compact),

    /// Make the index and all else that is derived anew, from the packs
    ///
    /// For a store whose index was lost or damaged, or into which packs were copied by hand.
    #[command(after_long_help = "\
With --json: {\"packs\" (read), \"records\" (listed), \"segments\" (written), \"revisions\" (files that
were missing or damaged and were written again)}")]
    Reindex,
}

/// The answer to `reindex` as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Reindexed {
    packs: u64,
    records: u64,
    segments: u64,
    revisions: u64,
}

impl Store {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        match &self.command {
            StoreCommand::Compact(compact) => {
                // Killed anywhere, a store is whole.
                context.interrupt.end_at_once();
                compact.run(context)?;
            }
            StoreCommand::Stats => stats::run(context)?,
            StoreCommand::Reindex => {
                // Killed anywhere, a store is whole.
                context.interrupt.end_at_once();
                reindex(context)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn reindex(context: &Context) -> Result<()> {
    let store = context.store()?;
    following::refuse_follower(&store)?;
    let done = context.watched("reindexing packs", Unit::Things, None, |watch| {
        let mut before = 0;
        store.reindex(&mut |read, total| {
            watch.set_total(total);
            watch.add(read.saturating_sub(before));
            before = read;
        })
    })?;
    if context.output.is_json() {
        return context.output.json(&Reindexed {
            packs: done.packs,
            records: done.records,
            segments: done.segments,
            revisions: done.revisions,
        });
    }
    context.output.note(format_args!(
        "read {}, listed {} in {}, wrote {} again",
        count(done.packs, "pack", "packs"),
        count(done.records, "record", "records"),
        count(done.segments, "segment", "segments"),
        count(done.revisions, "file of a revision", "files of revisions"),
    ));
    Ok(())
}
