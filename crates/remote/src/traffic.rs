//! Counters of requests and of their bytes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts requests. Bytes are those of bodies; headers, a few hundred bytes a request, are not
/// counted.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    retries: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// The counts up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficStats {
    /// Requests, including repeated ones.
    pub requests: u64,
    /// Requests that were repeated.
    pub retries: u64,
    /// Bytes of bodies sent.
    pub sent: u64,
    /// Bytes of bodies received.
    pub received: u64,
}

impl Traffic {
    /// Returns the counts so far.
    pub fn stats(&self) -> TrafficStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficStats {
            requests: read(&self.requests),
            retries: read(&self.retries),
            sent: read(&self.sent),
            received: read(&self.received),
        }
    }

    /// Counts a request.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a repeated request.
    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes of a request's body.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of an answer's body.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
