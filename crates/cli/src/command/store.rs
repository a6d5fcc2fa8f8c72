//! `freestone store`.

mod compact;
mod gc;
mod keep;
mod packs;
mod policy;
mod stats;

use crate::context::Context;
use crate::exit::Exit;
use crate::following;
use crate::output::progress::Unit;
use crate::values::size::count;
use clap::{Args, Subcommand};
use freestone_core::Result;
use freestone_maintain as maintain;
use serde::Serialize;

/// Maintain the store: statistics, compaction, index
#[derive(Args)]
pub struct Store {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Show what the store's space is used for, and how much each revision added
    #[command(after_long_help = stats::HELP)]
    Stats,

    /// Merge small packs into few, and compress them better
    #[command(after_long_help = compact::HELP)]
    Compact(compact::Compact),

    /// Remove what no ref needs any more
    #[command(after_long_help = gc::HELP)]
    Gc(gc::Gc),

    /// Show or set which entries of refs collections keep
    #[command(after_long_help = policy::HELP)]
    Policy(policy::Policy),

    /// Rebuild the index and other derived files from the packs
    ///
    /// Use it if the index is lost or damaged, or after packs were copied into the store by hand.
    #[command(after_long_help = "\
With --json: {\"packs\" (read), \"records\" (listed), \"segments\" (written), \"revisions\" (files that
were missing or damaged and were written again), \"left_out\" (packs of killed pushes whose records
need packs that were removed since)}")]
    Reindex,
}

/// The result of `reindex` as JSON. The help documents its keys.
#[derive(Serialize)]
struct Reindexed {
    packs: u64,
    records: u64,
    segments: u64,
    revisions: u64,
    left_out: u64,
}

impl Store {
    /// Runs the command.
    ///
    /// # Errors
    /// As of the subcommand.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        match &self.command {
            StoreCommand::Compact(compact) => {
                // The store is consistent even if this is killed at any moment.
                context.interrupt.end_at_once();
                compact.run(context)?;
            }
            StoreCommand::Gc(gc) => {
                // The next collection goes on from where this one was killed.
                context.interrupt.end_at_once();
                gc.run(context)?;
            }
            StoreCommand::Policy(policy) => policy.run(context)?,
            StoreCommand::Stats => stats::run(context)?,
            StoreCommand::Reindex => {
                // The store is consistent even if this is killed at any moment.
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
        maintain::reindex(&store, watch)
    })?;
    // A cache like those that the store has dropped itself.
    #[cfg(feature = "rocksdb")]
    if let Some(caches) = store.caches() {
        freestone_working::destroy(caches.path());
    }
    if context.output.is_json() {
        return context.output.json(&Reindexed {
            packs: done.packs,
            records: done.records,
            segments: done.segments,
            revisions: done.revisions,
            left_out: done.left_out,
        });
    }
    context.output.note(format_args!(
        "read {}, listed {} in {}, wrote {} again",
        count(done.packs, "pack", "packs"),
        count(done.records, "record", "records"),
        count(done.segments, "segment", "segments"),
        count(done.revisions, "file of a revision", "files of revisions"),
    ));
    if done.left_out > 0 {
        context.output.note(format_args!(
            "left out {}, written by pushes that were killed: compactions have removed what their \
             records are stored as differences to",
            count(done.left_out, "pack", "packs"),
        ));
    }
    Ok(())
}
