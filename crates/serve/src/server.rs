//! A server of any protocol: accepts connections, and starts a thread for each.

use crate::listen::{self, Listener};
use crate::metrics::ProtocolMetrics;
use crate::service::Service;
use freestone_core::{Result, lock};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::Shutdown;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the server waits for its connections to end when it ends.
const ENDING: Duration = Duration::from_secs(5);
/// How long the server waits after a failed accept, such as when too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The stack size of a connection's thread. Opening an image, as HTTP does, needs the most.
const STACK_BYTES: usize = 1 << 20;

/// A protocol that is spoken on connections.
pub trait Protocol: Send + Sync + 'static {
    /// Serves a connection to its end. When the server ends, it sets `is_ending` and closes the
    /// receiving side: then requests that were received before are answered, and no others.
    ///
    /// # Errors
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the client breaks the protocol
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if the client is too slow
    /// - the connection is lost
    fn serve(&self, socket: Arc<OwnedFd>, is_ending: &AtomicBool) -> io::Result<()>;

    /// Returns the metrics that count the protocol's connections.
    fn metrics(&self) -> &ProtocolMetrics;

    /// Returns the service that logs failures.
    fn service(&self) -> &Service;
}

/// A server of one protocol.
pub struct Server<P>(Arc<ServerState<P>>);

/// The state that a server shares with the threads of its connections.
struct ServerState<P> {
    protocol: P,
    connections_max: usize,
    is_ending: AtomicBool,
    /// The sockets of the open connections, by the connection's number.
    open: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    /// Notified when a connection has ended.
    one_less: Condvar,
}

impl<P: Protocol> Server<P> {
    /// Creates a server of at most `connections_max` connections at once; further ones are closed
    /// immediately.
    pub fn new(protocol: P, connections_max: usize) -> Self {
        Self(Arc::new(ServerState {
            protocol,
            connections_max,
            is_ending: AtomicBool::new(false),
            open: Mutex::default(),
            one_less: Condvar::new(),
        }))
    }

    /// Serves the clients of `listeners` until `stop` is readable. Then the listening sockets are
    /// closed and their files removed, requests that were received are answered, and all
    /// connections end.
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
                        ServerState::start(inner, number, socket);
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

/// A guard: when it is dropped, its connection is no longer counted and listed as open.
struct OpenConnection<'a, P: Protocol>(&'a ServerState<P>, u64);

impl<P: Protocol> Drop for OpenConnection<'_, P> {
    fn drop(&mut self) {
        let mut open = self.0.open();
        open.remove(&self.1);
        self.0.protocol.metrics().open.fetch_sub(1, Ordering::Relaxed);
        self.0.one_less.notify_all();
    }
}

impl<P: Protocol> ServerState<P> {
    /// Writes a line to the log.
    fn log(&self, line: &str) {
        self.protocol.service().log(line);
    }

    /// Locks the list of open connections.
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OwnedFd>>> {
        lock(&self.open)
    }

    /// Starts a thread that serves `socket`, unless there are too many connections.
    fn start(inner: &Arc<Self>, number: u64, socket: OwnedFd) {
        let metrics = inner.protocol.metrics();
        let socket = Arc::new(socket);
        {
            let mut open = inner.open();
            if open.len() >= inner.connections_max {
                metrics.refused.add(1);
                return;
            }
            open.insert(number, socket.clone());
        }
        metrics.connections.add(1);
        metrics.open.fetch_add(1, Ordering::Relaxed);
        let shared = inner.clone();
        let serve = move || {
            let _entered = OpenConnection(&*shared, number);
            if let Err(error) = shared.protocol.serve(socket, &shared.is_ending)
                && is_misconduct(&error)
            {
                shared.protocol.metrics().refused.add(1);
            }
        };
        let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(serve) {
            drop(OpenConnection(&**inner, number));
            inner.log(&format!("a connection cannot be served: {error}"));
        }
    }

    /// Ends all connections, and waits for them up to twice [`ENDING`].
    fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // First no further requests; then no further replies, for clients that do not read them.
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

/// Returns true if the client broke the protocol or its time limits; false if it disconnected.
fn is_misconduct(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::TimedOut)
}
