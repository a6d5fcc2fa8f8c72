//! `freestone serve nbd`.

use super::lifecycle;
use super::options::ServeOptions;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_SEE;
use crate::values::name;
use crate::values::size;
use clap::Args;
use freestone_core::Result;
use freestone_serve::{Server, nbd};
use rustix::fd::AsFd;
use std::time::Duration;

/// Where it listens unless told otherwise: the port that is registered for NBD, for this machine
/// alone.
const LISTEN_DEFAULT: &str = "127.0.0.1:10809";

/// Serve images as network block devices, read-only
///
/// The exports are ID.tar, ID.fat and, for MirageOS's reader, ID.mirage.fat of each revision, by its
/// whole id, and the names as they were given, which are tar images, or FAT ones with .fat or
/// .mirage.fat behind them; a client that names none gets the only one. Several connections at once
/// are offered for exports by id, which never change.
///
/// The places where it listens are printed when it is ready.
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
  qemu-system-x86_64 … -drive file=nbd:unix:/run/www.sock,format=raw,if=virtio,readonly=on
  nbd-client -unix /run/www.sock -N main -readonly /dev/nbd0

With --json, when it is ready: {\"listening\": [], \"metrics\" or null, \"exports\": [], \"revisions\":
{NAME: id}}";
    format!("{examples}\n{JSON_SEE}\n\n{}\n\n{}", name::TEXT, size::TEXT)
}

impl Nbd {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let (end, again) = context.interrupt.for_server()?;
        let listeners = self.options.listeners(LISTEN_DEFAULT)?;
        let catalogue = self.options.catalogue(context)?;
        let protocol = nbd::Nbd {
            catalogue: catalogue.clone(),
            workers: self.options.workers()?,
            negotiation: Duration::from_secs(self.negotiation_timeout),
        };
        let server = Server::new(protocol, self.options.connections_max());
        let metrics = self.options.metrics(&catalogue)?;
        lifecycle::bind_at_hangup(&catalogue, again)?;
        context.interrupt.serve_on();
        lifecycle::ready(&catalogue, &listeners, metrics, context)?;
        server.run(listeners, end.as_fd())?;
        lifecycle::end(&catalogue);
        Ok(Exit::Done)
    }
}
