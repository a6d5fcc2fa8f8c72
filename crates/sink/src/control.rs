//! What every sink is told besides the image, and what it reports.

use freestone_core::Watch;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// More workers than this do not write one image faster, but each holds 9 MiB.
const WORKERS_DEFAULT_MAX: usize = 8;

/// How an image is taken whole.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Threads that produce the image. Each holds at most 9 MiB: the 512 KiB of a window, the
    /// part of a chunk that hangs over its end, and what the chunk that is being fetched is made of.
    /// The default is what the machine has and one, at most 8.
    pub workers: NonZeroUsize,
    /// Whether the image's digests are wanted too: they come with the [`SinkReport`](crate::SinkReport).
    pub digest: bool,
    /// Receives the progress in bytes of the image, and cancels the work: the sink then removes
    /// what it began and returns [`Error::interrupted`](freestone_core::Error::interrupted).
    pub watch: Watch<'a>,
}

impl Default for Control<'_> {
    fn default() -> Self {
        // One more than there are processors: one of them mostly waits for the file.
        let workers = available_parallelism().map_or(1, NonZeroUsize::get) + 1;
        let workers = workers.min(WORKERS_DEFAULT_MAX);
        Self {
            workers: NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN),
            digest: false,
            watch: Watch::default(),
        }
    }
}
