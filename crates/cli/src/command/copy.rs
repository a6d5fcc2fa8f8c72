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
use freestone_follow::{Follower, Opened, Subject, prime};
use freestone_push::copy::{Copied, Copier, CopyOptions};
use freestone_store::Resolved;
use serde::Serialize;
use std::ffi::OsString;
use std::time::Instant;

/// Copy revisions to another store, writing only what is missing there
///
/// If a revision is named by a ref or as REF@N, entries of the ref are copied as well: all that are
/// newer than those in the other store, with their revisions; or only the named one, if the other
/// store does not have the ref. So copying again later brings the other store up to date. The hash
/// of everything that is read is checked. A copy that was interrupted leaves a consistent store;
/// run it again to finish it.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Copy {
    /// Revisions to copy
    #[arg(value_name = "REV", required = true)]
    names: Vec<OsString>,

    /// Store to copy to
    #[arg(long, value_name = "STORE")]
    to: String,

    /// Report what would be copied, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone init /mnt/stick/www.store
  freestone copy main --to /mnt/stick/www.store

With --json: {{\"to\", \"revisions\" and \"records\" (that were missing there), \"bytes\" (of these records,
as stored here), \"bytes_stored\" (by which the other store grew), \"ref_entries\"; if this store
follows an upstream, \"requests\" and \"bytes_fetched\"}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The result as JSON. The help documents its keys.
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
    /// Runs the command.
    ///
    /// # Errors
    /// A store cannot be opened, a revision does not exist, or reading or writing fails.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let opened = context.opened()?;
        let target = context.store_at(&self.to)?;
        if target.id() == opened.store.id() {
            return Err(Error::new(ErrorKind::Usage, "--to names the store that is copied from"));
        }
        let mut found = Vec::new();
        for argument in &self.names {
            let name = Name::parse_revision(argument)?;
            found.push(opened.store.resolve_to_read(&name)?);
        }
        let copied = context.watched("copying", Unit::Bytes, None, |watch| {
            self.copy(&opened, &target, &found, context, watch)
        })?;
        self.say(&copied, &opened, begun, context)?;
        Ok(Exit::Done)
    }

    /// Copies the revisions in `found`, which `self.names` name.
    fn copy(
        &self,
        opened: &Opened,
        target: &freestone_store::Store,
        found: &[Resolved],
        context: &Context,
        watch: Watch<'_>,
    ) -> Result<Copied> {
        let source = &opened.store;
        let options = CopyOptions { dry_run: self.dry_run };
        let mut copier = Copier::new(source, target, options, watch)?;
        for (resolved, argument) in found.iter().zip(&self.names) {
            // Fetches much at once, before records are read one by one.
            prime(opened, &resolved.id)?;
            let contents = !self.dry_run;
            let subject = Subject { root: resolved.revision.root, below: None, contents };
            following::fetch_missing(opened, &subject, context)?;
            following::note_not_kept(opened, context);
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
        opened: &Opened,
        begun: Instant,
        context: &Context,
    ) -> Result<()> {
        if context.output.is_json() {
            let traffic = opened.follower.as_ref().map(Follower::traffic);
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
            "{}: copied {revisions} with {records}, and {entries}; stored {}; {}",
            self.to,
            show(copied.bytes_stored),
            time::show_duration(begun.elapsed()),
        ));
        Ok(())
    }
}

/// Returns the ref and the number of the entry that `argument` names, if it names an entry and not
/// an ancestor of its revision.
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
    // The newest entry by now: if a push changed the ref meanwhile, that is copied too.
    Ok(source.refs().newest(name)?.map(|entry| (name.clone(), entry.n)))
}
