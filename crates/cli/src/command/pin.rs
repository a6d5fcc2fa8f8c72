//! `freestone pin`.

use super::fetch::only_here;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::short;
use crate::values::time;
use clap::{Args, Subcommand};
use freestone_core::Result;
use freestone_store::Store;
use freestone_store::upstream::{Pin as Pinning, Pinned};
use serde::Serialize;

/// List and remove the pins of this host
///
/// `freestone fetch REV --pin NAME` makes one. What is pinned is never given up by the cache; and
/// the upstream keeps it as long as it has the ref hosts/HOST/NAME.
#[derive(Args)]
pub struct Pin {
    #[command(subcommand)]
    command: PinCommand,
}

#[derive(Subcommand)]
enum PinCommand {
    /// List the pins
    #[command(after_long_help = "\
With --json: {\"pins\": [{\"pin\", \"revision\", \"time\", \"complete\" (here), \"upstream\" (whether it has
the pin; null if it cannot be asked)}]}")]
    List,

    /// Remove a pin, here and at the upstream
    #[command(after_long_help = "\
With --json: {\"pin\", \"removed_upstream\"}")]
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A pin as JSON; its keys stand in the help.
#[derive(Serialize)]
pub struct JsonPin {
    pin: String,
    revision: String,
    time: i64,
    complete: bool,
    upstream: Option<bool>,
}

#[derive(Serialize)]
struct Pins {
    pins: Vec<JsonPin>,
}

#[derive(Serialize)]
struct Removed {
    pin: String,
    removed_upstream: bool,
}

impl JsonPin {
    /// What is to be known of a pin of `store`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn new(store: &Store, pin: &Pinning) -> Result<Self> {
        let complete = store.is_complete(&pin.revision)?;
        Ok(Self {
            pin: pin.name.clone(),
            revision: pin.revision.to_string(),
            time: pin.time,
            complete,
            upstream: match store.following() {
                Some(follower) if !follower.is_offline() => store.is_pinned_at_upstream(pin).ok(),
                _ => None,
            },
        })
    }

    /// The same for people.
    pub fn line(&self, pin: &Pinning) -> String {
        let complete = if self.complete { "complete" } else { "not complete here" };
        let upstream = match self.upstream {
            Some(true) => "the upstream keeps it too",
            Some(false) => {
                "the upstream does not know: there, only gc's --keep-within protects this host"
            }
            None => "not known whether the upstream keeps it",
        };
        let (id, time) = (short(&pin.revision), time::show(self.time));
        format!("{id} {time} {}, {complete}; {upstream}", self.pin)
    }
}

impl Pin {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let store = context.store()?;
        match &self.command {
            PinCommand::List => list(&store, context)?,
            PinCommand::Remove { name } => {
                let removed = store.unpin(name, context.time()?)?;
                if context.output.is_json() {
                    let removed_upstream = matches!(removed, Pinned::AtUpstream);
                    context.output.json(&Removed { pin: name.clone(), removed_upstream })?;
                } else if let Pinned::OnlyHere(error) = &removed {
                    context.output.note(only_here(&store, error));
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn list(store: &Store, context: &Context) -> Result<()> {
    let pins = store.pins()?;
    let shown = pins.iter().map(|pin| JsonPin::new(store, pin)).collect::<Result<Vec<_>>>()?;
    if context.output.is_json() {
        return context.output.json(&Pins { pins: shown });
    }
    pins.iter().zip(&shown).try_for_each(|(pin, shown)| context.output.line(shown.line(pin)))
}
