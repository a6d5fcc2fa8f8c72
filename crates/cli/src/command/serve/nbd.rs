//! `freestone serve nbd`.

use super::bindings::Bindings;
use super::lifecycle;
use super::options::ServeOptions;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_SEE;
use crate::values::name;
use crate::values::size;
use clap::Args;
use freestone_core::Result;
use freestone_serve::{Catalogue, Server, nbd};
use rustix::fd::AsFd;
use std::time::Duration;

/// The default address: the port that is registered for NBD, for local clients only.
const LISTEN_DEFAULT: &str = "127.0.0.1:10809";

/// Serve images as network block devices (NBD), read-only
///
/// The exports of a revision are ID.tar, ID.fat and, for MirageOS, ID.mirage.fat, where ID is its
/// whole id. A name that was given is an export too: of the tar image, or, with .fat or .mirage.fat
/// appended, of a FAT image. A client that does not name an export gets the only one, if there is
/// only one. Exports by id never change, and allow several connections at once.
///
/// The addresses are printed when the server is ready.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Nbd {
    #[command(flatten)]
    options: ServeOptions,

    /// Seconds that a client may take to choose an export
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds())]
    negotiation_timeout: u64,
}

fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=86_400)
}

fn after_help() -> String {
    let examples = "\
Examples:
  freestone serve nbd main                           at 127.0.0.1:10809
  freestone serve nbd main --listen unix:/run/www.sock
  nbdinfo --list nbd+unix:///?socket=/run/www.sock
  qemu-system-x86_64 … -drive file=nbd:unix:/run/www.sock:exportname=ID.tar,format=raw,readonly=on
  nbd-client -unix /run/www.sock -N ID.tar -readonly /dev/nbd0

A client that stays, such as a guest, is given ID.tar: the name of a ref may mean another image when
the client connects again.

With --json, when it is ready: {\"listening\": [], \"metrics\" or null, \"exports\": [], \"revisions\":
{NAME: id}}";
    format!("{examples}\n{JSON_SEE}\n\n{}\n\n{}", name::TEXT, size::TEXT)
}

impl Nbd {
    /// Runs the command.
    ///
    /// # Errors
    /// A name does not name a revision, or an address cannot be listened on.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let (end, again) = context.interrupt.for_server()?;
        let listeners = self.options.listeners(LISTEN_DEFAULT)?;
        let bindings = Bindings::beside(&listeners);
        let (catalogue, follower) = self.options.catalogue(bindings.as_ref(), context)?;
        let protocol = nbd::Nbd {
            catalogue: catalogue.clone(),
            workers: self.options.workers()?,
            negotiation: Duration::from_secs(self.negotiation_timeout),
        };
        let server = Server::new(protocol, self.options.connections_max());
        let metrics = self.options.metrics(&catalogue)?;
        let remember = move |catalogue: &Catalogue| {
            if let Some(bindings) = &bindings {
                bindings.write(catalogue);
            }
        };
        remember(&catalogue);
        lifecycle::bind_at_hangup(&catalogue, again, remember)?;
        context.interrupt.serve_on();
        lifecycle::ready(&catalogue, &listeners, metrics, context)?;
        server.run(listeners, end.as_fd())?;
        lifecycle::end(&catalogue, follower.as_ref());
        Ok(Exit::Done)
    }
}
