//! The engine that produces an image, for all sinks that take it whole.
//!
//! ```text
//! windows  |---- a window ---|-----------------|-----------------|
//! extents  [h][ chunk ][h][  chunk   ][h][chunk][    zeros            ][h]…
//! pieces   [        first             ][second  ][third          ][fourth
//! ```
//!
//! Workers take the windows in order. A chunk belongs whole to the window that it *starts* in, so
//! it is fetched once; anything else is cut at the windows' ends. What belongs to a window is a
//! [`Piece`]: one buffer, in which small neighbours stand side by side, and long runs of zeros
//! that are only counted. The pieces lie end to end, each is given to the [`Consumer`] by the
//! worker that made it, and a worker makes its next only then. So memory is at most
//! workers × (window + chunk, and what one chunk is made of), whatever the image.

use crate::base::Base;
use crate::control::Control;
use crate::digest::{Digesting, Digests};
use crate::image::{Image, extents, index};
use crate::sharing::{Shares, Sharing};
use crate::zeros::ZEROS;
use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::{Error, ErrorKind, Extent, ExtentSource, Plan, Result};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The window of a large image: large enough that finding its first extent and starting a write do not
/// count, small enough to stay in a processor's own cache.
pub(crate) const WINDOW_BYTES_MAX: u64 = 512 << 10;
/// The window of a small one. Memory that is used for the first time costs more than what is done with it,
/// and an image of a few MiB is soon written.
const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// Into how many windows an image is cut, between these.
const WINDOWS: u64 = 128;

/// What a worker takes together at most where chunks are shared. What is shared is cut at its ends, and
/// each cut costs a block of its own.
const SHARED_BYTES: u64 = 64 << 20;
/// Into how many stretches for each worker an image of which chunks are shared is cut at least: enough
/// that nobody waits long for the last.
const STRETCHES_A_WORKER: u64 = 4;

/// A shorter run of zeros stands in the buffer like other bytes: telling it apart would split
/// writes.
const ZEROS_APART_BYTES_MIN: u64 = 64 << 10;

/// The consecutive bytes of an image that one window yields.
pub(crate) struct Piece {
    /// Where in the image it starts.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Lengths, and what it is; only data are in `data`.
    runs: Vec<(u64, Kind)>,
    /// Grows as it has to and does not shrink, so that its memory is made ready once.
    data: Vec<u8>,
    /// How much of it is in use.
    used: usize,
    chunks: u64,
    chunk_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Zeros,
    Done,
}

/// A part of a [`Piece`].
pub(crate) enum Run<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
    /// Bytes that the consumer has already: it said so by [`Consumer::base`], or took
    /// them by [`Consumer::share`].
    Done,
}

impl Piece {
    fn new() -> Self {
        Self {
            offset: 0,
            length: 0,
            runs: Vec::new(),
            // In one allocation, whose pages cost nothing until they are used.
            data: Vec::with_capacity(index(WINDOW_BYTES_MAX) + CHUNK_BYTES_MAX),
            used: 0,
            chunks: 0,
            chunk_bytes: 0,
        }
    }

    /// The parts in order, each with its offset in the image.
    pub fn runs(&self) -> impl Iterator<Item = (u64, Run<'_>)> {
        let (mut offset, mut data) = (self.offset, &self.data[..self.used]);
        self.runs.iter().map(move |&(length, kind)| {
            let start = offset;
            offset += length;
            match kind {
                Kind::Zeros => (start, Run::Zeros(length)),
                Kind::Done => (start, Run::Done),
                Kind::Data => {
                    let (run, rest) = data.split_at(index(length));
                    data = rest;
                    (start, Run::Data(run))
                }
            }
        })
    }

    /// Gives `each` all bytes in order, zeros too.
    ///
    /// # Errors
    /// What `each` returns; or there are bytes that are the consumer's already.
    pub fn bytes(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (_, run) in self.runs() {
            match run {
                Run::Data(bytes) => each(bytes)?,
                Run::Zeros(mut length) => {
                    while length > 0 {
                        let part = length.min(ZEROS.len() as u64);
                        each(&ZEROS[..index(part)])?;
                        length -= part;
                    }
                }
                Run::Done => {
                    return Err(Error::new(ErrorKind::Failed, "bytes that nobody fetched"));
                }
            }
        }
        Ok(())
    }

    fn fill(
        &mut self,
        work: &Work<'_>,
        window: Range<u64>,
        sharing: &mut Sharing<'_>,
    ) -> Result<()> {
        self.offset = window.start;
        self.length = 0;
        self.runs.clear();
        self.used = 0;
        let base = match work.consumer.base() {
            // What is not known of the image before is read and compared.
            Some(base) => Base::of(base, &window).ok(),
            None => None,
        };
        extents(work.image.plan, window.clone(), &mut |extent| {
            work.control.check()?;
            self.push(work.image, &window, &extent, base.as_ref(), sharing)
        })
    }

    fn push(
        &mut self,
        image: &Image<'_>,
        window: &Range<u64>,
        extent: &Extent,
        base: Option<&Base>,
        sharing: &mut Sharing<'_>,
    ) -> Result<()> {
        let (start, end) = (extent.offset.max(window.start), extent.end().min(window.end));
        // It belongs to the window before, and so does what it covers of this one.
        if matches!(extent.source, ExtentSource::Chunk(_)) && extent.offset < window.start {
            self.offset = extent.end();
            return Ok(());
        }
        if base.is_some_and(|base| base.has(extent, start..end)) {
            let is_chunk = matches!(extent.source, ExtentSource::Chunk(_));
            self.grow(if is_chunk { extent.length } else { end - start }, Kind::Done);
            return Ok(());
        }
        match &extent.source {
            ExtentSource::Zeros if end - start >= ZEROS_APART_BYTES_MIN => {
                self.grow(end - start, Kind::Zeros);
            }
            ExtentSource::Zeros => {
                self.room(index(end - start)).fill(0);
                self.grow(end - start, Kind::Data);
            }
            ExtentSource::Inline(bytes) => {
                let part = index(start - extent.offset)..index(end - extent.offset);
                self.room(part.len()).copy_from_slice(&bytes[part]);
                self.grow(end - start, Kind::Data);
            }
            ExtentSource::Chunk(id) => {
                if sharing.take(extent.offset, id, extent.length)? {
                    self.grow(extent.length, Kind::Done);
                    return Ok(());
                }
                image.chunks.chunk(id, self.room(index(extent.length)))?;
                self.grow(extent.length, Kind::Data);
                self.chunks += 1;
                self.chunk_bytes += extent.length;
            }
        }
        Ok(())
    }

    /// The next `length` bytes of the buffer, which hold anything.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.used;
        self.used += length;
        if self.data.len() < self.used {
            self.data.resize(self.used, 0);
        }
        &mut self.data[start..self.used]
    }

    fn grow(&mut self, length: u64, kind: Kind) {
        self.length += length;
        match self.runs.last_mut() {
            Some((last, of)) if *of == kind => *last += length,
            _ => self.runs.push((length, kind)),
        }
    }
}

/// What takes the pieces of an image, from several threads at once and in any order.
pub(crate) trait Consumer: Sync {
    /// Takes one piece. `Break` means that no window after it is wanted.
    fn take(&self, piece: &Piece) -> Result<ControlFlow<()>>;

    /// No further piece will come, because something failed: nobody shall wait for one.
    fn stop(&self) {}

    /// The layout of what the consumer holds already: what the image has at the same place is not
    /// fetched, but for its first 4096 bytes.
    fn base(&self) -> Option<&dyn Plan> {
        None
    }

    /// Where the consumer would rather have chunks from than from memory.
    fn shares(&self) -> Option<&dyn Shares> {
        None
    }
}

/// What producing an image came to.
#[derive(Default)]
pub(crate) struct Produced {
    /// Chunks fetched.
    pub chunks: u64,
    /// Bytes of them.
    pub chunk_bytes: u64,
    /// Bytes that were hashed where they lie, and not fetched.
    pub proved: u64,
    /// The digests, if they were asked for.
    pub digests: Option<Digests>,
}

/// Produces the whole image for `consumer`.
///
/// # Errors
/// The first that the plan, the chunk source or the consumer returned, or that it was cancelled.
pub(crate) fn produce(
    image: &Image<'_>,
    control: &Control<'_>,
    consumer: &dyn Consumer,
) -> Result<Produced> {
    if !control.digest {
        return run(image, control, consumer);
    }
    let digesting = Digesting::new(consumer);
    let mut produced = run(image, control, &digesting)?;
    produced.digests = Some(digesting.finish());
    Ok(produced)
}

fn run(image: &Image<'_>, control: &Control<'_>, consumer: &dyn Consumer) -> Result<Produced> {
    let length = image.length()?;
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
    let stretches = usize::try_from(length.div_ceil(work.stretch())).unwrap_or(usize::MAX);
    thread::scope(|scope| {
        for _ in 1..control.workers.get().min(stretches) {
            scope.spawn(|| work.work());
        }
        work.work();
    });
    let failure = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (done, produced) = work.produced.into_inner().unwrap_or_else(PoisonError::into_inner);
    if done != length && work.last.into_inner() == u64::MAX {
        let identity = image.plan.identity();
        let what = format!("image {identity}: its layout gave {done} bytes of {length}");
        return Err(Error::corrupt(what));
    }
    Ok(produced)
}

/// How long a window of an image of `length` bytes is: a power of two.
fn window(length: u64) -> u64 {
    let window = (length / WINDOWS).min(WINDOW_BYTES_MAX).next_power_of_two();
    window.max(WINDOW_BYTES_MIN)
}

/// How much of an image of `length` bytes one worker does at a time where chunks are shared. What is
/// shared is cut there, so it is more than a window.
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
    /// Where the window starts after which none is wanted. Those before it are, though one that
    /// was taken earlier may be done later.
    last: AtomicU64,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// With how many bytes of the image they are.
    produced: Mutex<(u64, Produced)>,
}

impl Work<'_> {
    fn work(&self) {
        // A panic in one worker must not leave the others waiting for its piece.
        let stop = StopUnlessDone(self);
        match self.windows() {
            Ok(()) => std::mem::forget(stop),
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
            }
        }
    }

    /// How much one worker does at a time.
    fn stretch(&self) -> u64 {
        match self.consumer.shares() {
            Some(_) => shared_stretch(self.length, self.control.workers),
            None => self.window,
        }
    }

    fn windows(&self) -> Result<()> {
        let mut piece = Piece::new();
        let mut sharing = Sharing::new(self.image.raw, self.consumer.shares());
        let mut done = 0;
        'all: loop {
            let stretch = self.stretch();
            let start = self.next.fetch_add(stretch, Ordering::Relaxed);
            let end = self.length.min(start.saturating_add(stretch));
            for start in (start..end).step_by(index(self.window)) {
                let last = self.last.load(Ordering::Relaxed);
                if start > last || self.failed.load(Ordering::Relaxed) {
                    break 'all;
                }
                self.control.check()?;
                let window = start..self.length.min(start + self.window);
                piece.fill(self, window, &mut sharing)?;
                if piece.length == 0 {
                    continue;
                }
                if self.consumer.take(&piece)?.is_break() {
                    self.last.fetch_min(start, Ordering::Relaxed);
                }
                done += piece.length;
                (self.control.progress)(piece.length);
            }
            sharing.flush()?;
            if start >= self.length {
                break;
            }
        }
        let mut sum = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        sum.0 += done;
        sum.1.chunks += piece.chunks;
        sum.1.chunk_bytes += piece.chunk_bytes;
        sum.1.proved += sharing.proved;
        Ok(())
    }
}

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
