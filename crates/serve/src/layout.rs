//! The layout of an image, as far as it was asked for lately.
//!
//! A plan finds the extents of a range by descending through the manifest, and those of a large
//! file through its content tree: tens of microseconds, which a guest that reads blocks at random
//! would pay each time. So extents are kept, by *windows* of 64 KiB of the image, and each chunk
//! remembers where it lies.

use crate::cache::Cache;
use freestone_core::{Error, ErrorKind, Extent, ExtentSource, Id, Plan, Result};
use freestone_store::{RawRun, Records};
use std::sync::{Arc, OnceLock};

/// The bytes of an image whose extents are kept together. In a window of an image of tiny files
/// lie a hundred, which takes 100 µs to find; smaller windows would do no better, since a manifest
/// is read by leaves.
pub(crate) const WINDOW_BYTES: u64 = 64 << 10;

/// How far a look-up goes on beyond its window, where extents are long.
const AHEAD_BYTES: u64 = 4 << 20;
/// How many extents it takes to stop it.
const AHEAD_EXTENTS: usize = 64;

/// About what keeping a window and keeping an extent takes, in bytes.
const WINDOW_WEIGHT: u64 = 160;
const PIECE_WEIGHT: u64 = 72;

/// A chunk of an image.
pub(crate) struct Chunk {
    pub id: Id,
    pub length: u64,
    /// Where it lies, if it lies as it is in a pack; looked up when it is first wanted.
    run: OnceLock<Option<RawRun>>,
}

impl Chunk {
    /// Where it lies as it is, if that is known.
    pub fn known_run(&self) -> Option<&RawRun> {
        self.run.get()?.as_ref()
    }

    /// Where it lies as it is, if it does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn run(&self, records: &Records) -> Result<Option<&RawRun>> {
        if self.run.get().is_none() {
            let run = records.raw_run(&self.id, self.length)?;
            let _ = self.run.set(run);
        }
        Ok(self.known_run())
    }
}

/// Where the bytes of a piece come from.
#[derive(Clone)]
pub(crate) enum Bytes {
    Zeros,
    Inline(Arc<[u8]>),
    Chunk(Arc<Chunk>),
}

/// An extent, whole.
#[derive(Clone)]
pub(crate) struct Piece {
    pub offset: u64,
    pub length: u64,
    pub bytes: Bytes,
}

impl Piece {
    fn new(extent: Extent) -> Self {
        let bytes = match extent.source {
            ExtentSource::Zeros => Bytes::Zeros,
            ExtentSource::Inline(bytes) => Bytes::Inline(bytes.into()),
            ExtentSource::Chunk(id) => {
                let (length, run) = (extent.length, OnceLock::new());
                Bytes::Chunk(Arc::new(Chunk { id, length, run }))
            }
        };
        Self { offset: extent.offset, length: extent.length, bytes }
    }

    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    fn weight(&self) -> u64 {
        PIECE_WEIGHT
            + match &self.bytes {
                Bytes::Zeros => 0,
                Bytes::Inline(bytes) => bytes.len() as u64,
                Bytes::Chunk(_) => 200,
            }
    }
}

/// The extents that a window of an image has a part in, in order and without gaps.
pub(crate) struct Window(Vec<Piece>);

impl Window {
    /// The extents from `offset` on, which lies in the window.
    pub fn from(&self, offset: u64) -> &[Piece] {
        &self.0[self.0.partition_point(|piece| piece.end() <= offset)..]
    }
}

/// The windows of all images of a server, each image by its number.
pub(crate) struct Layouts(Cache<(u64, u64), Window>);

impl Layouts {
    pub fn new(bytes_max: u64) -> Self {
        Self(Cache::new(bytes_max))
    }

    /// The window that `offset` of image `image` lies in, if it is kept.
    pub fn known(&self, image: u64, offset: u64) -> Option<Arc<Window>> {
        self.0.get(&(image, offset / WINDOW_BYTES))
    }

    /// The window that `offset` lies in, which is inside of `plan`.
    ///
    /// # Errors
    /// What the plan returns, and [`ErrorKind::Corrupt`] if it contradicts itself.
    pub fn find(&self, image: u64, plan: &dyn Plan, offset: u64) -> Result<Arc<Window>> {
        if let Some(window) = self.known(image, offset) {
            return Ok(window);
        }
        let first = offset / WINDOW_BYTES;
        let start = first * WINDOW_BYTES;
        let length = plan.length();
        let window_end = (start + WINDOW_BYTES).min(length);
        let wanted = start..start.saturating_add(AHEAD_BYTES).min(length);
        let mut pieces: Vec<Piece> = Vec::new();
        let mut is_enough = false;
        let outcome = freestone_sink::extents(plan, wanted, &mut |extent| {
            pieces.push(Piece::new(extent));
            let end = pieces.last().map_or(0, Piece::end);
            is_enough = end >= window_end && pieces.len() >= AHEAD_EXTENTS;
            if is_enough { Err(Error::new(ErrorKind::Failed, "enough")) } else { Ok(()) }
        });
        if !is_enough {
            outcome?;
        }
        let end = pieces.last().map_or(start, Piece::end);
        let mut found = None;
        for number in first.. {
            let (start, stop) = (number * WINDOW_BYTES, ((number + 1) * WINDOW_BYTES).min(length));
            if start >= length || stop > end {
                break;
            }
            let from = pieces.partition_point(|piece| piece.end() <= start);
            let to = pieces.partition_point(|piece| piece.offset < stop);
            let part = pieces[from..to].to_vec();
            let weight = WINDOW_WEIGHT + part.iter().map(Piece::weight).sum::<u64>();
            let window = Arc::new(Window(part));
            self.0.insert((image, number), window.clone(), weight);
            found.get_or_insert(window);
        }
        found.ok_or_else(|| Error::corrupt(format!("image {}: no layout", plan.identity())))
    }
}
