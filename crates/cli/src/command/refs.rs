//! `freestone ref`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::short;
use crate::values::name::{self, Name};
use crate::values::time;
use clap::{Args, Subcommand};
use freestone_core::{Error, Result};
use freestone_format::{RefAction, RefEntry};
use freestone_store::{Expect, Store};
use serde::Serialize;
use std::ffi::OsString;

/// List and change the refs, the mutable names of revisions
#[derive(Args)]
pub struct Ref {
    #[command(subcommand)]
    command: RefCommand,
}

#[derive(Subcommand)]
enum RefCommand {
    /// List the refs and the revisions that they name
    #[command(after_long_help = "\
With --json: {\"refs\": [{\"ref\", \"n\" (the entry's number), \"revision\", \"time\"}]}")]
    List,

    /// List the revisions that a ref has named, newest first
    #[command(after_long_help = "\
REF@N names the revision of entry N.

With --json, one object per line: {\"ref\", \"n\", \"revision\" (null if the ref was deleted), \"time\"}")]
    Log {
        /// Ref. Default: the default ref of `push`
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// List at most N entries
        #[arg(short = 'n', long, value_name = "N")]
        max_count: Option<u64>,
    },

    /// Set a ref to a revision
    #[command(after_long_help = set_help())]
    Set {
        /// Ref to set; it is created if it does not exist
        #[arg(value_name = "NAME")]
        name: String,
        /// Revision that the ref is to name
        #[arg(value_name = "REV")]
        revision: OsString,
        /// Set it only if it names this revision now (none: if it does not exist). Otherwise fail
        /// with exit code 6
        #[arg(long, value_name = "REV|none")]
        expect: Option<OsString>,
    },

    /// Delete a ref; its log is kept
    #[command(after_long_help = "\
Examples:
  freestone ref delete old

With --json: {\"ref\", \"n\", \"revision\": null, \"time\"}")]
    Delete {
        /// Ref to delete
        #[arg(value_name = "NAME")]
        name: String,
        /// Delete it only if it names this revision now. Otherwise fail with exit code 6
        #[arg(long, value_name = "REV")]
        expect: Option<OsString>,
    },
}

fn set_help() -> String {
    format!(
        "\
Examples:
  freestone ref set live main
  freestone ref set live main@41 --expect main

With --json: {{\"ref\", \"n\", \"revision\", \"time\"}}

{}",
        name::TEXT
    )
}

/// An entry of a ref as JSON. The help documents its keys.
#[derive(Serialize)]
pub struct JsonRef {
    r#ref: String,
    n: u64,
    revision: Option<String>,
    time: i64,
}

impl JsonRef {
    /// Converts `entry`.
    pub fn new(entry: &RefEntry) -> Self {
        Self {
            r#ref: entry.name.clone(),
            n: entry.n,
            revision: entry.revision().map(|id| id.to_string()),
            time: entry.time,
        }
    }
}

#[derive(Serialize)]
struct JsonRefs {
    refs: Vec<JsonRef>,
}

/// Converts the value of `--expect`. Without it, any state of the ref is accepted.
///
/// # Errors
/// It does not name a revision of `store`.
pub fn expectation(store: &Store, expect: Option<&OsString>) -> Result<Expect> {
    match expect {
        None => Ok(Expect::Any),
        Some(none) if none == "none" => Ok(Expect::Absent),
        Some(name) => Ok(Expect::Revision(store.resolve(&Name::parse_revision(name)?)?.id)),
    }
}

impl Ref {
    /// Runs the command.
    ///
    /// # Errors
    /// The ref or revision does not exist, the ref was changed meanwhile, or the store cannot be
    /// written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let store = context.store()?;
        match &self.command {
            RefCommand::List => list(&store, context)?,
            RefCommand::Log { name, max_count } => {
                log(&store, &context.ref_name(name.as_deref()), *max_count, context)?;
            }
            RefCommand::Set { name, revision, expect } => {
                store.check_writable()?;
                let expect = expectation(&store, expect.as_ref())?;
                let id = store.resolve(&Name::parse_revision(revision)?)?.id;
                let entry = store.set_ref(name, id, expect, context.time()?)?;
                changed(&entry, context)?;
            }
            RefCommand::Delete { name, expect } => {
                store.check_writable()?;
                let expect = expectation(&store, expect.as_ref())?;
                let entry = store.refs().delete(name, expect, context.time()?)?;
                changed(&entry, context)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn list(store: &Store, context: &Context) -> Result<()> {
    let entries = store.refs().list()?;
    if context.output.is_json() {
        return context.output.json(&JsonRefs { refs: entries.iter().map(JsonRef::new).collect() });
    }
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in &entries {
        let id = entry.revision().as_ref().map(short).unwrap_or_default();
        let (name, time) = (&entry.name, time::show(entry.time));
        context.output.line(format_args!("{name:width$} {id} {time}"))?;
    }
    Ok(())
}

fn log(store: &Store, name: &str, max_count: Option<u64>, context: &Context) -> Result<()> {
    let mut count = 0;
    let is_enough = |count| max_count.is_some_and(|max| count >= max);
    store.refs().each_entry(name, &mut |entry| {
        context.interrupt.check()?;
        // The first is read even if none is wanted: it says whether there is such a ref.
        if !is_enough(count) {
            write_entry(&entry, context)?;
        }
        count += 1;
        Ok(!is_enough(count))
    })?;
    if count == 0 {
        return Err(Error::not_found(format!("there is no ref {name}"))
            .hint("`freestone ref list` lists the refs"));
    }
    Ok(())
}

fn write_entry(entry: &RefEntry, context: &Context) -> Result<()> {
    if context.output.is_json() {
        return context.output.json(&JsonRef::new(entry));
    }
    let what = match entry.action {
        RefAction::Set(id) => short(&id),
        RefAction::Delete => format!("{:12}", "deleted"),
    };
    let (name, time) = (&entry.name, time::show(entry.time));
    context.output.line(format_args!("{name}@{:<6} {what} {time}", entry.n))
}

fn changed(entry: &RefEntry, context: &Context) -> Result<()> {
    if context.output.is_json() {
        return context.output.json(&JsonRef::new(entry));
    }
    match entry.action {
        RefAction::Set(id) => {
            context.output.note(format_args!("ref {}@{} is revision {id}", entry.name, entry.n));
        }
        RefAction::Delete => context.output.note(format_args!("deleted ref {}", entry.name)),
    }
    Ok(())
}
