//! Listening, and a thread for each connection.

use super::connection::Connection;
use super::handshake::negotiate;
use super::socket::Until;
use crate::catalogue::Catalogue;
use crate::listen::{self, Listener};
use crate::metrics::ProtocolMetrics;
use crate::workers::Workers;
use freestone_core::Result;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::Shutdown;
use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long connections have to come to an end when the server ends.
const ENDING: Duration = Duration::from_secs(5);
/// How long it waits to accept again when it has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The stack of a connection's thread, which calls nothing deep.
const STACK_BYTES: usize = 256 << 10;

/// How a server serves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections at once; further ones are closed as they come.
    pub connections_max: usize,
    /// How long a negotiation may take.
    pub negotiation: Duration,
    /// Threads for reading, decoding and proving.
    pub workers: NonZeroUsize,
}

/// An NBD server.
pub struct Server(Arc<Inner>);

struct Inner {
    catalogue: Arc<Catalogue>,
    options: Options,
    workers: Workers,
    is_ending: AtomicBool,
    open: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    one_less: Condvar,
}

impl Server {
    /// A server of what `catalogue` names.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new(catalogue: Arc<Catalogue>, options: Options) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            catalogue,
            options,
            workers: Workers::start(options.workers)?,
            is_ending: AtomicBool::new(false),
            open: Mutex::default(),
            one_less: Condvar::new(),
        })))
    }

    /// Serves whoever connects to `listeners`, until `stop` can be read. Then those sockets are
    /// closed and their files removed, what was asked for is answered, and all connections end.
    ///
    /// # Errors
    /// The system cannot wait for connections.
    pub fn run(&self, listeners: Vec<Listener>, stop: BorrowedFd<'_>) -> Result<()> {
        let inner = &self.0;
        let mut number = 0;
        while let Some(ready) = listen::wait(&listeners, stop)? {
            for at in ready {
                match listeners[at].accept() {
                    Ok(Some(socket)) => {
                        number += 1;
                        Inner::start(inner, number, socket);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let what = io::Error::from(error);
                        inner.log(&format!("a connection cannot be accepted: {what}"));
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        }
        drop(listeners);
        inner.end();
        Ok(())
    }
}

/// Counts a connection as open while it lives, and takes it off the list.
struct Entered<'a>(&'a Inner, u64);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open();
        open.remove(&self.1);
        self.0.metrics().open.fetch_sub(1, Ordering::Relaxed);
        self.0.one_less.notify_all();
    }
}

impl Inner {
    fn metrics(&self) -> &ProtocolMetrics {
        &self.catalogue.service().metrics.nbd
    }

    fn log(&self, line: &str) {
        self.catalogue.service().log(line);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<OwnedFd>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(inner: &Arc<Self>, number: u64, socket: OwnedFd) {
        let socket = Arc::new(socket);
        {
            let mut open = inner.open();
            if open.len() >= inner.options.connections_max {
                inner.metrics().refused.add(1);
                return;
            }
            open.insert(number, socket.clone());
        }
        inner.metrics().connections.add(1);
        inner.metrics().open.fetch_add(1, Ordering::Relaxed);
        let shared = inner.clone();
        let serve = move || {
            let _entered = Entered(&shared, number);
            if let Err(error) = shared.serve(socket)
                && is_misconduct(&error)
            {
                shared.metrics().refused.add(1);
            }
        };
        let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(serve) {
            drop(Entered(inner, number));
            inner.log(&format!("a connection cannot be served: {error}"));
        }
    }

    fn serve(&self, socket: Arc<OwnedFd>) -> io::Result<()> {
        let deadline = Instant::now() + self.options.negotiation;
        let mut until = Until { socket: &socket, deadline };
        let Some(negotiated) = negotiate(&mut until, &self.catalogue)? else { return Ok(()) };
        Connection::new(socket, negotiated, &self.workers, &self.is_ending)?.run()
    }

    fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // No further requests; then, for who does not read the answers, no more of those either.
        for how in [Shutdown::Read, Shutdown::Both] {
            let mut open = self.open();
            for socket in open.values() {
                let _ = rustix::net::shutdown(&**socket, how);
            }
            let until = Instant::now() + ENDING;
            while !open.is_empty() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let waited = self.one_less.wait_timeout(open, left);
                open = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// Whether the client did what it must not, as opposed to leaving.
fn is_misconduct(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::TimedOut)
}
