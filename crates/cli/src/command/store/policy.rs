//! `freestone store policy`.

use super::keep::KeepOptions;
use crate::context::Context;
use crate::values::duration;
use clap::{Args, Subcommand};
use freestone_core::{Error, ErrorKind, Result};
use freestone_maintain::{Keep, Policy as Kept};
use serde::Serialize;

/// The details in the help.
pub(super) const HELP: &str = "\
The policy is kept in the store, and is used by every `freestone store gc` without --keep options.

    freestone store policy set --keep-last 10 --keep-for 'release/**:all'
    freestone store policy

With --json: {\"policy\" (its number; null if there is none, so that all entries are kept), \"refs\":
[{\"pattern\", \"last\", \"within_seconds\", \"labels\"}] (null: not given; the first pattern that
matches a ref counts), \"unused_percent\", \"min_age_seconds\"}";

/// The options of `policy`.
#[derive(Args)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: Option<PolicyCommand>,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Set what collections keep, in place of what was set before
    Set(KeepOptions),
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    policy: Option<u64>,
    refs: Vec<JsonKeep>,
    unused_percent: u64,
    min_age_seconds: u64,
}

#[derive(Serialize)]
struct JsonKeep {
    pattern: String,
    last: Option<u64>,
    within_seconds: Option<u64>,
    labels: Vec<String>,
}

impl Policy {
    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be read or written, or another policy was set at the same time.
    pub(super) fn run(&self, context: &Context) -> Result<()> {
        let store = context.store()?;
        let found = match &self.command {
            None => store.policy()?,
            Some(PolicyCommand::Set(keep)) => {
                crate::following::refuse_follower(&store)?;
                store.check_writable()?;
                if !keep.says_what() {
                    return Err(Error::new(ErrorKind::Usage, "nothing says what is kept").hint(
                        "give --keep-last, --keep-within, --keep-label or --keep-for; \
                         --keep-for '**:all' keeps everything",
                    ));
                }
                let policy = keep.over(Kept::default());
                Some((store.set_policy(&policy)?, policy))
            }
        };
        if context.output.is_json() {
            return context.output.json(&answer(found));
        }
        match found {
            None => context.output.note("the store has no policy: collections keep all entries"),
            Some((n, policy)) => {
                context.output.note(format_args!("policy {n}"));
                for line in lines(&policy) {
                    context.output.line(format_args!("{line}"))?;
                }
            }
        }
        Ok(())
    }
}

fn label((key, value): &(String, Option<String>)) -> String {
    value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}"))
}

fn answer(found: Option<(u64, Kept)>) -> Answer {
    let (policy, kept) = match found {
        Some((n, kept)) => (Some(n), kept),
        None => (None, Kept::default()),
    };
    let others = ("**".to_owned(), kept.others);
    let refs = kept.patterns.into_iter().chain([others]).map(|(pattern, keep)| JsonKeep {
        pattern,
        last: keep.last,
        within_seconds: keep.within.map(|within| within.as_secs()),
        labels: keep.labels.iter().map(label).collect(),
    });
    Answer {
        policy,
        refs: refs.collect(),
        unused_percent: kept.unused_percent,
        min_age_seconds: kept.min_age.as_secs(),
    }
}

/// Returns the policy as options of the command line.
fn lines(policy: &Kept) -> Vec<String> {
    let mut lines: Vec<String> = policy
        .patterns
        .iter()
        .map(|(pattern, keep)| format!("--keep-for '{pattern}:{}'", rules(keep).join(",")))
        .collect();
    lines.push(match policy.others.keeps_all() {
        true => "--keep-for '**:all'".to_owned(),
        false => {
            let rules = rules(&policy.others);
            rules
                .iter()
                .map(|rule| format!("--keep-{}", rule.replacen('=', " ", 1)))
                .collect::<Vec<_>>()
                .join(" ")
        }
    });
    let min_age = duration::show(policy.min_age);
    lines.push(format!("--unused {} --min-age {min_age}", policy.unused_percent));
    lines
}

fn rules(keep: &Keep) -> Vec<String> {
    if keep.keeps_all() {
        return vec!["all".to_owned()];
    }
    let last = keep.last.map(|last| format!("last={last}"));
    let within = keep.within.map(|within| format!("within={}", duration::show(within)));
    let labels = keep.labels.iter().map(|of| format!("label={}", label(of)));
    last.into_iter().chain(within).chain(labels).collect()
}
