//! `freestone ref`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::short;
use crate::values::name::{self, Name};
use crate::values::time;
use clap::{Args, Subcommand};
use freestone_core::{Error, Result};
use freestone_store::{Expect, RefAction, RefEntry, Store};
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
    /// List the refs and what they name
    #[command(after_long_help = "\
With --json: {\"refs\": [{\"ref\", \"n\" (the entry's number), \"revision\", \"time\"}]}")]
    List,

    /// List what a ref has named in turn, the newest first
    #[command(after_long_help = "\
Entry N is what REF@N names.

With --json, one object a line: {\"ref\", \"n\", \"revision\" (null if the ref was deleted), \"time\"}")]
    Log {
        /// The ref; else the one that is pushed to
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },

    /// Make a ref name a revision
    #[command(after_long_help = set_help())]
    Set {
        /// The ref, which need not exist
        #[arg(value_name = "NAME")]
        name: String,
        /// The revision
        #[arg(value_name = "REV")]
        revision: OsString,
        /// Change it only if it names this revision now, or nothing; else exit code 6
        #[arg(long, value_name = "REV|none")]
        expect: Option<OsString>,
    },

    /// Make a ref name nothing; its log stays
    #[command(after_long_help = "\
Examples:
  freestone ref delete old

With --json: {\"ref\", \"n\", \"revision\": null, \"time\"}")]
    Delete {
        /// The ref
        #[arg(value_name = "NAME")]
        name: String,
        /// Delete it only if it names this revision now; else exit code 6
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

/// An entry as JSON; its keys stand in the help.
#[derive(Serialize)]
pub struct JsonRef {
    r#ref: String,
    n: u64,
    revision: Option<String>,
    time: i64,
}

impl JsonRef {
    /// The entry `entry`.
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

/// What `--expect` says, where nothing said is anything.
///
/// # Errors
/// It names no revision of `store`.
pub fn expectation(store: &Store, expect: Option<&OsString>) -> Result<Expect> {
    match expect {
        None => Ok(Expect::Any),
        Some(none) if none == "none" => Ok(Expect::Absent),
        Some(name) => Ok(Expect::Revision(store.resolve(&Name::parse_revision(name)?)?.id)),
    }
}

impl Ref {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let store = context.store()?;
        match &self.command {
            RefCommand::List => list(&store, context)?,
            RefCommand::Log { name } => log(&store, &context.ref_name(name.as_deref()), context)?,
            RefCommand::Set { name, revision, expect } => {
                store.check_writable()?;
                let expect = expectation(&store, expect.as_ref())?;
                let id = store.resolve(&Name::parse_revision(revision)?)?.id;
                let entry = store.refs().set(name, id, expect, context.time()?)?;
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

fn log(store: &Store, name: &str, context: &Context) -> Result<()> {
    let entries = store.refs().log(name)?;
    if entries.is_empty() {
        return Err(Error::not_found(format!("there is no ref {name}"))
            .hint("`freestone ref list` shows the refs"));
    }
    for entry in &entries {
        if context.output.is_json() {
            context.output.json(&JsonRef::new(entry))?;
            continue;
        }
        let what = match entry.action {
            RefAction::Set(id) => short(&id),
            RefAction::Delete => format!("{:12}", "deleted"),
        };
        let time = time::show(entry.time);
        context.output.line(format_args!("{name}@{:<6} {what} {time}", entry.n))?;
    }
    Ok(())
}

fn changed(entry: &RefEntry, context: &Context) -> Result<()> {
    if context.output.is_json() {
        return context.output.json(&JsonRef::new(entry));
    }
    match entry.action {
        RefAction::Set(id) => {
            context.output.note(format_args!("{}@{} is {id}", entry.name, entry.n));
        }
        RefAction::Delete => context.output.note(format_args!("deleted {}", entry.name)),
    }
    Ok(())
}
