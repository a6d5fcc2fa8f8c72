//! Images over NBD, the network block device protocol, as its specification says
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>): fixed newstyle
//! negotiation, simple and structured replies, block status for `base:allocation`; read-only.
//!
//! ```text
//! client ──requests──▶ connection's thread ── at hand? ──▶ reply
//!                            │    ▲ inbox
//!                        prepare  │ done
//!                            ▼    │
//!                          workers, shared by all connections
//! ```
//!
//! A connection has one thread, which never waits for anything but its client: what is not at
//! hand is given to the workers, and the thread goes on with the next request; so replies come
//! out of order. Memory is bounded: a connection holds one buffer for requests, one for replies,
//! and a bounded number of requests that wait, whatever a client says.

mod connection;
mod handshake;
mod output;
mod wire;

use crate::catalogue::Catalogue;
use crate::metrics::ProtocolMetrics;
use crate::server::Protocol;
use crate::service::Service;
use crate::socket::DeadlineSocket;
use crate::workers::Workers;
use connection::Connection;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The protocol, over what a catalogue names.
pub struct Nbd {
    /// What is served.
    pub catalogue: Arc<Catalogue>,
    /// Who does what takes time.
    pub workers: Arc<Workers>,
    /// How long a negotiation may take.
    pub negotiation: Duration,
}

impl Protocol for Nbd {
    fn serve(&self, socket: Arc<OwnedFd>, is_ending: &AtomicBool) -> io::Result<()> {
        let deadline = Instant::now() + self.negotiation;
        let mut until = DeadlineSocket { socket: &socket, deadline };
        let negotiated = handshake::negotiate(&mut until, &self.catalogue)?;
        let Some(negotiated) = negotiated else { return Ok(()) };
        Connection::new(socket, negotiated, &self.workers, is_ending)?.run()
    }

    fn metrics(&self) -> &ProtocolMetrics {
        &self.service().metrics.nbd
    }

    fn service(&self) -> &Service {
        self.catalogue.service()
    }
}
