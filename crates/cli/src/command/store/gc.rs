//! `freestone store gc`.

use super::keep::KeepOptions;
use super::packs::{JsonPacks, packs};
use crate::context::Context;
use crate::output::progress::Unit;
use crate::values::duration::duration;
use crate::values::size::{count, show};
use clap::Args;
use freestone_core::Result;
use freestone_maintain::{self as maintain, Collected, GcOptions, Policy, Why};
use serde::Serialize;
use std::time::Duration;

/// The details in the help.
pub(super) const HELP: &str = "\
The newest entry of every ref is kept, and every pin. Of the other entries, those are kept that one
of the --keep options names. Without any, the store's policy says which (`freestone store policy`);
without a policy, all are. What was forgotten (`freestone forget`) is not kept.

    freestone store gc -n --keep-last 10
    freestone store gc --keep-within 90d --keep-for 'release/*:all' --keep-for 'pr/**:last=1'

What no kept entry needs is removed: revisions, and contents that are in no other revision. Run it
with -n first. It may run beside pushes, readers and other collections, on any machine that can write
to the store; nothing is locked. If it is killed, nothing is lost, and the next one goes on.

Packs that nothing needs are removed. Packs of which at least --unused percent are not needed are
written again without that. Packs that are younger than --min-age are left alone, since they may be
of a push that is running: it would have to begin again.

With --json: {\"dry_run\", \"policy\" (the number of the store's policy, if it was used), \"refs\": [{\"ref\", \"kept\": [{\"n\", \"revision\", \"why\"}], \"dropped\":
[{\"n\", \"revision\"}]}], \"dead_packs\", \"rewritten_packs\", \"staying_packs\", \"young_packs\",
\"removed_packs\", \"waiting_packs\" (each {\"count\", \"bytes\"}), \"moved_bytes\" (needed bytes of the
rewritten packs), \"stored_bytes_before\", \"stored_bytes_after\" (equal in a dry run)}";

/// The options of `gc`.
#[derive(Args)]
pub(super) struct Gc {
    #[command(flatten)]
    keep: KeepOptions,

    /// Report what would be kept and removed, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// How long packs stay after it is known that nothing needs them
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    grace: Duration,
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Newest => "newest",
        Why::All => "all",
        Why::Last => "last",
        Why::Within => "within",
        Why::Label => "label",
    }
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    dry_run: bool,
    policy: Option<u64>,
    refs: Vec<JsonRef>,
    dead_packs: JsonPacks,
    rewritten_packs: JsonPacks,
    staying_packs: JsonPacks,
    young_packs: JsonPacks,
    removed_packs: JsonPacks,
    waiting_packs: JsonPacks,
    moved_bytes: u64,
    stored_bytes_before: u64,
    stored_bytes_after: u64,
}

#[derive(Serialize)]
struct JsonRef {
    r#ref: String,
    kept: Vec<JsonKept>,
    dropped: Vec<JsonDropped>,
}

#[derive(Serialize)]
struct JsonKept {
    n: u64,
    revision: String,
    why: &'static str,
}

#[derive(Serialize)]
struct JsonDropped {
    n: u64,
    revision: String,
}

impl Gc {
    fn options(&self, policy: Policy, context: &Context) -> Result<GcOptions> {
        let (grace, now, dry_run) = (self.grace, context.time()?, self.dry_run);
        Ok(GcOptions { policy, grace, now, dry_run })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be read or written, or lacks something that is kept.
    pub(super) fn run(&self, context: &Context) -> Result<()> {
        let store = context.store()?;
        crate::following::refuse_follower(&store)?;
        let before = maintain::stored_bytes(&store)?;
        let of_store = store.policy()?;
        let number = of_store.as_ref().map(|(n, _)| *n).filter(|_| !self.keep.says_what());
        let policy = self.keep.over(of_store.map(|(_, policy)| policy).unwrap_or_default());
        let options = self.options(policy, context)?;
        let done = context.watched("walking revisions", Unit::Things, None, |watch| {
            maintain::gc(&store, &options, watch)
        })?;
        let after = maintain::stored_bytes(&store)?;
        if context.output.is_json() {
            return context.output.json(&self.answer(done, number, (before, after)));
        }
        if let Some(n) = number {
            context.output.note(format_args!("by policy {n} of the store"));
        }
        self.say(&done, (before, after), context);
        Ok(())
    }

    fn answer(&self, done: Collected, policy: Option<u64>, (before, after): (u64, u64)) -> Answer {
        let refs = done.refs.into_iter().map(|(name, of)| JsonRef {
            r#ref: name,
            kept: of
                .kept
                .into_iter()
                .map(|(n, id, why)| JsonKept { n, revision: id.to_string(), why: word(why) })
                .collect(),
            dropped: of
                .dropped
                .into_iter()
                .map(|(n, id)| JsonDropped { n, revision: id.to_string() })
                .collect(),
        });
        Answer {
            dry_run: self.dry_run,
            policy,
            refs: refs.collect(),
            dead_packs: done.dead.into(),
            rewritten_packs: done.rewritten.into(),
            staying_packs: done.staying.into(),
            young_packs: done.young.into(),
            removed_packs: done.removed.into(),
            waiting_packs: done.waiting.into(),
            moved_bytes: done.moved,
            stored_bytes_before: before,
            stored_bytes_after: after,
        }
    }

    fn say(&self, done: &Collected, (before, after): (u64, u64), context: &Context) {
        for (name, of) in &done.refs {
            if of.kept.is_empty() && of.dropped.is_empty() {
                continue;
            }
            let dropped = match of.dropped.len() as u64 {
                0 => "drops none".to_owned(),
                dropped => format!("drops {}", count(dropped, "entry", "entries")),
            };
            let kept = count(of.kept.len() as u64, "entry", "entries");
            context.output.note(format_args!("{name}: keeps {kept}, {dropped}"));
        }
        let does = if self.dry_run { "would remove" } else { "condemned" };
        context.output.note(format_args!(
            "{does} {} that nothing needs; {} {}, of which {} are needed",
            packs(done.dead),
            if self.dry_run { "would rewrite" } else { "rewrote" },
            packs(done.rewritten),
            show(done.moved)
        ));
        if done.young.0 > 0 {
            context.output.note(format_args!(
                "left {} alone that are younger than --min-age",
                packs(done.young)
            ));
        }
        if !self.dry_run {
            context.output.note(format_args!(
                "removed {}; the store now takes {}, before {}",
                packs(done.removed),
                show(after),
                show(before)
            ));
        }
        if done.waiting.0 > 0 {
            context.output.note(format_args!(
                "{} can be removed after the grace period: run `freestone store gc` again then",
                packs(done.waiting)
            ));
        }
    }
}
