//! A server of any protocol: accepts connections, and starts a thread for each.

use crate::activity::{Activity, OpenSocket, Peer};
use crate::listen::{self, Listener};
use crate::metrics::ProtocolMetrics;
use crate::service::Service;
use freestone_core::{Result, lock};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::Shutdown;
use rustix::process::{Resource, getrlimit};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the server waits for its connections to end when it ends.
const ENDING: Duration = Duration::from_secs(5);
/// How long the server waits after a failed accept, such as when too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the log says nothing more about connections that are short.
const SHORT_LOG_PAUSE: Duration = Duration::from_secs(60);
/// The number of files that a connection has open: its socket, and an event.
const CONNECTION_FILES: u64 = 2;
/// The number of files that a server has open beside those of its connections and packs.
const OWN_FILES: u64 = 16;
/// The stack size of a connection's thread. Opening an image, as HTTP does, needs the most.
const STACK_BYTES: usize = 1 << 20;

/// A protocol that is spoken on connections.
pub trait Protocol: Send + Sync + 'static {
    /// Serves a connection to its end. When the server ends, it sets `is_ending` and closes the
    /// receiving side: then requests that were received before are answered, and no others.
    ///
    /// `activity` is to record which side is waited for: a new connection may take the place of one
    /// whose client does nothing.
    ///
    /// # Errors
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the client breaks the protocol
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if the client is too slow
    /// - the connection is lost
    fn serve(
        &self,
        socket: Arc<OwnedFd>,
        is_ending: &AtomicBool,
        activity: &Arc<Activity>,
    ) -> io::Result<()>;

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
    /// The open connections, by their number.
    open: Mutex<HashMap<u64, OpenSocket>>,
    /// The number of threads of connections, also of those that gave way and are not listed any
    /// more.
    threads: AtomicUsize,
    /// When the log last said that connections are short.
    short_logged: Mutex<Option<Instant>>,
    /// Notified when a connection has ended.
    one_less: Condvar,
}

impl<P: Protocol> Server<P> {
    /// Creates a server of at most `connections_max` connections at once, or fewer if the limit of
    /// open files has no room for as many. A further one takes the place of one whose client does
    /// nothing, or is closed immediately if there is none.
    pub fn new(protocol: P, connections_max: usize) -> Self {
        let room = connections_within(getrlimit(Resource::Nofile).current);
        if room < connections_max {
            protocol.service().log(&format!(
                "the limit of open files has room for {room} connections, not for \
                 {connections_max}: raise it (`ulimit -n`, LimitNOFILE= of a service)"
            ));
        }
        Self(Arc::new(ServerState {
            protocol,
            connections_max: connections_max.min(room),
            is_ending: AtomicBool::new(false),
            open: Mutex::default(),
            threads: AtomicUsize::new(0),
            short_logged: Mutex::default(),
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
                        inner.short(&format!("a connection cannot be accepted: {what}"));
                        // Its files may be what is missing.
                        inner.make_way(&mut inner.open(), None);
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
        self.0.threads.fetch_sub(1, Ordering::Relaxed);
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
    fn open(&self) -> MutexGuard<'_, HashMap<u64, OpenSocket>> {
        lock(&self.open)
    }

    /// Logs that connections are short, at most once a minute.
    fn short(&self, line: &str) {
        let mut logged = lock(&self.short_logged);
        if logged.is_none_or(|at| at.elapsed() >= SHORT_LOG_PAUSE) {
            *logged = Some(Instant::now());
            drop(logged);
            self.log(line);
        }
    }

    /// Ends the connection that can be missed most, to make room for one of `peer`; returns false
    /// if there is none. Of the peers with most connections, those go first whose clients have not
    /// asked for anything yet, then those that have been idle longest. If none is idle, a peer that
    /// has more than half of all gives one up for another peer.
    fn make_way(&self, open: &mut HashMap<u64, OpenSocket>, peer: Option<Peer>) -> bool {
        let mut counts: HashMap<Peer, usize> = HashMap::new();
        for entry in open.values() {
            *counts.entry(entry.peer).or_default() += 1;
        }
        let count = |entry: &OpenSocket| counts.get(&entry.peer).copied().unwrap_or(0);
        let idle = open.iter().filter_map(|(number, entry)| {
            let (has_asked, idle) = entry.activity.idle()?;
            Some(((!has_asked, count(entry), idle, Reverse(*number)), *number))
        });
        let victim = idle.max().map(|(_, number)| number).or_else(|| {
            let peer = peer?;
            let large = |entry: &&OpenSocket| entry.peer != peer && count(entry) * 2 > open.len();
            let numbers = open.iter().filter(|(_, entry)| large(entry)).map(|(number, _)| *number);
            numbers.min()
        });
        let Some(gone) = victim.and_then(|number| open.remove(&number)) else { return false };
        let _ = rustix::net::shutdown(&*gone.socket, Shutdown::Both);
        self.protocol.metrics().refused.add(1);
        true
    }

    /// Starts a thread that serves `socket`, unless there are too many connections.
    fn start(inner: &Arc<Self>, number: u64, socket: OwnedFd) {
        let metrics = inner.protocol.metrics();
        let socket = Arc::new(socket);
        let activity = Arc::new(Activity::default());
        {
            let mut open = inner.open();
            let peer = Peer::of(&socket);
            if open.len() >= inner.connections_max {
                let limit = inner.connections_max;
                inner.short(&format!(
                    "all {limit} connections are in use: new ones take the place of idle ones \
                     (see --max-connections)"
                ));
                // A connection that gave way ends soon, but may still wait for the store.
                let is_room = inner.threads.load(Ordering::Relaxed) < 2 * limit;
                if !is_room || !inner.make_way(&mut open, Some(peer)) {
                    metrics.refused.add(1);
                    return;
                }
            }
            inner.threads.fetch_add(1, Ordering::Relaxed);
            let (socket, activity) = (socket.clone(), activity.clone());
            open.insert(number, OpenSocket { socket, activity, peer });
        }
        metrics.connections.add(1);
        metrics.open.fetch_add(1, Ordering::Relaxed);
        let shared = inner.clone();
        let serve = move || {
            let _entered = OpenConnection(&*shared, number);
            if let Err(error) = shared.protocol.serve(socket, &shared.is_ending, &activity)
                && is_misconduct(&error)
            {
                shared.protocol.metrics().refused.add(1);
            }
        };
        let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(serve) {
            drop(OpenConnection(&**inner, number));
            inner.short(&format!("a connection cannot be served: {error}"));
        }
    }

    /// Ends all connections, and waits for them up to twice [`ENDING`].
    fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // First no further requests; then no further replies, for clients that do not read them.
        for how in [Shutdown::Read, Shutdown::Both] {
            let mut open = self.open();
            for entry in open.values() {
                let _ = rustix::net::shutdown(&*entry.socket, how);
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

/// Returns how many connections can be open if `limit` files can. A quarter of the files is left for
/// packs.
fn connections_within(limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let files = (limit - limit / 4).saturating_sub(OWN_FILES);
    usize::try_from(files / CONNECTION_FILES).unwrap_or(usize::MAX).max(1)
}

/// Returns true if the client broke the protocol or its time limits; false if it disconnected.
fn is_misconduct(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, unbounded};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::net::{IpAddr, Ipv4Addr};

    fn sockets() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).unwrap()
    }

    /// A protocol whose connections wait for a store that does not answer, whatever becomes of
    /// their sockets.
    struct Waiting {
        answer: Receiver<()>,
        metrics: ProtocolMetrics,
        service: Service,
    }

    impl Protocol for Waiting {
        fn serve(&self, _: Arc<OwnedFd>, _: &AtomicBool, _: &Arc<Activity>) -> io::Result<()> {
            let _ = self.answer.recv();
            Ok(())
        }

        fn metrics(&self) -> &ProtocolMetrics {
            &self.metrics
        }

        fn service(&self) -> &Service {
            &self.service
        }
    }

    #[test]
    fn open_files_bound_the_connections() {
        for (limit, expected) in [(0, 1), (24, 1), (40, 7), (1024, 376), (1 << 20, 393_208)] {
            assert_eq!(connections_within(Some(limit)), expected, "{limit}");
        }
        assert_eq!(connections_within(None), usize::MAX);
    }

    #[test]
    fn connections_that_gave_way_count_until_they_end() {
        let (give, answer) = unbounded();
        let service = Service::new(0, false, Box::new(|_| {}));
        let protocol = Waiting { answer, metrics: ProtocolMetrics::default(), service };
        let server = Server::new(protocol, 3);
        let mut theirs = Vec::new();
        for number in 0..20 {
            let (ours, other) = sockets();
            theirs.push(other);
            ServerState::start(&server.0, number, ours);
        }
        assert_eq!(server.0.open().len(), 3);
        assert_eq!(server.0.threads.load(Ordering::Relaxed), 6);
        assert_eq!(server.0.protocol.metrics.open.load(Ordering::Relaxed), 6);
        drop(give);
        server.0.end();
        while server.0.threads.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(server.0.protocol.metrics.open.load(Ordering::Relaxed), 0);
    }

    /// Whose connections give way, one after the other, to `peer`.
    fn ways(connections: &[(u8, bool)], peer: Option<u8>) -> Vec<u64> {
        let address = |last: u8| Peer::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        let service = Service::new(0, false, Box::new(|_| {}));
        let (_, answer) = unbounded();
        let protocol = Waiting { answer, metrics: ProtocolMetrics::default(), service };
        let server = Server::new(protocol, connections.len());
        let mut open = HashMap::new();
        for (number, (peer, is_busy)) in (0..).zip(connections) {
            let activity = Arc::new(Activity::default());
            if *is_busy {
                activity.works();
            }
            let (socket, peer) = (Arc::new(sockets().0), address(*peer));
            open.insert(number, OpenSocket { socket, activity, peer });
        }
        let mut gone = Vec::new();
        loop {
            let before: Vec<u64> = open.keys().copied().collect();
            if !server.0.make_way(&mut open, peer.map(address)) {
                return gone;
            }
            gone.extend(before.into_iter().filter(|number| !open.contains_key(number)));
        }
    }

    #[test]
    fn the_peer_with_most_connections_gives_way_first() {
        let idle = [(1, false), (2, false), (2, false), (2, false)];
        assert_eq!(ways(&idle, Some(3)), [1, 2, 0, 3]);
        // Who is busy gives way only to another peer, and only of more than half.
        let busy = [(1, true), (2, true), (2, true), (2, true)];
        assert_eq!(ways(&busy, Some(1)), [1, 2]);
        assert!(ways(&busy, Some(2)).is_empty());
        assert!(ways(&busy, None).is_empty());
        assert_eq!(ways(&[(1, true), (2, false), (2, true)], Some(2)), [1]);
    }
}
