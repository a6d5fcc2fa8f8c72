//! `freestone serve`.

mod bindings;
mod http;
mod lifecycle;
mod nbd;
mod options;

use crate::context::Context;
use crate::exit::Exit;
use clap::{Args, Subcommand};
use freestone_core::Result;

/// Serve images over the network, without writing them anywhere
///
/// Each name is bound to a revision when the server starts: a client that loses its connection
/// finds the same bytes when it connects again. SIGHUP binds the names again, for new clients only.
/// A server of NBD at unix:PATH keeps the bindings in PATH.bound, also when it is started again.
/// After SIGTERM or SIGINT the server answers the requests that it has received, and exits with
/// code 0.
#[derive(Args)]
pub struct Serve {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Subcommand)]
enum Protocol {
    Nbd(nbd::Nbd),
    Http(http::Http),
}

impl Serve {
    /// Runs the command.
    ///
    /// # Errors
    /// As of the subcommand.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        match &self.protocol {
            Protocol::Nbd(nbd) => nbd.run(context),
            Protocol::Http(http) => http.run(context),
        }
    }
}
