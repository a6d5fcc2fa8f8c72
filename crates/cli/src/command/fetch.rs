//! `freestone fetch`.

use crate::context::Context;
use crate::exit::Exit;
use crate::following::{self, JsonFetch};
use crate::output::{JSON_SEE, short};
use crate::values::name::{self, Name};
use clap::Args;
use freestone_core::{Error, ErrorKind, Result};
use freestone_store::Store;
use freestone_store::upstream::{Pinned, Subject};
use serde::Serialize;
use std::ffi::OsString;

/// Fetch all that revisions need from the upstream, to be read without it from then on
///
/// Of a store that `init --upstream` made. Only what is not here is fetched, and every record is
/// proven. What was used longest ago is given up when the cache gets larger than its size; what is
/// pinned stays.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Fetch {
    /// The revisions
    #[arg(value_name = "REV", required_unless_present = "pins")]
    names: Vec<OsString>,

    /// And what is pinned, as far as it is not here: `store compact` at the upstream puts it in
    /// other places there, which makes what is here of no use
    #[arg(long, conflicts_with = "pin")]
    pins: bool,

    /// Pin the revision under this name, which is moved if it pins another: it stays in the
    /// cache, and the upstream is told, if it can be, so that it is kept there too
    #[arg(long, value_name = "NAME", conflicts_with = "dry_run")]
    pin: Option<String>,

    /// Say what fetching the contents takes; the manifests are fetched for it
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone fetch main
  freestone fetch main -n              3.1 MiB in 4 requests
  freestone fetch main --pin www       what the volume www shows; `freestone pin list` lists it
  freestone fetch --pins               from time to time, where the upstream is compacted

With --json: {{\"revisions\": [{{\"revision\", \"fetch\": {{\"bytes\", \"requests\"}}}}], \"pin\" or null,
\"pinned_upstream\" (with --pin: whether it was told)}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    revisions: Vec<JsonFetched>,
    pin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_upstream: Option<bool>,
}

#[derive(Serialize)]
struct JsonFetched {
    revision: String,
    fetch: JsonFetch,
}

/// What is said where a pin is here only.
pub fn only_here(store: &Store, error: &Error) -> String {
    let url = store.following().map(|follower| follower.config().url.clone()).unwrap_or_default();
    format!(
        "{url} could not be told ({error}): there, only gc's --keep-within protects what this host \
         runs"
    )
}

impl Fetch {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let store = context.store()?;
        if store.following().is_none() {
            return Err(Error::refused("this store follows no upstream: all of it is here")
                .hint("`freestone init --upstream URL` makes a store that fetches"));
        }
        if context.is_offline() {
            return Err(Error::new(
                ErrorKind::Usage,
                "--offline asks nobody, so nothing is fetched",
            ));
        }
        if self.pin.is_some() && self.names.len() > 1 {
            return Err(Error::new(ErrorKind::Usage, "a pin names one revision"));
        }
        let mut answer = Answer { revisions: Vec::new(), pin: None, pinned_upstream: None };
        let mut names: Vec<String> =
            self.names.iter().map(|name| Name::parse_revision(name)).collect::<Result<_>>()?;
        if self.pins {
            names.extend(store.pins()?.iter().map(|pin| pin.revision.to_string()));
        }
        let mut failed: Option<Error> = None;
        for (number, name) in names.iter().enumerate() {
            // A pin that cannot be had any more keeps no other from being brought.
            let is_pin = number >= self.names.len();
            let outcome = self.one(name, is_pin, &store, context, &mut answer);
            match outcome {
                Err(error)
                    if is_pin
                        && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) =>
                {
                    context.output.note(format_args!("pinned {name}: {error}"));
                    failed.get_or_insert(error);
                }
                outcome => outcome?,
            }
        }
        if context.output.is_json() {
            context.output.json(&answer)?;
        }
        failed.map_or(Ok(Exit::Done), Err)
    }

    /// Fetches what the revision `name` needs.
    fn one(
        &self,
        name: &str,
        is_pin: bool,
        store: &Store,
        context: &Context,
        answer: &mut Answer,
    ) -> Result<()> {
        let resolved = store.resolve_to_read(name)?;
        store.prime(&resolved.id)?;
        let subject = Subject { root: resolved.revision.root, below: None, contents: true };
        let fetched = match self.dry_run {
            true => following::preview(store, &subject, context)?.unwrap_or_default(),
            false => following::fetch_missing(store, &subject, context)?,
        };
        let sum = following::sum(&fetched);
        let (id, shown) = (resolved.id, short(&resolved.id));
        if self.dry_run {
            if !context.output.is_json() {
                context.output.line(format_args!("{shown} {name}: {sum}"))?;
            }
        } else {
            // A pin's own name is its id: what it was asked for as stays what is shown.
            if !is_pin {
                store.note_complete(&id, name);
            }
            if !context.output.is_json() {
                context.output.note(format_args!("{shown} {name} is complete here"));
            }
            if let Some(pin) = &self.pin {
                let pinned = store.pin(pin, id, context.time()?)?;
                answer.pinned_upstream = Some(matches!(pinned, Pinned::AtUpstream));
                answer.pin = Some(pin.clone());
                if let Pinned::OnlyHere(error) = &pinned {
                    context.output.note(only_here(store, error));
                }
            }
        }
        let (revision, fetch) = (id.to_string(), JsonFetch::new(&fetched));
        answer.revisions.push(JsonFetched { revision, fetch });
        Ok(())
    }
}
