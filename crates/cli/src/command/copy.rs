//! `freestone copy`.

use crate::context::Context;
use crate::exit::Exit;
use crate::following;
use crate::output::progress::Unit;
use crate::output::{JSON_SEE, short};
use crate::values::name::{self, Name};
use crate::values::size::{count, show};
use crate::values::time;
use clap::Args;
use freestone_core::{Error, ErrorKind, Result, Watch};
use freestone_store::Resolved;
use freestone_store::copy::{Copied, Copier, CopyOptions};
use freestone_store::upstream::Subject;
use serde::Serialize;
use std::ffi::OsString;
use std::time::Instant;

/// Copy revisions to another store, with all that they need and that it has not
///
/// A revision that is named by a ref, or as REF@N, brings the ref's entries: those behind what the
/// other store has of the ref, with their revisions; or that one entry, if it has none. So a
/// store that is copied to again and again follows. Everything is proven as it is read. A copy that was
/// stopped leaves a whole store, and goes on when it is run again.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Copy {
    /// The revisions
    #[arg(value_name = "REV", required = true)]
    names: Vec<OsString>,

    /// The store that they are copied to
    #[arg(long, value_name = "STORE")]
    to: String,

    /// Say what would be copied, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone init /mnt/stick/www.store
  freestone copy main --to /mnt/stick/www.store

With --json: {{\"to\", \"revisions\" (that it had not), \"records\" (that it had not), \"bytes\" (of these,
as they are stored here), \"bytes_stored\" (that it grew by), \"ref_entries\", \"requests\" and
\"bytes_fetched\" (if this store follows an upstream)}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    to: String,
    revisions: u64,
    records: u64,
    bytes: u64,
    bytes_stored: u64,
    ref_entries: u64,
    #[serde(flatten)]
    fetched: Option<JsonTraffic>,
}

#[derive(Serialize)]
struct JsonTraffic {
    requests: u64,
    bytes_fetched: u64,
}

impl Copy {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let source = context.store()?;
        let target = context.store_at(&self.to)?;
        if target.id() == source.id() {
            return Err(Error::new(ErrorKind::Usage, "a store is not copied to itself"));
        }
        let mut found = Vec::new();
        for argument in &self.names {
            let name = Name::parse_revision(argument)?;
            found.push(source.resolve_to_read(&name)?);
        }
        let copied = context.watched("copying", Unit::Bytes, None, |watch| {
            self.copy(&source, &target, &found, context, watch)
        })?;
        self.say(&copied, &source, begun, context)?;
        Ok(Exit::Done)
    }

    /// Copies the revisions in `found`, which `self.names` name.
    fn copy(
        &self,
        source: &freestone_store::Store,
        target: &freestone_store::Store,
        found: &[Resolved],
        context: &Context,
        watch: Watch<'_>,
    ) -> Result<Copied> {
        let progress = |bytes| watch.add(bytes);
        let options = CopyOptions {
            dry_run: self.dry_run,
            progress: Some(&progress),
            cancel: Some(context.interrupt.flag()),
        };
        let mut copier = Copier::new(source, target, options)?;
        for (resolved, argument) in found.iter().zip(&self.names) {
            // Much at once, before it is read record by record.
            source.prime(&resolved.id)?;
            let contents = !self.dry_run;
            let subject = Subject { root: resolved.revision.root, below: None, contents };
            following::fetch_missing(source, &subject, context)?;
            match entry_of(source, resolved, &argument.to_string_lossy())? {
                Some((name, n)) => copier.ref_entries(&name, n)?,
                None => copier.revision(&resolved.id)?,
            }
            if let Some(name) = resolved.ref_name.as_ref().filter(|_| context.output.is_verbose()) {
                context.output.note(format_args!("{} {name}", short(&resolved.id)));
            }
        }
        Ok(copier.finish())
    }

    fn say(
        &self,
        copied: &Copied,
        source: &freestone_store::Store,
        begun: Instant,
        context: &Context,
    ) -> Result<()> {
        if context.output.is_json() {
            let traffic = source.following().map(freestone_store::upstream::Follower::traffic);
            return context.output.json(&Answer {
                to: self.to.clone(),
                revisions: copied.revisions,
                records: copied.records,
                bytes: copied.bytes,
                bytes_stored: copied.bytes_stored,
                ref_entries: copied.ref_entries,
                fetched: traffic.map(|traffic| JsonTraffic {
                    requests: traffic.requests,
                    bytes_fetched: traffic.bytes,
                }),
            });
        }
        let (revisions, records) = (
            count(copied.revisions, "revision", "revisions"),
            count(copied.records, "record", "records"),
        );
        let entries = count(copied.ref_entries, "entry of a ref", "entries of refs");
        if self.dry_run {
            return context.output.line(format_args!(
                "{}: lacks {revisions} with {records} of {}, and {entries}",
                self.to,
                show(copied.bytes)
            ));
        }
        context.output.note(format_args!(
            "{}: {revisions} with {records}, {entries}; stored {}, {}",
            self.to,
            show(copied.bytes_stored),
            time::show_duration(begun.elapsed()),
        ));
        Ok(())
    }
}

/// The entry of a ref that `argument` names, if it names one and no ancestor of what it names.
fn entry_of(
    source: &freestone_store::Store,
    resolved: &Resolved,
    argument: &str,
) -> Result<Option<(String, u64)>> {
    let Some(name) = &resolved.ref_name else { return Ok(None) };
    if argument.contains('~') {
        return Ok(None);
    }
    if let Some((_, n)) = argument.split_once('@') {
        return Ok(n.parse().ok().map(|n| (name.clone(), n)));
    }
    // As it is now; a push in between may have moved it, which then is copied too.
    Ok(source.refs().newest(name)?.map(|entry| (name.clone(), entry.n)))
}
