//! Receivers of an image's bytes, and how many bytes were available.
//!
//! A sender need not have all of a reply in memory: proven raw runs can go from their file to a
//! socket, and decoded chunks from the cache, without a copy in between.

use freestone_store::RunPart;
use std::ops::Range;
use std::sync::Arc;

/// A receiver of the bytes of a range, part by part, from its start on.
pub(crate) trait Taker {
    /// Returns a buffer for the next `length` bytes; what it holds is overwritten. The last buffer
    /// stays unfilled if its bytes turn out not to be available.
    fn room(&mut self, length: usize) -> &mut [u8];

    /// Returns true if [`Self::file`] is to receive a part of a file of `length` bytes.
    fn takes_files(&self, _length: usize) -> bool {
        false
    }

    /// Receives the next bytes as a part of a file.
    fn file(&mut self, _part: RunPart) {}

    /// Returns true if [`Self::held`] is to receive `length` bytes of a decoded chunk.
    fn takes_held(&self, _length: usize) -> bool {
        false
    }

    /// Receives the next bytes as the part `range` of a decoded chunk.
    fn held(&mut self, _bytes: &Arc<Vec<u8>>, _range: Range<usize>) {}
}

/// The result of reading only what is available without waiting.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The number of bytes that were read, from the start of the range on.
    pub bytes: usize,
    /// Whether all of them are in extents of zeros.
    pub is_hole: bool,
}

/// A buffer that receives everything as a copy.
pub(super) struct CopyTaker<'a> {
    out: &'a mut [u8],
    used: usize,
}

impl<'a> CopyTaker<'a> {
    /// Creates a taker that fills `out` from its start.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, used: 0 }
    }
}

impl Taker for CopyTaker<'_> {
    fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.used;
        self.used += length;
        &mut self.out[start..self.used]
    }
}
