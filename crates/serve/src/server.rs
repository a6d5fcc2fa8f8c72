//! Listening, and a thread for each connection, whatever it speaks.

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

/// How long connections have to come to an end when the server ends.
const ENDING: Duration = Duration::from_secs(5);
/// How long it waits to accept again when it has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The stack of a connection's thread: of NBD's calls none goes deep, HTTP's open images.
const STACK_BYTES: usize = 1 << 20;

/// What is spoken on a connection.
pub trait Protocol: Send + Sync + 'static {
    /// Serves a connection to its end. When `is_ending` is set and the connection can receive no
    /// more, what was asked for is answered, and nothing else.
    ///
    /// # Errors
    /// The client is gone; [`InvalidData`](io::ErrorKind::InvalidData) or
    /// [`TimedOut`](io::ErrorKind::TimedOut) if it broke the protocol or its time limits.
    fn serve(&self, socket: Arc<OwnedFd>, is_ending: &AtomicBool) -> io::Result<()>;

    /// Where connections are counted.
    fn metrics(&self) -> &ProtocolMetrics;

    /// Where failures are logged.
    fn service(&self) -> &Service;
}

/// A server of one protocol.
pub struct Server<P>(Arc<ServerState<P>>);

struct ServerState<P> {
    protocol: P,
    connections_max: usize,
    is_ending: AtomicBool,
    open: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    one_less: Condvar,
}

impl<P: Protocol> Server<P> {
    /// A server of at most `connections_max` connections at once; further ones are closed as they
    /// come.
    pub fn new(protocol: P, connections_max: usize) -> Self {
        Self(Arc::new(ServerState {
            protocol,
            connections_max,
            is_ending: AtomicBool::new(false),
            open: Mutex::default(),
            one_less: Condvar::new(),
        }))
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

/// Counts a connection as open while it lives, and takes it off the list.
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
    fn log(&self, line: &str) {
        self.protocol.service().log(line);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OwnedFd>>> {
        lock(&self.open)
    }

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
