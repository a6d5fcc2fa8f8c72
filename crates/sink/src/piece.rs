//! The pieces in which an image is produced, and the trait of their consumers.

use crate::base::Base;
use crate::image::{Image, extents};
use crate::sharing::{Shares, Sharing};
use crate::zeros::each_zeros;
use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Extent, ExtentSource, Plan, Result, Watch};
use std::ops::{ControlFlow, Range};

/// The window of a large image. It is large enough that finding its first extent and starting a
/// write cost little in proportion, and small enough to stay in a processor's own cache.
pub(crate) const WINDOW_BYTES_MAX: u64 = 512 << 10;

/// Shorter runs of zeros are put into the buffer like other bytes: to keep them apart would split
/// writes.
const ZEROS_APART_BYTES_MIN: u64 = 64 << 10;

/// The consecutive bytes of an image that one window produces.
pub(crate) struct ImagePiece {
    /// Its offset in the image.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The runs in order, each with its length. Only the bytes of data runs are in `data`.
    runs: Vec<(u64, RunKind)>,
    /// Grows as needed and does not shrink, so that its memory is mapped only once.
    data: Vec<u8>,
    /// How many bytes of it are in use.
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

/// A run of an [`ImagePiece`].
pub(crate) enum PieceRun<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// This many zeros.
    Zeros(u64),
    /// Bytes that the consumer already has: they are in its [`Consumer::base`], or its
    /// [`Consumer::shares`] took them.
    Done,
}

impl ImagePiece {
    pub fn new() -> Self {
        Self {
            offset: 0,
            length: 0,
            runs: Vec::new(),
            // One allocation. Its pages cost nothing until they are used.
            data: Vec::with_capacity(to_usize(WINDOW_BYTES_MAX) + CHUNK_BYTES_MAX),
            used: 0,
            chunks: 0,
            chunk_bytes: 0,
        }
    }

    /// Returns the runs in order, each with its offset in the image.
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

    /// Calls `each` with all bytes in order, zeros included.
    ///
    /// # Errors
    /// Those of `each`; or the piece has bytes that only the consumer has.
    pub fn bytes(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (_, run) in self.runs() {
            match run {
                PieceRun::Data(bytes) => each(bytes)?,
                PieceRun::Zeros(length) => each_zeros(0..length, |_, zeros| each(zeros))?,
                PieceRun::Done => {
                    return Err(Error::new(
                        ErrorKind::Failed,
                        "internal error: a sink needs bytes that it took as shared (please report this)",
                    ));
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
        // If the old layout cannot be read, everything is read and compared instead.
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
        // The chunk belongs whole to the window before, also the part of it in this window.
        if matches!(extent.source, ExtentSource::Chunk(_)) && extent.offset < window.start {
            self.offset = extent.end();
            return Ok(());
        }
        if base.is_some_and(|base| base.has(extent, start..end)) {
            let is_chunk = matches!(extent.source, ExtentSource::Chunk(_));
            self.grow(if is_chunk { extent.length } else { end - start }, RunKind::Done);
            return Ok(());
        }
        match &extent.source {
            ExtentSource::Zeros if end - start >= ZEROS_APART_BYTES_MIN => {
                self.grow(end - start, RunKind::Zeros);
            }
            ExtentSource::Zeros => {
                self.room(to_usize(end - start)).fill(0);
                self.grow(end - start, RunKind::Data);
            }
            ExtentSource::Inline(bytes) => {
                let part = to_usize(start - extent.offset)..to_usize(end - extent.offset);
                self.room(part.len()).copy_from_slice(&bytes[part]);
                self.grow(end - start, RunKind::Data);
            }
            ExtentSource::Chunk(id) => {
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

    /// Returns the next `length` bytes of the buffer, with arbitrary content.
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

/// A receiver of the pieces of an image, which come from several threads and in any order.
pub(crate) trait Consumer: Sync {
    /// Takes one piece. Returns `Break` if it wants none of the windows after it.
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>>;

    /// Ends all waiting for a piece: something failed, and no more pieces will come.
    fn stop(&self) {}

    /// Returns the layout of what the consumer already holds. What the image has at the same offset
    /// is not fetched, except its first 4096 bytes.
    fn base(&self) -> Option<&dyn Plan> {
        None
    }

    /// Returns the way to take chunks directly from the files that store them, if the consumer has
    /// one.
    fn shares(&self) -> Option<&dyn Shares> {
        None
    }
}
