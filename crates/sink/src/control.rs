//! The settings that all sinks share.

use freestone_core::Watch;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// More workers than this do not write one image faster, and each holds 9 MiB.
const WORKERS_DEFAULT_MAX: usize = 8;

/// How a sink takes a whole image.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// The number of threads that produce the image. Each holds at most 9 MiB: a window of 512 KiB,
    /// the part of a chunk that extends beyond the window's end, and what decoding one chunk needs.
    /// The default is one more than the machine has processors, and at most 8.
    pub workers: NonZeroUsize,
    /// Whether to compute the image's digests too. They are in the
    /// [`SinkReport`](crate::SinkReport).
    pub digest: bool,
    /// Receives the progress in bytes of the image, and cancels the work. A cancelled sink removes
    /// what it began and returns [`Error::interrupted`](freestone_core::Error::interrupted).
    pub watch: Watch<'a>,
}

impl Default for Control<'_> {
    fn default() -> Self {
        // One more than there are processors, because one worker mostly waits for the file.
        let workers = available_parallelism().map_or(1, NonZeroUsize::get) + 1;
        let workers = workers.min(WORKERS_DEFAULT_MAX);
        Self {
            workers: NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN),
            digest: false,
            watch: Watch::default(),
        }
    }
}
