//! `freestone serve`.

mod http;
mod lifecycle;
mod nbd;
mod options;

use crate::context::Context;
use crate::exit::Exit;
use clap::{Args, Subcommand};
use freestone_core::Result;

/// Serve images to whoever attaches them, without writing them anywhere
///
/// A name is bound to a revision when the server starts, and guests that lose their connection
/// find the same bytes when they come back. SIGHUP binds the names anew, for new clients only.
/// SIGTERM and SIGINT answer what was asked for and end with exit code 0.
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
    pub fn run(&self, context: &Context) -> Result<Exit> {
        match &self.protocol {
            Protocol::Nbd(nbd) => nbd.run(context),
            Protocol::Http(http) => http.run(context),
        }
    }
}
