//! What all images of a server share: caches, figures, and the log.

use crate::cache::Cache;
use crate::layout::Layouts;
use crate::metrics::Metrics;
use freestone_core::{Error, Id, lock};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The smallest cache of decoded chunks: four of the longest.
pub const CACHE_BYTES_MIN: u64 = 16 << 20;
/// The cache of decoded chunks, unless told otherwise.
pub const CACHE_BYTES_DEFAULT: u64 = 64 << 20;

/// Decoded chunks that are sent from where they lie, together: they stay in memory until their
/// clients have taken them, even if the cache has given them up. What is more is copied first.
const PINNED_BYTES_MAX: u64 = 16 << 20;
/// The layouts of images, together.
const LAYOUT_BYTES_MAX: u64 = 16 << 20;
/// Failures that are remembered, so that each is logged once.
const FAILURES_MAX: usize = 1024;

/// Takes a line of the log.
pub type Logger = Box<dyn Fn(&str) + Send + Sync>;

/// What all images of a server share.
pub struct Service {
    pub(crate) layouts: Layouts,
    pub(crate) chunks: Cache<Id, Vec<u8>>,
    /// Whether what is read is hashed each time, even if it was before.
    pub(crate) always_prove: bool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    log: Logger,
    failures: Mutex<HashSet<String>>,
    images: AtomicU64,
    busy: Mutex<HashSet<Id>>,
    not_busy: Condvar,
    pinned: AtomicU64,
}

/// A decoded chunk that is sent from where it lies.
pub(crate) struct PinnedChunk {
    bytes: Arc<Vec<u8>>,
    service: Arc<Service>,
}

/// A guard: while it lives, no other thread proves or decodes the same chunk.
pub(crate) struct ChunkGuard<'a>(&'a Service, Id);

impl Service {
    /// Caches of `cache_bytes` for decoded chunks, and a log. `always_prove`: hash everything
    /// that is read, even if it was proven before.
    pub fn new(cache_bytes: u64, always_prove: bool, log: Logger) -> Self {
        Self {
            layouts: Layouts::new(LAYOUT_BYTES_MAX),
            chunks: Cache::new(cache_bytes.max(CACHE_BYTES_MIN)),
            always_prove,
            metrics: Arc::default(),
            log,
            failures: Mutex::default(),
            images: AtomicU64::new(0),
            busy: Mutex::default(),
            not_busy: Condvar::new(),
            pinned: AtomicU64::new(0),
        }
    }

    /// Lets a decoded chunk stay in memory for as long as it takes to send it; `None` if there is
    /// too much of that already.
    pub(crate) fn pin(self: &Arc<Self>, bytes: &Arc<Vec<u8>>) -> Option<PinnedChunk> {
        let weight = bytes.capacity() as u64;
        if self.pinned.fetch_add(weight, Ordering::Relaxed) + weight > PINNED_BYTES_MAX {
            self.pinned.fetch_sub(weight, Ordering::Relaxed);
            return None;
        }
        Some(PinnedChunk { bytes: bytes.clone(), service: self.clone() })
    }

    pub(crate) fn next_image(&self) -> u64 {
        self.images.fetch_add(1, Ordering::Relaxed)
    }

    /// Bytes of decoded chunks that are kept.
    pub fn cached_bytes(&self) -> u64 {
        self.chunks.weight()
    }

    /// Waits until no other thread proves or decodes chunk `id`.
    pub(crate) fn lock_chunk(&self, id: Id) -> ChunkGuard<'_> {
        let mut busy = lock(&self.busy);
        while !busy.insert(id) {
            busy = self.not_busy.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        ChunkGuard(self, id)
    }

    /// Writes a line to the log.
    pub fn log(&self, line: &str) {
        (self.log)(line);
    }

    /// Counts that the bytes of `name` from `offset` on could not be read, and logs it once.
    pub fn failed(&self, name: &str, offset: u64, error: &Error) {
        self.metrics.read_failures.add(1);
        let text = error.chain();
        {
            let mut failures = lock(&self.failures);
            if failures.contains(&text) {
                return;
            }
            if failures.len() >= FAILURES_MAX {
                failures.clear();
            }
            failures.insert(text.clone());
        }
        self.log(&format!("{name}: at offset {offset}: {text}"));
    }
}

impl PinnedChunk {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PinnedChunk {
    fn drop(&mut self) {
        self.service.pinned.fetch_sub(self.bytes.capacity() as u64, Ordering::Relaxed);
    }
}

impl Drop for ChunkGuard<'_> {
    fn drop(&mut self) {
        lock(&self.0.busy).remove(&self.1);
        self.0.not_busy.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_bounded_and_given_back() {
        let service = Arc::new(Service::new(0, false, Box::new(|_| {})));
        let chunk = Arc::new(vec![0; 4 << 20]);
        let mut pinned: Vec<PinnedChunk> =
            std::iter::from_fn(|| service.pin(&chunk)).take(9).collect();
        assert_eq!(pinned.len(), 4);
        pinned.pop();
        assert!(service.pin(&Arc::new(vec![0; 1 << 20])).is_some());
        drop(pinned);
        assert_eq!(service.pinned.load(Ordering::Relaxed), 0);
    }
}
