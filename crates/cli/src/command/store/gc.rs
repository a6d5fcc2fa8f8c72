//! `freestone store gc`.

use super::packs::{JsonPacks, packs};
use crate::context::Context;
use crate::output::progress::Unit;
use crate::values::duration::duration;
use crate::values::size::{count, show};
use clap::Args;
use freestone_core::Result;
use freestone_maintain::{self as maintain, Collected, GcOptions, Keep, Policy, Why};
use serde::Serialize;
use std::time::Duration;

/// The details in the help.
pub(super) const HELP: &str = "\
The newest entry of every ref is kept, and every pin. Of the other entries, those are kept that one
of the --keep options names; without any, all are. --keep-for PATTERN:KEEP says it for the refs that
match a pattern, and may be repeated: the first that matches a ref counts. In a pattern, * stands for
anything but /, and ** for anything. KEEP is `all`, or last=N, within=TIME and label=KEY[=VALUE],
separated by commas.

    freestone store gc -n --keep-last 10
    freestone store gc --keep-within 90d --keep-for 'release/*:all' --keep-for 'pr/**:last=1'

What no kept entry needs is removed: revisions, and contents that are in no other revision. Run it
with -n first. It may run beside pushes, readers and other collections, on any machine that can write
to the store; nothing is locked. If it is killed, nothing is lost, and the next one goes on.

Packs that nothing needs are removed. Packs of which at least --unused percent are not needed are
written again without that. Packs that are younger than --min-age are left alone, since they may be
of a push that is running: it would have to begin again.

With --json: {\"dry_run\", \"refs\": [{\"ref\", \"kept\": [{\"n\", \"revision\", \"why\"}], \"dropped\":
[{\"n\", \"revision\"}]}], \"dead_packs\", \"rewritten_packs\", \"staying_packs\", \"young_packs\",
\"removed_packs\", \"waiting_packs\" (each {\"count\", \"bytes\"}), \"moved_bytes\" (needed bytes of the
rewritten packs), \"stored_bytes_before\", \"stored_bytes_after\" (equal in a dry run)}";

/// The options of `gc`.
#[derive(Args)]
pub(super) struct Gc {
    /// Keep so many of the newest entries of each ref
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep_last: Option<u64>,

    /// Keep entries that were the newest at some time in this period: a number with m, h or d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    keep_within: Option<Duration>,

    /// Keep entries whose revision has this label
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = label)]
    keep_label: Vec<(String, Option<String>)>,

    /// Keep something else of the refs that match a pattern
    #[arg(long, value_name = "PATTERN:KEEP", value_parser = keep_for)]
    keep_for: Vec<(String, Keep)>,

    /// Report what would be kept and removed, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Rewrite packs of which at least so many percent are not needed
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100))]
    unused: u64,

    /// Leave younger packs alone: a number with m, h or d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
    min_age: Duration,

    /// How long packs stay after it is known that nothing needs them
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    grace: Duration,
}

type Label = (String, Option<String>);

fn label(text: &str) -> std::result::Result<Label, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    match key {
        "" => Err("give a label's key, or KEY=VALUE".into()),
        key => Ok((key.to_owned(), value)),
    }
}

fn keep_for(text: &str) -> std::result::Result<(String, Keep), String> {
    let wrong = || {
        "give PATTERN:KEEP, where KEEP is all, or last=N, within=TIME and label=KEY[=VALUE], \
                    separated by commas"
    };
    let (pattern, rules) = text.split_once(':').ok_or_else(wrong)?;
    let mut keep = Keep::default();
    if pattern.is_empty() {
        return Err(wrong().into());
    }
    if rules == "all" {
        return Ok((pattern.into(), keep));
    }
    for rule in rules.split(',') {
        match rule.split_once('=') {
            Some(("last", n)) => {
                let n = n.parse().ok().filter(|n| *n > 0);
                keep.last = Some(n.ok_or("last= needs a number from 1 on")?);
            }
            Some(("within", time)) => keep.within = Some(duration(time)?),
            Some(("label", rest)) => keep.labels.push(label(rest)?),
            _ => return Err(wrong().into()),
        }
    }
    Ok((pattern.into(), keep))
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
    fn options(&self, context: &Context) -> Result<GcOptions> {
        Ok(GcOptions {
            policy: Policy {
                patterns: self.keep_for.clone(),
                others: Keep {
                    last: self.keep_last,
                    within: self.keep_within,
                    labels: self.keep_label.clone(),
                },
            },
            unused_percent: self.unused,
            min_age: self.min_age,
            grace: self.grace,
            now: context.time()?,
            dry_run: self.dry_run,
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be read or written, or lacks something that is kept.
    pub(super) fn run(&self, context: &Context) -> Result<()> {
        let store = context.store()?;
        crate::following::refuse_follower(&store)?;
        let before = maintain::stored_bytes(&store)?;
        let options = self.options(context)?;
        let done = context.watched("walking revisions", Unit::Things, None, |watch| {
            maintain::gc(&store, &options, watch)
        })?;
        let after = maintain::stored_bytes(&store)?;
        if context.output.is_json() {
            return context.output.json(&self.answer(done, (before, after)));
        }
        self.say(&done, (before, after), context);
        Ok(())
    }

    fn answer(&self, done: Collected, (before, after): (u64, u64)) -> Answer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_pattern() {
        let (pattern, keep) = keep_for("pr/**:last=2,within=3d,label=a=b,label=c").unwrap();
        assert_eq!(pattern, "pr/**");
        assert_eq!(keep.last, Some(2));
        assert_eq!(keep.within, Some(Duration::from_secs(3 * 86_400)));
        assert_eq!(keep.labels, [("a".into(), Some("b".into())), ("c".into(), None)]);
        assert!(keep_for("x:all").unwrap().1.keeps_all());
        for bad in ["", "x", ":all", "x:", "x:last=0", "x:last=a", "x:within=1y", "x:label=", "x:y"]
        {
            assert!(keep_for(bad).is_err(), "{bad}");
        }
    }
}
