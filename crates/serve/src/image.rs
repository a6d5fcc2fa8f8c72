//! A served image: many threads read it at any offset, and it is never written anywhere.
//!
//! ```text
//! try_read   reads what is available without waiting: the layout is cached, and chunks are proven
//!            and in the page cache, or decoded and cached
//! prepare    makes a range available: finds the layout, proves, decodes
//! read       both in one call, for a caller that can wait
//! ```

mod take;

use crate::layout::{Chunk, ExtentBytes, KnownExtent, walk};
use crate::service::Service;
use freestone_core::wire::to_usize;
use freestone_core::{ChunkSource, Error, Plan, Result};
use freestone_store::Records;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use take::CopyTaker;

pub use take::Attempt;
pub(crate) use take::Taker;

thread_local! {
    /// A buffer for the bytes of one chunk while they are proven.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The shortest extent of zeros that is reported as a hole.
const HOLE_BYTES_MIN: u64 = 4096;
/// The number of extents that one request about holes looks at.
const STATUS_EXTENTS_MAX: usize = 20_000;
/// About how many bytes of memory a cached chunk takes beside its own.
const CACHED_CHUNK_WEIGHT: u64 = 128;

/// An image of a revision that is read from the store.
pub struct ServedImage {
    plan: Box<dyn Plan>,
    records: Records,
    service: Arc<Service>,
    /// The number of the image in its service's layout cache.
    number: u64,
}

/// A chunk whose bytes are proven.
enum ProvenChunk {
    /// Its raw run in the pack is proven.
    InPack,
    /// It is decoded.
    Decoded(Arc<Vec<u8>>),
}

impl ServedImage {
    /// Creates an image that `plan` lays out and whose content comes from `records`.
    pub fn new(plan: Box<dyn Plan>, records: Records, service: Arc<Service>) -> Self {
        let number = service.next_image();
        Self { plan, records, service, number }
    }

    /// Returns the length in bytes.
    pub fn length(&self) -> u64 {
        self.plan.length()
    }

    /// Returns what identifies the image, in words: format, options and manifest root.
    pub fn identity(&self) -> String {
        self.plan.identity()
    }

    /// Returns the service whose caches and metrics the image shares with others.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Makes the bytes of `range` available, which must be inside of the image. After that
    /// [`Self::try_read`] reads them, unless other readers needed the memory meanwhile.
    ///
    /// # Errors
    /// The plan or the store cannot be read, or what they return is damaged.
    pub fn prepare(&self, range: Range<u64>) -> Result<()> {
        self.extents(range, |extent, part| match &extent.bytes {
            ExtentBytes::Chunk(chunk) => self.prepare_chunk(chunk, part),
            ExtentBytes::Zeros | ExtentBytes::Inline(_) => Ok(()),
        })
    }

    /// Fills `out` with the bytes from `offset` on; the range must be inside of the image.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let done = self.try_read(offset, out).bytes;
        let range = offset + done as u64..offset + out.len() as u64;
        self.extents(range, |extent, part| {
            let start = to_usize(extent.offset + part.start - offset);
            let within = to_usize(part.start)..to_usize(part.end);
            let out = &mut out[start..start + within.len()];
            match &extent.bytes {
                ExtentBytes::Zeros => out.fill(0),
                ExtentBytes::Inline(bytes) => out.copy_from_slice(&bytes[within]),
                ExtentBytes::Chunk(chunk) => self.read_chunk(chunk, part.start, out)?,
            }
            Ok(())
        })
    }

    /// Returns the bytes of `range`, which must be inside of the image.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub(crate) fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; to_usize(range.end - range.start)];
        self.read(range.start, &mut bytes).map(|()| bytes)
    }

    /// Fills as much of `out`, from its start, as is available of the bytes from `offset` on; the
    /// range must be inside of the image. Never waits.
    pub fn try_read(&self, offset: u64, out: &mut [u8]) -> Attempt {
        self.try_take(offset, out.len(), &mut CopyTaker::new(out))
    }

    /// Gives `taker` as much, from the start, as is available of the `length` bytes from `offset`
    /// on; the range must be inside of the image. Never waits.
    pub(crate) fn try_take(&self, offset: u64, length: usize, taker: &mut impl Taker) -> Attempt {
        let mut attempt = Attempt { bytes: 0, is_hole: true };
        let mut hits = 0;
        let known = |at| self.service.layouts.known(self.number, at).ok_or(());
        // An error is the first byte that is not available.
        let _ = walk(offset..offset + length as u64, known, |extent, part| {
            let within = to_usize(part.start)..to_usize(part.end);
            let bytes = within.len();
            if !self.take_now(extent, within, taker, &mut hits) {
                return Err(());
            }
            attempt.bytes += bytes;
            attempt.is_hole &= matches!(extent.bytes, ExtentBytes::Zeros);
            Ok(())
        });
        self.service.metrics.cache_hits.add(hits);
        attempt
    }

    /// Finds the holes of `range`, which must be inside of the image. Returns lengths in order,
    /// each with whether it is a hole: at least one and at most `count_max` of them. They may cover
    /// less than the range.
    ///
    /// # Errors
    /// The plan cannot be read.
    pub fn holes(&self, range: Range<u64>, count_max: usize) -> Result<Vec<(u64, bool)>> {
        let mut found: Vec<(u64, bool)> = Vec::new();
        let mut left = STATUS_EXTENTS_MAX;
        // `None` ends the walk without an error.
        let ended = self.extents(range, |extent, part| {
            if left == 0 {
                return Err(None);
            }
            left -= 1;
            let length = part.end - part.start;
            let is_zeros = matches!(extent.bytes, ExtentBytes::Zeros);
            let is_hole = is_zeros && extent.length >= HOLE_BYTES_MIN;
            if let Some((run, was_hole)) = found.last_mut()
                && *was_hole == is_hole
            {
                *run += length;
            } else if found.len() == count_max {
                return Err(None);
            } else {
                found.push((length, is_hole));
            }
            Ok(())
        });
        match ended {
            Err(Some(error)) => Err(error),
            Ok(()) | Err(None) => Ok(found),
        }
    }

    /// Calls `each` for the extents of `range`, as [`walk`] does, and looks up what is not cached.
    fn extents<E: From<Error>>(
        &self,
        range: Range<u64>,
        each: impl FnMut(&KnownExtent, Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        let find = |at| Ok(self.service.layouts.find(self.number, &*self.plan, at)?);
        walk(range, find, each)
    }

    /// Gives `taker` the part `within` of an extent; returns false if it is not available.
    fn take_now(
        &self,
        extent: &KnownExtent,
        within: Range<usize>,
        taker: &mut impl Taker,
        hits: &mut u64,
    ) -> bool {
        let length = within.len();
        let chunk = match &extent.bytes {
            ExtentBytes::Zeros => {
                taker.room(length).fill(0);
                return true;
            }
            ExtentBytes::Inline(bytes) => {
                taker.room(length).copy_from_slice(&bytes[within]);
                return true;
            }
            ExtentBytes::Chunk(chunk) => chunk,
        };
        let run = chunk.known_run().filter(|_| !self.service.always_prove);
        let start = within.start as u64;
        if let Some(run) = run
            && taker.takes_files(length)
            && let Some(part) = run.part_now(start, length)
        {
            taker.file(part);
            return true;
        }
        if let Some(run) = run
            && !taker.takes_files(length)
        {
            let out = taker.room(length);
            if run.read_now(start, out) {
                return true;
            }
            let Some(bytes) = self.service.chunks.get(&chunk.id) else { return false };
            *hits += 1;
            out.copy_from_slice(&bytes[within]);
            return true;
        }
        let Some(bytes) = self.service.chunks.get(&chunk.id) else { return false };
        *hits += 1;
        if taker.takes_held(length) {
            taker.held(&bytes, within);
        } else {
            taker.room(length).copy_from_slice(&bytes[within]);
        }
        true
    }

    /// Makes the bytes `part` of `chunk` available.
    fn prepare_chunk(&self, chunk: &Chunk, part: Range<u64>) -> Result<()> {
        match self.prove(chunk)? {
            ProvenChunk::Decoded(_) => Ok(()),
            // Reading it brings it back into the page cache.
            ProvenChunk::InPack => {
                let length = to_usize(part.end - part.start);
                let read = |out: &mut Vec<u8>| {
                    out.resize(length, 0);
                    self.read_run(chunk, part.start, out)
                };
                SCRATCH.with_borrow_mut(read).or_else(|_| self.decode(chunk).map(|_| ()))
            }
        }
    }

    /// Fills `out` with the bytes from `start` on of `chunk`.
    fn read_chunk(&self, chunk: &Chunk, start: u64, out: &mut [u8]) -> Result<()> {
        let bytes = match self.prove(chunk)? {
            ProvenChunk::InPack if self.read_run(chunk, start, out).is_ok() => return Ok(()),
            ProvenChunk::InPack => self.decode(chunk)?,
            ProvenChunk::Decoded(bytes) => bytes,
        };
        let start = to_usize(start);
        out.copy_from_slice(&bytes[start..start + out.len()]);
        Ok(())
    }

    /// Proves `chunk` in its pack if it is stored raw; else decodes it into the cache.
    fn prove(&self, chunk: &Chunk) -> Result<ProvenChunk> {
        let service = &*self.service;
        let run = if service.always_prove { None } else { chunk.run(&self.records)? };
        let known = || {
            if run.is_some_and(freestone_store::RawRun::is_proven) {
                return Some(ProvenChunk::InPack);
            }
            service.chunks.get(&chunk.id).map(ProvenChunk::Decoded)
        };
        if let Some(proven) = known() {
            return Ok(proven);
        }
        let _guard = service.lock_chunk(chunk.id);
        if let Some(proven) = known() {
            return Ok(proven);
        }
        service.metrics.cache_misses.add(1);
        if let Some(run) = run {
            // If the run cannot be read or is damaged, the store may have another copy; else
            // decoding reports what is wrong with it.
            let proven = SCRATCH.with_borrow_mut(|scratch| run.prove(scratch));
            if proven.unwrap_or(false) && run.is_proven() {
                service.metrics.proven_bytes.add(chunk.length);
                return Ok(ProvenChunk::InPack);
            }
        }
        self.decode(chunk).map(ProvenChunk::Decoded)
    }

    /// Reads a chunk from any copy that the store has, and caches the decoded bytes.
    fn decode(&self, chunk: &Chunk) -> Result<Arc<Vec<u8>>> {
        let service = &*self.service;
        let mut bytes = Vec::new();
        self.records.chunk_in(&chunk.id, chunk.length, &mut bytes)?;
        service.metrics.proven_bytes.add(chunk.length);
        let weight = bytes.capacity() as u64 + CACHED_CHUNK_WEIGHT;
        let bytes = Arc::new(bytes);
        service.chunks.insert(chunk.id, bytes.clone(), weight);
        Ok(bytes)
    }

    /// Fills `out` with the bytes from `start` on of the chunk's raw run.
    fn read_run(&self, chunk: &Chunk, start: u64, out: &mut [u8]) -> Result<()> {
        let Some(run) = chunk.known_run() else {
            return Err(Error::missing(format!("chunk {} is not stored raw", chunk.id)));
        };
        run.read_at(start, out)
    }
}
