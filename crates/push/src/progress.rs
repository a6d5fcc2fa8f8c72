//! The progress of a push: reported to its watch, and counted for its outcome.

use freestone_core::{Result, Watch};
use std::sync::atomic::{AtomicU64, Ordering};

/// The progress of a push, from the first try to the last.
pub(crate) struct Progress<'a> {
    /// Counts entries.
    watch: Watch<'a>,
    files_hashed: AtomicU64,
    bytes_hashed: AtomicU64,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(watch: Watch<'a>) -> Self {
        Self { watch, files_hashed: AtomicU64::new(0), bytes_hashed: AtomicU64::new(0) }
    }

    /// Checks that the push may continue.
    pub(crate) fn check(&self) -> Result<()> {
        self.watch.check()
    }

    /// Reports entries that the source has yielded.
    pub(crate) fn add_entries(&self, count: u64) {
        self.watch.add(count);
    }

    /// Counts a file that was read and hashed to its end.
    pub(crate) fn add_file(&self) {
        self.files_hashed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were read and hashed.
    pub(crate) fn add_bytes(&self, count: u64) {
        self.bytes_hashed.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn files_hashed(&self) -> u64 {
        self.files_hashed.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_hashed(&self) -> u64 {
        self.bytes_hashed.load(Ordering::Relaxed)
    }
}
