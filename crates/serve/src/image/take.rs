//! What is at hand of an image, and who takes it.
//!
//! Whoever sends a reply need not have all of it in memory: proven raw runs can go from their
//! file to a socket, and decoded chunks from the cache, without being copied in between.

use freestone_store::RunPart;
use std::ops::Range;
use std::sync::Arc;

/// Takes the bytes of a range, part by part, from its start on.
pub(crate) trait Taker {
    /// Room for the next `length` bytes; what it held before counts for nothing. The last room
    /// that was given stays unfilled if its bytes turn out not to be at hand.
    fn room(&mut self, length: usize) -> &mut [u8];

    /// Whether `length` bytes of a file are to be given by [`Self::file`].
    fn takes_files(&self, _length: usize) -> bool {
        false
    }

    /// The next bytes are those of a part of a file.
    fn file(&mut self, _part: RunPart) {}

    /// Whether `length` bytes of a decoded chunk are to be given by [`Self::held`].
    fn takes_held(&self, _length: usize) -> bool {
        false
    }

    /// The next bytes are those of a part of a decoded chunk.
    fn held(&mut self, _bytes: &Arc<Vec<u8>>, _range: Range<usize>) {}
}

/// What a read of what is at hand came to.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Bytes that are there, from the start on.
    pub bytes: usize,
    /// Whether all of them lie in runs of zeros.
    pub is_hole: bool,
}

/// A buffer that takes all by copying it.
pub(super) struct Copied<'a>(pub &'a mut [u8], pub usize);

impl Taker for Copied<'_> {
    fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.1;
        self.1 += length;
        &mut self.0[start..self.1]
    }
}
