//! Serves images over NBD, the network block device protocol, by its specification
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>): fixed newstyle
//! negotiation, simple and structured replies, block status for `base:allocation`; read-only.
//!
//! ```text
//! client ──requests──▶ connection's thread ─ available? ─▶ reply
//!                            │    ▲ inbox
//!                          load   │ finished
//!                            ▼    │
//!                          workers, shared by all connections
//! ```
//!
//! A connection has one thread, which waits only for its client. It queues the work for data that
//! is not available for the workers and continues with the next request, so replies are sent out of
//! order. Memory is bounded: a connection holds one buffer for requests, one for replies, and a
//! bounded number of pending requests, whatever the client sends.

mod connection;
mod handshake;
mod output;
mod wire;

use crate::activity::Activity;
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

/// The NBD protocol, which serves the images of a catalogue.
///
/// ```
/// use freestone_core::Result;
/// use freestone_serve::listen::{Address, Listener};
/// use freestone_serve::{Catalogue, Server, Workers, nbd::Nbd};
/// use std::os::fd::BorrowedFd;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// /// Serves `catalogue` on a Unix socket until `stop` is readable.
/// fn serve(catalogue: Arc<Catalogue>, workers: Arc<Workers>, stop: BorrowedFd<'_>) -> Result<()> {
///     let listener = Listener::bind(&Address::parse("unix:/run/www.sock")?)?;
///     let protocol = Nbd { catalogue, workers, negotiation: Duration::from_secs(10) };
///     Server::new(protocol, 128).run(vec![listener], stop)
/// }
/// ```
pub struct Nbd {
    /// The names and images that are served.
    pub catalogue: Arc<Catalogue>,
    /// The threads that read, decode and prove.
    pub workers: Arc<Workers>,
    /// The time limit of a negotiation.
    pub negotiation: Duration,
}

impl Protocol for Nbd {
    fn serve(
        &self,
        socket: Arc<OwnedFd>,
        is_ending: &AtomicBool,
        activity: &Arc<Activity>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + self.negotiation;
        let mut until = DeadlineSocket { socket: &socket, deadline };
        let negotiated = handshake::negotiate(&mut until, &self.catalogue)?;
        let Some(negotiated) = negotiated else { return Ok(()) };
        Connection::new(socket, negotiated, &self.workers, is_ending, activity)?.run()
    }

    fn metrics(&self) -> &ProtocolMetrics {
        &self.service().metrics.nbd
    }

    fn service(&self) -> &Service {
        self.catalogue.service()
    }
}
