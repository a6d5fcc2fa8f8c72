//! Bad weather: a TCP proxy that delays, drops, cuts off and corrupts what passes through it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How bad it is: each number is how often something happens, in 10,000 pieces that pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Pieces that are held back for up to 50 ms.
    pub delay: u64,
    /// Connections that are reset in the place of a piece.
    pub drop: u64,
    /// Connections that are ended properly in the middle of a piece.
    pub truncate: u64,
    /// Pieces in which a bit is flipped.
    pub corrupt: u64,
    /// Connections over which nothing goes any more, without being ended.
    pub stall: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Happened {
    /// Pieces held back.
    pub delayed: AtomicU64,
    /// Connections reset.
    pub dropped: AtomicU64,
    /// Connections cut off.
    pub truncated: AtomicU64,
    /// Bits flipped.
    pub corrupted: AtomicU64,
    /// Connections stalled.
    pub stalled: AtomicU64,
}

/// A proxy before a server, until it is dropped.
pub struct Proxy {
    port: u16,
    happened: Arc<Happened>,
    ended: Arc<AtomicBool>,
}

const PIECE: usize = 4096;

struct Pipe {
    from: TcpStream,
    to: TcpStream,
    weather: Weather,
    happened: Arc<Happened>,
    ended: Arc<AtomicBool>,
    state: u64,
}

impl Proxy {
    /// Returns a proxy before the server on `port` of this machine; the same weather for the same
    /// seed, as far as threads allow.
    ///
    /// # Errors
    /// There is no port.
    pub fn before(port: u16, weather: Weather, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let own = listener.local_addr()?.port();
        let (happened, ended) = (Arc::<Happened>::default(), Arc::<AtomicBool>::default());
        let (its_happened, its_ended) = (happened.clone(), ended.clone());
        thread::spawn(move || {
            for (number, client) in (1_u64..).zip(listener.incoming()) {
                if its_ended.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(client) = client else { continue };
                let target = SocketAddr::from(([127, 0, 0, 1], port));
                // A server that is gone looks to the client as it would without a proxy.
                let Ok(server) = TcpStream::connect(target) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                for (from, to, way) in [(client, server, 1), (server2, client2, 2)] {
                    let (happened, ended) = (its_happened.clone(), its_ended.clone());
                    let state = seed ^ (number * 4 + way);
                    let state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                    thread::spawn(move || {
                        Pipe { from, to, weather, happened, ended, state }.run();
                    });
                }
            }
        });
        Ok(Self { port: own, happened, ended })
    }

    /// Returns the port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what happened so far.
    pub fn happened(&self) -> &Happened {
        &self.happened
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Pipe {
    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below.max(1)
    }

    fn happens(&mut self, often: u64) -> bool {
        often > 0 && self.random(10_000) < often
    }

    fn run(mut self) {
        let mut piece = [0; PIECE];
        while let Ok(length) = self.from.read(&mut piece) {
            if length == 0 || !self.pass(&mut piece[..length]) {
                break;
            }
        }
        let _ = self.to.shutdown(Shutdown::Write);
    }

    /// Passes a piece on; whether the connection goes on.
    fn pass(&mut self, piece: &mut [u8]) -> bool {
        let Weather { delay, drop, truncate, corrupt, stall } = self.weather;
        if self.happens(delay) {
            self.happened.delayed.fetch_add(1, Ordering::Relaxed);
            let held = self.random(50);
            thread::sleep(Duration::from_millis(held));
        }
        if self.happens(drop) {
            self.happened.dropped.fetch_add(1, Ordering::Relaxed);
            let _ = (self.from.shutdown(Shutdown::Both), self.to.shutdown(Shutdown::Both));
            return false;
        }
        if self.happens(truncate) {
            self.happened.truncated.fetch_add(1, Ordering::Relaxed);
            let some = usize::try_from(self.random(piece.len() as u64)).unwrap_or(0);
            let _ = self.to.write_all(&piece[..some]);
            let _ = (self.to.shutdown(Shutdown::Both), self.from.shutdown(Shutdown::Both));
            return false;
        }
        if self.happens(stall) {
            self.happened.stalled.fetch_add(1, Ordering::Relaxed);
            while !self.ended.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            return false;
        }
        if self.happens(corrupt) {
            self.happened.corrupted.fetch_add(1, Ordering::Relaxed);
            let at = usize::try_from(self.random(piece.len() as u64)).unwrap_or(0);
            let bit = self.random(8);
            piece[at] ^= 1 << bit;
        }
        self.to.write_all(piece).is_ok()
    }
}
