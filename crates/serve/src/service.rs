//! The caches, the metrics and the log that all images of a server share.

use crate::cache::Cache;
use crate::layout::Layouts;
use crate::metrics::Metrics;
use freestone_core::{Error, ErrorKind, Id, lock, shown};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The smallest cache of decoded chunks in bytes: room for four of the longest.
pub const CACHE_BYTES_MIN: u64 = 16 << 20;
/// The usual size of the cache of decoded chunks in bytes.
pub const CACHE_BYTES_DEFAULT: u64 = 64 << 20;

/// The bytes of decoded chunks that may be sent without a copy at one time. They stay in memory
/// until their clients have received them, even if the cache has evicted them. Others are copied
/// first.
const PINNED_BYTES_MAX: u64 = 16 << 20;
/// The bytes of long replies in memory that clients have not received yet. A longer one is made if
/// there is no other.
const REPLY_BYTES_MAX: u64 = 16 << 20;
/// The size of the layout cache of all images together.
const LAYOUT_BYTES_MAX: u64 = 16 << 20;
/// The number of failures that are remembered, so that each is logged once.
const FAILURES_MAX: usize = 1024;

/// Receives the lines of the log.
pub type Logger = Box<dyn Fn(&str) + Send + Sync>;

/// The caches, the metrics and the log that all images of a server share.
pub struct Service {
    pub(crate) layouts: Layouts,
    pub(crate) chunks: Cache<Id, Vec<u8>>,
    /// Whether chunks are hashed at each read, even if they were proven before.
    pub(crate) always_prove: bool,
    /// The counters.
    pub metrics: Arc<Metrics>,
    log: Logger,
    /// The failures that were logged.
    failures: Mutex<HashSet<String>>,
    /// The number of images so far.
    images: AtomicU64,
    /// The chunks that a thread proves or decodes now.
    busy: Mutex<HashSet<Id>>,
    /// Notified when a thread has finished with a chunk.
    not_busy: Condvar,
    /// The bytes of all [`PinnedChunk`]s together.
    pinned: AtomicU64,
    /// The bytes of all [`HeldReply`]s together.
    replies: Arc<AtomicU64>,
}

/// A guard: a long reply is counted as in memory.
pub(crate) struct HeldReply(Arc<AtomicU64>, u64);

impl Drop for HeldReply {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// A decoded chunk that stays in memory while it is sent without a copy.
pub(crate) struct PinnedChunk {
    bytes: Arc<Vec<u8>>,
    service: Arc<Service>,
}

/// A guard: while it lives, no other thread proves or decodes the same chunk.
pub(crate) struct ChunkGuard<'a>(&'a Service, Id);

impl Service {
    /// Creates a service with a cache of `cache_bytes` for decoded chunks. With `always_prove`,
    /// chunks are hashed at each read, even if they were proven before.
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
            replies: Arc::default(),
        }
    }

    /// Keeps a decoded chunk in memory until it is sent; returns `None` if too many are kept
    /// already.
    pub(crate) fn pin(self: &Arc<Self>, bytes: &Arc<Vec<u8>>) -> Option<PinnedChunk> {
        let weight = bytes.capacity() as u64;
        if self.pinned.fetch_add(weight, Ordering::Relaxed) + weight > PINNED_BYTES_MAX {
            self.pinned.fetch_sub(weight, Ordering::Relaxed);
            return None;
        }
        Some(PinnedChunk { bytes: bytes.clone(), service: self.clone() })
    }

    /// Counts a reply of `bytes` until it is sent; returns `None` if others take the memory for it.
    pub(crate) fn hold_reply(&self, bytes: u64) -> Option<HeldReply> {
        let before = self.replies.fetch_add(bytes, Ordering::Relaxed);
        let held = HeldReply(self.replies.clone(), bytes);
        (before == 0 || before + bytes <= REPLY_BYTES_MAX).then_some(held)
    }

    /// Returns about how many bytes the layouts of large images may take together: as many as the
    /// cache.
    pub(crate) fn layouts_max(&self) -> u64 {
        self.chunks.weight_max()
    }

    /// Returns a number for a new image.
    pub(crate) fn next_image(&self) -> u64 {
        self.images.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the size of the cached decoded chunks in bytes.
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

    /// Counts that the bytes of `name` from `offset` on could not be read, and logs each error
    /// once.
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
    /// Returns the chunk's bytes.
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

/// Returns what a client is told of `error`. What it says about storage names files of this machine,
/// which only the log has; what it quotes of a name or a store is escaped.
pub(crate) fn error_text(error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "nothing is served under this name".to_owned(),
        ErrorKind::Usage | ErrorKind::Refused | ErrorKind::Conflict => {
            let mut text = shown::line(error.message()).into_owned();
            for line in error.lines() {
                text.push('\n');
                text.push_str(&shown::line(line));
            }
            shown::without_secrets(&text).into_owned()
        }
        _ => "the server cannot read this: its log says why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_bytes_are_bounded_and_released() {
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

    #[test]
    fn long_replies_are_bounded_and_released() {
        let service = Service::new(0, false, Box::new(|_| {}));
        let held = || service.hold_reply(REPLY_BYTES_MAX / 4);
        let mut replies: Vec<HeldReply> = std::iter::from_fn(held).take(9).collect();
        assert_eq!(replies.len(), 4);
        replies.pop();
        assert!(service.hold_reply(1 << 20).is_some());
        drop(replies);
        assert_eq!(service.replies.load(Ordering::Relaxed), 0);
        // One that is longer than all may be together is made alone.
        let alone = service.hold_reply(REPLY_BYTES_MAX + 1);
        assert!(alone.is_some() && service.hold_reply(1).is_none());
    }
}
