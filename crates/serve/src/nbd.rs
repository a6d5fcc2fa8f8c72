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
mod server;
mod socket;
mod wire;

pub use server::{Options, Server};
