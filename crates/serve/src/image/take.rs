//! What is at hand of an image, and who takes it.
//!
//! Whoever sends a reply need not have all of it in memory: proven raw runs can go from their
//! file to a socket, and decoded chunks from the cache, without being copied in between.

use crate::image::{ServedImage, index};
use crate::layout::{Bytes, Piece};
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
struct Copied<'a>(&'a mut [u8], usize);

impl Taker for Copied<'_> {
    fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.1;
        self.1 += length;
        &mut self.0[start..self.1]
    }
}

impl ServedImage {
    /// Fills as much of `out`, from its start, as is at hand of the bytes from `offset` on, and
    /// returns how much that is. The range must lie in the image.
    pub fn try_read(&self, offset: u64, out: &mut [u8]) -> Attempt {
        self.try_take(offset, out.len(), &mut Copied(out, 0))
    }

    /// Gives to `taker` as much, from the start, as is at hand of the `length` bytes from
    /// `offset` on, and returns how much that is. The range must lie in the image.
    pub(crate) fn try_take(&self, offset: u64, length: usize, taker: &mut impl Taker) -> Attempt {
        let end = offset + length as u64;
        let mut at = offset;
        let mut hits = 0;
        let mut is_hole = true;
        'windows: while at < end {
            let Some(window) = self.known_window(at) else { break };
            let before = at;
            for piece in window.from(at) {
                if at >= end {
                    break;
                }
                let part = at - piece.offset..piece.end().min(end) - piece.offset;
                if !self.take_now(piece, part, taker, &mut hits) {
                    break 'windows;
                }
                is_hole &= matches!(piece.bytes, Bytes::Zeros);
                at = piece.end().min(end);
            }
            if at == before {
                break;
            }
        }
        self.service().metrics.cache_hits.add(hits);
        Attempt { bytes: index(at - offset), is_hole }
    }

    fn take_now(
        &self,
        piece: &Piece,
        part: Range<u64>,
        taker: &mut impl Taker,
        hits: &mut u64,
    ) -> bool {
        let within = index(part.start)..index(part.end);
        let chunk = match &piece.bytes {
            Bytes::Zeros => {
                taker.room(within.len()).fill(0);
                return true;
            }
            Bytes::Inline(bytes) => {
                taker.room(within.len()).copy_from_slice(&bytes[within]);
                return true;
            }
            Bytes::Chunk(chunk) => chunk,
        };
        let length = within.len();
        let run = chunk.known_run().filter(|_| !self.service().always_prove);
        if let Some(run) = run
            && taker.takes_files(length)
            && let Some(part) = run.part_now(part.start, length)
        {
            taker.file(part);
            return true;
        }
        if let Some(run) = run
            && !taker.takes_files(length)
        {
            let out = taker.room(length);
            if run.read_now(part.start, out) {
                return true;
            }
            let Some(bytes) = self.service().chunks.get(&chunk.id) else { return false };
            *hits += 1;
            out.copy_from_slice(&bytes[within]);
            return true;
        }
        let Some(bytes) = self.service().chunks.get(&chunk.id) else { return false };
        *hits += 1;
        if taker.takes_held(length) {
            taker.held(&bytes, within);
        } else {
            taker.room(length).copy_from_slice(&bytes[within]);
        }
        true
    }
}
