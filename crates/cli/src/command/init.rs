//! `freestone init`.

use crate::exit::Exit;
use crate::output;
use crate::session::{self, Session};
use clap::Args;
use freestone_core::{Error, ErrorKind, Result};
use freestone_store::Store;
use serde::Serialize;
use std::path::PathBuf;

/// Make a store
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone init                  where the store is by default
  freestone init /srv/www.store

With --json: {\"store\" (its directory), \"store_id\"}")]
pub struct Init {
    /// Its directory, empty or new; else as with -s
    #[arg(value_name = "STORE")]
    place: Option<PathBuf>,
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    store: String,
    store_id: String,
}

impl Init {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let place = match (&self.place, session.has_store_option()) {
            (Some(_), true) => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "the store is named twice, here and by -s",
                ));
            }
            (Some(place), false) => session::check_place(place.clone())?,
            (None, _) => session.store_place()?,
        };
        let store = Store::init(&place)?;
        if session.output.is_json() {
            let (store_id, store) = (store.id().to_string(), output::place(&place));
            session.output.json(&Answer { store, store_id })?;
        } else {
            session.output.note(format_args!("made store {} in {}", store.id(), place.display()));
        }
        Ok(Exit::Done)
    }
}
