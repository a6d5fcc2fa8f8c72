//! The pieces that an image is produced in, and what takes them.

use crate::base::Base;
use crate::image::{Image, extents};
use crate::sharing::{Shares, Sharing};
use crate::zeros::each_zeros;
use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Extent, Plan, Result, Source, Watch};
use std::ops::{ControlFlow, Range};

/// The window of a large image: large enough that finding its first extent and starting a write do not
/// count, small enough to stay in a processor's own cache.
pub(crate) const WINDOW_BYTES_MAX: u64 = 512 << 10;

/// A shorter run of zeros stands in the buffer like other bytes: telling it apart would split
/// writes.
const ZEROS_APART_BYTES_MIN: u64 = 64 << 10;

/// The consecutive bytes of an image that one window yields.
pub(crate) struct ImagePiece {
    /// Where in the image it starts.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Lengths, and what it is; only data are in `data`.
    runs: Vec<(u64, RunKind)>,
    /// Grows as it has to and does not shrink, so that its memory is made ready once.
    data: Vec<u8>,
    /// How much of it is in use.
    used: usize,
    pub chunks: u64,
    pub chunk_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RunKind {
    Data,
    Zeros,
    Done,
}

/// A part of a [`ImagePiece`].
pub(crate) enum PieceRun<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
    /// Bytes that the consumer has already: it said so by [`Consumer::base`], or took
    /// them by [`Consumer::share`].
    Done,
}

impl ImagePiece {
    pub fn new() -> Self {
        Self {
            offset: 0,
            length: 0,
            runs: Vec::new(),
            // In one allocation, whose pages cost nothing until they are used.
            data: Vec::with_capacity(to_usize(WINDOW_BYTES_MAX) + CHUNK_BYTES_MAX),
            used: 0,
            chunks: 0,
            chunk_bytes: 0,
        }
    }

    /// The parts in order, each with its offset in the image.
    pub fn runs(&self) -> impl Iterator<Item = (u64, PieceRun<'_>)> {
        let (mut offset, mut data) = (self.offset, &self.data[..self.used]);
        self.runs.iter().map(move |&(length, kind)| {
            let start = offset;
            offset += length;
            match kind {
                RunKind::Zeros => (start, PieceRun::Zeros(length)),
                RunKind::Done => (start, PieceRun::Done),
                RunKind::Data => {
                    let (run, rest) = data.split_at(to_usize(length));
                    data = rest;
                    (start, PieceRun::Data(run))
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
                PieceRun::Data(bytes) => each(bytes)?,
                PieceRun::Zeros(length) => each_zeros(0..length, |_, zeros| each(zeros))?,
                PieceRun::Done => {
                    return Err(Error::new(ErrorKind::Failed, "bytes that nobody fetched"));
                }
            }
        }
        Ok(())
    }

    pub fn fill(
        &mut self,
        image: &Image<'_>,
        window: Range<u64>,
        base: Option<&dyn Plan>,
        sharing: &mut Sharing<'_>,
        watch: &Watch<'_>,
    ) -> Result<()> {
        self.offset = window.start;
        self.length = 0;
        self.runs.clear();
        self.used = 0;
        // What is not known of the image before is read and compared.
        let base = base.and_then(|base| Base::of(base, &window).ok());
        extents(image.plan, window.clone(), &mut |extent| {
            watch.check()?;
            self.push(image, &window, &extent, base.as_ref(), sharing)
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
        if matches!(extent.source, Source::Chunk(_)) && extent.offset < window.start {
            self.offset = extent.end();
            return Ok(());
        }
        if base.is_some_and(|base| base.has(extent, start..end)) {
            let is_chunk = matches!(extent.source, Source::Chunk(_));
            self.grow(if is_chunk { extent.length } else { end - start }, RunKind::Done);
            return Ok(());
        }
        match &extent.source {
            Source::Zeros if end - start >= ZEROS_APART_BYTES_MIN => {
                self.grow(end - start, RunKind::Zeros);
            }
            Source::Zeros => {
                self.room(to_usize(end - start)).fill(0);
                self.grow(end - start, RunKind::Data);
            }
            Source::Inline(bytes) => {
                let part = to_usize(start - extent.offset)..to_usize(end - extent.offset);
                self.room(part.len()).copy_from_slice(&bytes[part]);
                self.grow(end - start, RunKind::Data);
            }
            Source::Chunk(id) => {
                if sharing.take(extent.offset, id, extent.length)? {
                    self.grow(extent.length, RunKind::Done);
                    return Ok(());
                }
                image.chunks.chunk(id, self.room(to_usize(extent.length)))?;
                self.grow(extent.length, RunKind::Data);
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

    fn grow(&mut self, length: u64, kind: RunKind) {
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
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>>;

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
