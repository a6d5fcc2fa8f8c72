//! The engine that produces an image, for all sinks that take it whole.
//!
//! ```text
//! windows  |---- a window ---|-----------------|-----------------|
//! extents  [h][ chunk ][h][  chunk   ][h][chunk][    zeros            ][h]…
//! pieces   [        first             ][second  ][third          ][fourth
//! ```
//!
//! Workers take the *windows* in order. A chunk belongs whole to the window in which it starts, so
//! it is fetched once; other extents are cut at the windows' ends. What belongs to a window is an
//! [`ImagePiece`]: one buffer that holds small neighbours together, and long runs of zeros that are
//! only counted. The pieces cover the image without gaps. The worker that made a piece passes it to
//! the [`Consumer`], and makes its next piece only after that. So memory is at most workers ×
//! (window + chunk + what decoding one chunk needs), however long the image is.

use crate::control::Control;
use crate::image::Image;
use crate::piece::{Consumer, ImagePiece, WINDOW_BYTES_MAX};
use crate::report::Produced;
use crate::sharing::Sharing;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result, lock, threads};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The window of a small image. Memory that is used for the first time costs more than the work on
/// it, and an image of a few MiB is written quickly anyway.
const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// How many windows an image is cut into, within these bounds.
const WINDOWS: u64 = 128;

/// The most bytes that a worker takes at a time where chunks are shared. A shared run is cut at the
/// end of this stretch, and each cut costs a block of its own.
const SHARED_BYTES: u64 = 64 << 20;
/// The least number of stretches per worker where chunks are shared: enough that the other workers
/// do not wait long for the last one.
const STRETCHES_A_WORKER: u64 = 4;

/// Runs the workers, and passes the whole image to `consumer`.
///
/// # Errors
/// The first error of the plan, the chunk source or the consumer; or the work was cancelled.
pub(crate) fn run(
    image: &Image<'_>,
    control: &Control<'_>,
    consumer: &dyn Consumer,
) -> Result<Produced> {
    let length = image.length()?;
    control.watch.set_total(length);
    let work = Work {
        image,
        control,
        consumer,
        length,
        window: window(length),
        next: AtomicU64::new(0),
        last: AtomicU64::new(u64::MAX),
        failed: AtomicBool::new(false),
        failure: Mutex::new(None),
        produced: Mutex::new((0, Produced::default())),
    };
    let stretches = to_usize(length.div_ceil(work.stretch()));
    threads::together(control.workers.get().min(stretches), || work.work());
    let failure = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (done, produced) = work.produced.into_inner().unwrap_or_else(PoisonError::into_inner);
    if done != length && work.last.into_inner() == u64::MAX {
        let identity = image.plan.identity();
        let what = format!("image {identity}: its layout has {done} bytes instead of {length}");
        return Err(Error::corrupt(what));
    }
    Ok(produced)
}

/// Returns the length of a window of an image of `length` bytes: a power of two.
fn window(length: u64) -> u64 {
    let window = (length / WINDOWS).min(WINDOW_BYTES_MAX).next_power_of_two();
    window.max(WINDOW_BYTES_MIN)
}

/// Returns how many bytes of an image of `length` bytes one worker takes at a time where chunks are
/// shared. Shared runs are cut there, so it is more than a window.
fn shared_stretch(length: u64, workers: NonZeroUsize) -> u64 {
    let window = window(length);
    let stretches = (workers.get() as u64).saturating_mul(STRETCHES_A_WORKER);
    let windows = length.div_ceil(window).div_ceil(stretches);
    window * windows.clamp(1, SHARED_BYTES / window)
}

struct Work<'a> {
    image: &'a Image<'a>,
    control: &'a Control<'a>,
    consumer: &'a dyn Consumer,
    length: u64,
    window: u64,
    next: AtomicU64,
    /// The start of the last window that is wanted. Earlier windows may still be in work.
    last: AtomicU64,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// The work done, and how many bytes of the image it produced.
    produced: Mutex<(u64, Produced)>,
}

impl Work<'_> {
    fn work(&self) {
        // A panic in one worker must not leave the others waiting for its piece.
        let stop = StopUnlessDone(self);
        match self.windows() {
            Ok(()) => std::mem::forget(stop),
            Err(error) => {
                lock(&self.failure).get_or_insert(error);
            }
        }
    }

    /// Returns how many bytes one worker takes at a time.
    fn stretch(&self) -> u64 {
        match self.consumer.shares() {
            Some(_) => shared_stretch(self.length, self.control.workers),
            None => self.window,
        }
    }

    fn windows(&self) -> Result<()> {
        let watch = &self.control.watch;
        let mut piece = ImagePiece::new();
        let mut sharing = Sharing::new(self.image.raw, self.consumer.shares());
        let mut done = 0;
        'all: loop {
            let stretch = self.stretch();
            let start = self.next.fetch_add(stretch, Ordering::Relaxed);
            let end = self.length.min(start.saturating_add(stretch));
            for start in (start..end).step_by(to_usize(self.window)) {
                let last = self.last.load(Ordering::Relaxed);
                if start > last || self.failed.load(Ordering::Relaxed) {
                    break 'all;
                }
                watch.check()?;
                let window = start..self.length.min(start + self.window);
                piece.fill(self.image, window, self.consumer.base(), &mut sharing, watch)?;
                if piece.length == 0 {
                    continue;
                }
                if self.consumer.take(&piece)?.is_break() {
                    self.last.fetch_min(start, Ordering::Relaxed);
                }
                done += piece.length;
                watch.add(piece.length);
            }
            sharing.flush()?;
            if start >= self.length {
                break;
            }
        }
        let mut sum = lock(&self.produced);
        sum.0 += done;
        sum.1.chunks += piece.chunks;
        sum.1.chunk_bytes += piece.chunk_bytes;
        sum.1.proved += sharing.proved;
        Ok(())
    }
}

/// Stops all workers when it is dropped.
struct StopUnlessDone<'a>(&'a Work<'a>);

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        self.0.failed.store(true, Ordering::Relaxed);
        self.0.consumer.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_several_workers_work_and_large_ones_are_cut_seldom() {
        let workers = NonZeroUsize::new(3).unwrap();
        let mib = |count: u64| count << 20;
        for (length, windows_are, stretches_are) in [
            (1, WINDOW_BYTES_MIN, WINDOW_BYTES_MIN),
            (mib(1), WINDOW_BYTES_MIN, 2 * WINDOW_BYTES_MIN),
            (mib(8) + 4096, 128 << 10, 6 * (128 << 10)),
            (mib(96), WINDOW_BYTES_MAX, mib(8)),
            (mib(1 << 20), WINDOW_BYTES_MAX, SHARED_BYTES),
            (u64::MAX, WINDOW_BYTES_MAX, SHARED_BYTES),
        ] {
            assert_eq!(window(length), windows_are, "{length}");
            assert_eq!(shared_stretch(length, workers), stretches_are, "{length}");
        }
    }
}
