//! The engine that produces an image, for all sinks that take it whole.
//!
//! ```text
//! windows  |----- 4 MiB -----|-----------------|-----------------|
//! extents  [h][ chunk ][h][  chunk   ][h][chunk][    zeros            ][h]…
//! pieces   [        first             ][second  ][third          ][fourth
//! ```
//!
//! Workers take the windows in order. A chunk belongs whole to the window that it *starts* in, so
//! it is fetched once; anything else is cut at the windows' ends. What belongs to a window is a
//! [`Piece`]: one buffer, in which small neighbours stand side by side, and long runs of zeros
//! that are only counted. The pieces lie end to end, each is given to the [`Consumer`] by the
//! worker that made it, and a worker makes its next only then. So memory is at most
//! workers × (window + two chunks), whatever the image.

use crate::control::Control;
use crate::digest::{Digesting, Digests};
use crate::image::{Image, extents, fetch, index};
use crate::zeros::ZEROS;
use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::{Error, Extent, Result, Source};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Large enough that finding a window's first extent and starting a write do not count.
pub(crate) const WINDOW_BYTES: u64 = 4 << 20;

/// A shorter run of zeros stands in the buffer like other bytes: telling it apart would split
/// writes.
const ZEROS_APART_BYTES_MIN: u64 = 64 << 10;

/// The consecutive bytes of an image that one window yields.
pub(crate) struct Piece {
    /// Where in the image it starts.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Lengths, and whether it is zeros, which are not in `data`.
    runs: Vec<(u64, bool)>,
    data: Vec<u8>,
    chunk: Vec<u8>,
    chunks: u64,
    chunk_bytes: u64,
}

/// A part of a [`Piece`].
pub(crate) enum Run<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl Piece {
    fn new() -> Self {
        Self {
            offset: 0,
            length: 0,
            runs: Vec::new(),
            // In one allocation, whose pages cost nothing until they are used.
            data: Vec::with_capacity(index(WINDOW_BYTES) + CHUNK_BYTES_MAX),
            chunk: Vec::new(),
            chunks: 0,
            chunk_bytes: 0,
        }
    }

    /// The parts in order, each with its offset in the image.
    pub fn runs(&self) -> impl Iterator<Item = (u64, Run<'_>)> {
        let (mut offset, mut data) = (self.offset, self.data.as_slice());
        self.runs.iter().map(move |&(length, zeros)| {
            let start = offset;
            offset += length;
            if zeros {
                return (start, Run::Zeros(length));
            }
            let (run, rest) = data.split_at(index(length));
            data = rest;
            (start, Run::Data(run))
        })
    }

    /// Gives `each` all bytes in order, zeros too.
    ///
    /// # Errors
    /// What `each` returns.
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
            }
        }
        Ok(())
    }

    fn fill(
        &mut self,
        image: &Image<'_>,
        window: Range<u64>,
        proceed: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        self.offset = window.start;
        self.length = 0;
        self.runs.clear();
        self.data.clear();
        extents(image.plan, window.clone(), &mut |extent| {
            proceed()?;
            self.push(image, &window, &extent)
        })
    }

    fn push(&mut self, image: &Image<'_>, window: &Range<u64>, extent: &Extent) -> Result<()> {
        let (start, end) = (extent.offset.max(window.start), extent.end().min(window.end));
        match &extent.source {
            Source::Zeros if end - start >= ZEROS_APART_BYTES_MIN => {
                self.grow(end - start, true);
            }
            Source::Zeros => {
                self.data.resize(self.data.len() + index(end - start), 0);
                self.grow(end - start, false);
            }
            Source::Inline(bytes) => {
                let part = index(start - extent.offset)..index(end - extent.offset);
                self.data.extend_from_slice(&bytes[part]);
                self.grow(end - start, false);
            }
            // It belongs to the window before, and so does what it covers of this one.
            Source::Chunk(_) if extent.offset < window.start => self.offset = extent.end(),
            Source::Chunk(id) => {
                fetch(image.chunks, id, extent.length, &mut self.chunk)?;
                self.data.extend_from_slice(&self.chunk);
                self.grow(extent.length, false);
                self.chunks += 1;
                self.chunk_bytes += extent.length;
            }
        }
        Ok(())
    }

    fn grow(&mut self, length: u64, zeros: bool) {
        self.length += length;
        match self.runs.last_mut() {
            Some((last, kind)) if *kind == zeros => *last += length,
            _ => self.runs.push((length, zeros)),
        }
    }
}

/// What takes the pieces of an image, from several threads at once and in any order.
pub(crate) trait Consumer: Sync {
    /// Takes one piece. `Break` means that no window after it is wanted.
    fn take(&self, piece: &Piece) -> Result<ControlFlow<()>>;

    /// No further piece will come, because something failed: nobody shall wait for one.
    fn stop(&self) {}
}

/// What producing an image came to.
#[derive(Default)]
pub(crate) struct Produced {
    /// Chunks fetched.
    pub chunks: u64,
    /// Bytes of them.
    pub chunk_bytes: u64,
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
        next: AtomicU64::new(0),
        enough: AtomicBool::new(false),
        failed: AtomicBool::new(false),
        failure: Mutex::new(None),
        produced: Mutex::new((0, Produced::default())),
    };
    let windows = usize::try_from(length.div_ceil(WINDOW_BYTES)).unwrap_or(usize::MAX);
    thread::scope(|scope| {
        for _ in 1..control.workers.get().min(windows) {
            scope.spawn(|| work.work());
        }
        work.work();
    });
    let failure = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (done, produced) = work.produced.into_inner().unwrap_or_else(PoisonError::into_inner);
    if done != length && !work.enough.into_inner() {
        let identity = image.plan.identity();
        let what = format!("image {identity}: its layout gave {done} bytes of {length}");
        return Err(Error::corrupt(what));
    }
    Ok(produced)
}

struct Work<'a> {
    image: &'a Image<'a>,
    control: &'a Control<'a>,
    consumer: &'a dyn Consumer,
    length: u64,
    next: AtomicU64,
    enough: AtomicBool,
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

    fn windows(&self) -> Result<()> {
        let proceed = || self.control.check();
        let mut piece = Piece::new();
        let mut done = 0;
        while !self.enough.load(Ordering::Relaxed) && !self.failed.load(Ordering::Relaxed) {
            let start = self.next.fetch_add(WINDOW_BYTES, Ordering::Relaxed);
            if start >= self.length {
                break;
            }
            proceed()?;
            let window = start..self.length.min(start + WINDOW_BYTES);
            piece.fill(self.image, window, &proceed)?;
            if piece.length == 0 {
                continue;
            }
            if self.consumer.take(&piece)?.is_break() {
                self.enough.store(true, Ordering::Relaxed);
            }
            done += piece.length;
            (self.control.progress)(piece.length);
        }
        let mut sum = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        sum.0 += done;
        sum.1.chunks += piece.chunks;
        sum.1.chunk_bytes += piece.chunk_bytes;
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
