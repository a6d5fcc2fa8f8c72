//! `freestone fetch`.

use crate::context::Context;
use crate::exit::Exit;
use crate::following::{self, JsonFetch};
use crate::output::{JSON_SEE, short};
use crate::values::name::{self, Name};
use clap::Args;
use freestone_core::{Error, ErrorKind, Result};
use freestone_follow::{Opened, Pinned, Subject, make_durable, note_complete, pin, pins, prime};
use serde::Serialize;
use std::ffi::OsString;

/// Download everything that revisions need, so that they can be read offline
///
/// For stores that `init --upstream` created. Only what is missing here is downloaded, and the hash
/// of every record is checked. When the cache exceeds its size, the least recently used data is
/// removed, except that of pinned revisions.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Fetch {
    /// Revisions to download
    #[arg(value_name = "REV", required_unless_present = "pins")]
    names: Vec<OsString>,

    /// Also download what is missing of pinned revisions: after `store compact` at the upstream,
    /// their records are in other packs there, and the cached ones can no longer be used
    #[arg(long, conflicts_with = "pin")]
    pins: bool,

    /// Pin the revision under this name, in place of the one that the name pins now. It stays in
    /// the cache, and the pin is also set at the upstream, if possible, so that it is kept there
    /// too
    #[arg(long, value_name = "NAME", conflicts_with = "dry_run")]
    pin: Option<String>,

    /// Report how much would be downloaded; only the manifests are
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone fetch main
  freestone fetch main -n              3.1 MiB in 4 requests
  freestone fetch main --pin www       keep what the volume www shows; see `freestone pin list`
  freestone fetch --pins               from time to time, if the upstream is compacted

With --json: {{\"revisions\": [{{\"revision\", \"fetch\": {{\"bytes\", \"requests\"}}}}], \"pin\" or null,
\"pinned_upstream\" (with --pin: true if the upstream has the pin)}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The result as JSON. The help documents its keys.
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

/// Returns the note that a pin is only here and not at the upstream.
pub fn only_here(opened: &Opened, error: &Error) -> String {
    let url = opened.follower.as_ref().map(|follower| follower.config().url.as_str());
    let url = url.unwrap_or_default();
    format!(
        "the pin could not be changed at {url}: {}; until it is, the upstream does not know what this \
         host needs",
        error.chain()
    )
}

impl Fetch {
    /// Runs the command.
    ///
    /// # Errors
    /// The store does not follow an upstream, that cannot be reached, or a revision does not exist.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let opened = context.opened()?;
        if !opened.is_following() {
            return Err(Error::refused(
                "this store does not follow an upstream: all of it is here",
            )
            .hint("`freestone init --upstream URL` creates a store that follows one"));
        }
        if context.is_offline() {
            return Err(Error::new(
                ErrorKind::Usage,
                "fetch needs the upstream; --offline cannot be used",
            ));
        }
        if self.pin.is_some() && self.names.len() > 1 {
            return Err(Error::new(ErrorKind::Usage, "--pin can be used with one revision only"));
        }
        let mut answer = Answer { revisions: Vec::new(), pin: None, pinned_upstream: None };
        let mut names: Vec<String> =
            self.names.iter().map(|name| Name::parse_revision(name)).collect::<Result<_>>()?;
        if self.pins {
            names.extend(pins(&opened)?.iter().map(|pin| pin.revision.to_string()));
        }
        let mut failed: Option<Error> = None;
        for (number, name) in names.iter().enumerate() {
            // A pinned revision that is lost at the upstream must not prevent fetching the others.
            let is_pin = number >= self.names.len();
            let outcome = self.one(name, is_pin, &opened, context, &mut answer);
            match outcome {
                Err(error)
                    if is_pin && (error.is_damage() || error.kind() == ErrorKind::NotFound) =>
                {
                    context.output.note(format_args!("pinned revision {name}: {}", error.chain()));
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

    /// Fetches everything that the revision `name` needs.
    fn one(
        &self,
        name: &str,
        is_pin: bool,
        opened: &Opened,
        context: &Context,
        answer: &mut Answer,
    ) -> Result<()> {
        let resolved = opened.store.resolve_to_read(name)?;
        prime(opened, &resolved.id)?;
        let subject = Subject::whole(resolved.revision.root);
        let fetched = match self.dry_run {
            true => following::preview(opened, &subject, context)?.unwrap_or_default(),
            false => following::fetch_missing(opened, &subject, context)?,
        };
        let sum = following::sum(&fetched);
        let (id, shown) = (resolved.id, short(&resolved.id));
        if self.dry_run {
            if !context.output.is_json() {
                context.output.line(format_args!("{shown} {name}: {sum}"))?;
            }
        } else {
            // A pinned revision is fetched by its id: the name that it had before stays in
            // `status`.
            match is_pin {
                true => make_durable(opened)?,
                false => note_complete(opened, &id, name)?,
            }
            if !context.output.is_json() {
                context.output.note(format_args!("{shown} {name} is complete here"));
            }
            if let Some(pin_name) = &self.pin {
                let pinned = pin(opened, pin_name, id, context.time()?)?;
                answer.pinned_upstream = Some(matches!(pinned, Pinned::AtUpstream));
                answer.pin = Some(pin_name.clone());
                if let Pinned::OnlyHere(error) = &pinned {
                    context.output.note(only_here(opened, error));
                }
            }
        }
        let (revision, fetch) = (id.to_string(), JsonFetch::new(&fetched));
        answer.revisions.push(JsonFetched { revision, fetch });
        Ok(())
    }
}
