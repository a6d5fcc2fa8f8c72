//! Which side of a connection is waited for, since when, and whose it is: what decides which
//! connection gives way when all slots are taken.

use rustix::fd::OwnedFd;
use rustix::net::getpeername;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// How long a client that has made requests may make none, or receive nothing, before its
/// connection may give way to a new one.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// The instant from which the times of all connections count.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The peer of a connection, as far as its connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// An address; of IPv6 the first 64 bits, since a host may use all others.
    Address(IpAddr),
    /// The user of a Unix socket's other end.
    User(u32),
    /// It cannot be found out.
    Unknown,
}

impl Peer {
    /// Returns the peer of `socket`.
    pub fn of(socket: &OwnedFd) -> Self {
        let address = getpeername(socket).ok().flatten();
        if let Some(address) = address.and_then(|address| SocketAddr::try_from(address).ok()) {
            return match address.ip().to_canonical() {
                IpAddr::V6(ip) => Self::Address(IpAddr::V6((u128::from(ip) >> 64 << 64).into())),
                ip => Self::Address(ip),
            };
        }
        match rustix::net::sockopt::socket_peercred(socket) {
            Ok(credentials) => Self::User(credentials.uid.as_raw()),
            Err(_) => Self::Unknown,
        }
    }
}

/// What a connection does.
#[derive(Debug)]
pub struct Activity {
    /// The milliseconds from [`START`] to when the server began to wait for the client; 0 while
    /// the client waits for the server.
    waits_since: AtomicU64,
    /// Whether the client has made a request that the server works for.
    has_asked: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self { waits_since: AtomicU64::new(now()), has_asked: AtomicBool::new(false) }
    }
}

/// Returns the milliseconds since [`START`], and 1.
fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

impl Activity {
    /// Records that the server waits for the client: to send a request, or to receive a reply.
    pub fn waits(&self) {
        self.waits_since.store(now(), Ordering::Relaxed);
    }

    /// Records that the client waits for the server, which works for its request.
    pub fn works(&self) {
        self.waits_since.store(0, Ordering::Relaxed);
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Returns for how many milliseconds the connection has been idle, if it may give way to a new
    /// one, and whether its client has made a request yet.
    pub(crate) fn idle(&self) -> Option<(bool, u64)> {
        let has_asked = self.has_asked.load(Ordering::Relaxed);
        let since = self.waits_since.load(Ordering::Relaxed);
        if since == 0 {
            return None;
        }
        let idle = now().saturating_sub(since);
        (!has_asked || u128::from(idle) >= IDLE_MIN.as_millis()).then_some((has_asked, idle))
    }
}

/// An open connection, as the server lists it.
pub(crate) struct OpenSocket {
    pub socket: Arc<OwnedFd>,
    pub activity: Arc<Activity>,
    pub peer: Peer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_does_nothing_is_idle() {
        let activity = Activity::default();
        assert!(matches!(activity.idle(), Some((false, _))));
        activity.works();
        assert_eq!(activity.idle(), None);
        activity.waits();
        assert_eq!(activity.idle(), None, "it was active a moment ago");
        std::thread::sleep(IDLE_MIN);
        assert!(matches!(activity.idle(), Some((true, 1000..))));
    }
}
