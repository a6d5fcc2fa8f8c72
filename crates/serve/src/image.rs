//! An image that is served: read at any place, by many threads, without being written.
//!
//! ```text
//! try_read   what is at hand: layout known, chunks proven and in the page cache, or decoded and
//!            kept; it never waits for anything
//! prepare    makes a range be at hand: finds the layout, proves, decodes
//! read       both, in one, for who can wait
//! ```

mod take;

use crate::layout::{Bytes, Chunk, Piece, Window};
use crate::service::Service;
use freestone_core::{ChunkSource, Plan, Result};
use freestone_store::Records;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use take::Copied;

pub use take::Attempt;
pub(crate) use take::Taker;

thread_local! {
    /// What is proven goes through this: a chunk.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Zeros are told apart from data where there are at least so many of them.
const HOLE_BYTES_MIN: u64 = 4096;
/// Extents that one question about holes looks at.
const STATUS_EXTENTS_MAX: usize = 20_000;

/// An image of a revision, and what it is read through.
pub struct ServedImage {
    plan: Box<dyn Plan>,
    records: Records,
    service: Arc<Service>,
    number: u64,
}

/// The bytes of a chunk, proven.
enum Held {
    /// In the pack.
    Run,
    /// Decoded.
    Bytes(Arc<Vec<u8>>),
}

/// A place in a buffer.
pub(crate) fn index(amount: u64) -> usize {
    usize::try_from(amount).unwrap_or(usize::MAX)
}

impl ServedImage {
    /// The image that `plan` lays out, of content from `records`.
    pub fn new(plan: Box<dyn Plan>, records: Records, service: Arc<Service>) -> Self {
        let number = service.next_image();
        Self { plan, records, service, number }
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        self.plan.length()
    }

    /// What the image is, in words.
    pub fn identity(&self) -> String {
        self.plan.identity()
    }

    /// What it shares with the other images of its server.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The layout at `offset`, if it is known.
    pub(crate) fn known_window(&self, offset: u64) -> Option<Arc<Window>> {
        self.service.layouts.known(self.number, offset)
    }

    /// Makes the bytes of `range`, which lies in the image, be at hand: [`Self::try_read`] then
    /// gives them, unless memory was needed for others meanwhile.
    ///
    /// # Errors
    /// The plan or the store cannot be read, or what they give is damaged.
    pub fn prepare(&self, range: Range<u64>) -> Result<()> {
        self.walk(range, &mut |chunk, part| match self.hold(chunk)? {
            Held::Bytes(_) => Ok(()),
            // Into the page cache, if it is not there any more.
            Held::Run => {
                let length = index(part.end - part.start);
                let read = |out: &mut Vec<u8>| {
                    out.resize(length, 0);
                    self.read_run(chunk, part.start, out)
                };
                SCRATCH.with_borrow_mut(read).or_else(|_| self.decode(chunk).map(|_| ()))
            }
        })
    }

    /// Fills `out` with the bytes from `offset` on; the range must lie in the image.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let done = self.try_read(offset, out).bytes;
        let range = offset + done as u64..offset + out.len() as u64;
        let mut at = range.start;
        while at < range.end {
            let window = self.service.layouts.find(self.number, &*self.plan, at)?;
            for piece in window.from(at) {
                if at >= range.end {
                    break;
                }
                let end = piece.end().min(range.end);
                let part = at - piece.offset..end - piece.offset;
                let out = &mut out[index(at - offset)..index(end - offset)];
                match &piece.bytes {
                    Bytes::Chunk(chunk) => match self.hold(chunk)? {
                        Held::Run => {
                            if self.read_run(chunk, part.start, out).is_err() {
                                let bytes = self.decode(chunk)?;
                                out.copy_from_slice(&bytes[index(part.start)..index(part.end)]);
                            }
                        }
                        Held::Bytes(bytes) => {
                            out.copy_from_slice(&bytes[index(part.start)..index(part.end)]);
                        }
                    },
                    Bytes::Zeros => out.fill(0),
                    Bytes::Inline(bytes) => {
                        out.copy_from_slice(&bytes[index(part.start)..index(part.end)]);
                    }
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Calls `each` for the chunks of `range`, with the part of each that is wanted.
    fn walk(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(&Chunk, Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let window = self.service.layouts.find(self.number, &*self.plan, at)?;
            for piece in window.from(at) {
                if at >= range.end {
                    break;
                }
                let end = piece.end().min(range.end);
                if let Bytes::Chunk(chunk) = &piece.bytes {
                    each(chunk, at - piece.offset..end - piece.offset)?;
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Makes `chunk` be proven where it lies, or decoded and kept.
    fn hold(&self, chunk: &Chunk) -> Result<Held> {
        let service = &*self.service;
        let run = if service.always_prove { None } else { chunk.run(&self.records)? };
        let at_hand = || {
            if run.is_some_and(freestone_store::RawRun::is_proven) {
                return Some(Held::Run);
            }
            service.chunks.get(&chunk.id).map(Held::Bytes)
        };
        if let Some(held) = at_hand() {
            return Ok(held);
        }
        let _alone = service.alone(chunk.id);
        if let Some(held) = at_hand() {
            return Ok(held);
        }
        service.metrics.cache_misses.add(1);
        if let Some(run) = run {
            // If it cannot be read or is damaged, there may be another copy; else what follows
            // says what is wrong with it.
            let proven = SCRATCH.with_borrow_mut(|scratch| run.prove(scratch));
            if proven.unwrap_or(false) && run.is_proven() {
                service.metrics.proven_bytes.add(chunk.length);
                return Ok(Held::Run);
            }
        }
        self.decode(chunk).map(Held::Bytes)
    }

    /// Reads a chunk, from wherever the store has it, and keeps it decoded.
    fn decode(&self, chunk: &Chunk) -> Result<Arc<Vec<u8>>> {
        let service = &*self.service;
        let mut bytes = Vec::new();
        self.records.chunk_in(&chunk.id, chunk.length, &mut bytes)?;
        service.metrics.proven_bytes.add(chunk.length);
        let weight = bytes.capacity() as u64 + 128;
        let bytes = Arc::new(bytes);
        service.chunks.insert(chunk.id, bytes.clone(), weight);
        Ok(bytes)
    }

    fn read_run(&self, chunk: &Chunk, within: u64, out: &mut [u8]) -> Result<()> {
        let Some(run) = chunk.known_run() else {
            return Err(freestone_core::Error::corrupt(format!("chunk {} has no run", chunk.id)));
        };
        run.read_at(within, out)
    }

    /// Which parts of `range`, which lies in the image, are holes: lengths in order, each with
    /// whether it is one, at most `count_max` of them, at least one. They may cover less than the
    /// range.
    ///
    /// # Errors
    /// The plan cannot be read.
    pub fn holes(&self, range: Range<u64>, count_max: usize) -> Result<Vec<(u64, bool)>> {
        let mut found: Vec<(u64, bool)> = Vec::new();
        let mut at = range.start;
        let mut left = STATUS_EXTENTS_MAX;
        while at < range.end && left > 0 {
            let window = self.service.layouts.find(self.number, &*self.plan, at)?;
            for piece in window.from(at) {
                if at >= range.end {
                    break;
                }
                left = left.saturating_sub(1);
                let end = piece.end().min(range.end);
                let is_hole = matches!(piece.bytes, Bytes::Zeros) && piece.length >= HOLE_BYTES_MIN;
                if let Some((length, was_hole)) = found.last_mut()
                    && *was_hole == is_hole
                {
                    *length += end - at;
                } else if found.len() == count_max {
                    return Ok(found);
                } else {
                    found.push((end - at, is_hole));
                }
                at = end;
            }
        }
        Ok(found)
    }

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
