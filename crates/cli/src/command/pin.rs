//! `freestone pin`.

use super::fetch::only_here;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::short;
use crate::values::time;
use clap::{Args, Subcommand};
use freestone_core::Result;
use freestone_follow::{
    Opened, Pin as Pinning, Pinned, is_complete, is_pinned_at_upstream, pins, unpin,
};
use serde::Serialize;

/// List and remove the pins of this host
///
/// `freestone fetch REV --pin NAME` creates a pin. The cache never removes a pinned revision, and
/// the upstream keeps it as long as its ref hosts/HOST/NAME exists.
#[derive(Args)]
pub struct Pin {
    #[command(subcommand)]
    command: PinCommand,
}

#[derive(Subcommand)]
enum PinCommand {
    /// List the pins
    #[command(after_long_help = "\
With --json: {\"pins\": [{\"pin\", \"revision\", \"time\", \"complete\" (true if all of it is here),
\"upstream\" (true if it has the pin, null if that is not known)}]}")]
    List,

    /// Remove a pin, here and at the upstream
    #[command(after_long_help = "\
With --json: {\"pin\", \"removed_upstream\"}")]
    Remove {
        /// Name of the pin
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A pin as JSON. The help documents its keys.
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
    /// Looks up the state of a pin.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn new(opened: &Opened, pin: &Pinning) -> Result<Self> {
        let complete = is_complete(opened, &pin.revision)?;
        Ok(Self {
            pin: pin.name.clone(),
            revision: pin.revision.to_string(),
            time: pin.time,
            complete,
            upstream: match opened.online() {
                Some(_) => is_pinned_at_upstream(opened, pin).ok(),
                None => None,
            },
        })
    }

    /// Renders the pin as a line for people.
    pub fn line(&self, pin: &Pinning) -> String {
        let complete = if self.complete { "complete" } else { "incomplete here" };
        let upstream = match self.upstream {
            Some(true) => "pinned at the upstream too",
            Some(false) => "not pinned at the upstream, which may remove it",
            None => "unknown whether the upstream has the pin",
        };
        let (id, time) = (short(&pin.revision), time::show(self.time));
        format!("{id} {time} {}, {complete}; {upstream}", self.pin)
    }
}

impl Pin {
    /// Runs the command.
    ///
    /// # Errors
    /// The store does not follow an upstream, or the pin does not exist.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let opened = context.opened()?;
        match &self.command {
            PinCommand::List => list(&opened, context)?,
            PinCommand::Remove { name } => {
                let removed = unpin(&opened, name, context.time()?)?;
                if context.output.is_json() {
                    let removed_upstream = matches!(removed, Pinned::AtUpstream);
                    context.output.json(&Removed { pin: name.clone(), removed_upstream })?;
                } else if let Pinned::OnlyHere(error) = &removed {
                    context.output.note(only_here(&opened, error));
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn list(opened: &Opened, context: &Context) -> Result<()> {
    let pins = pins(opened)?;
    let shown = pins.iter().map(|pin| JsonPin::new(opened, pin)).collect::<Result<Vec<_>>>()?;
    if context.output.is_json() {
        return context.output.json(&Pins { pins: shown });
    }
    pins.iter().zip(&shown).try_for_each(|(pin, shown)| context.output.line(shown.line(pin)))
}
