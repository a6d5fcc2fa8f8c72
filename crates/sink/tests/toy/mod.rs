//! An image in memory: the plan, the chunks and the bytes that they must produce.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::cast_possible_truncation, reason = "all of it is in memory")]

use freestone_core::{
    ChunkSource, Error, Extent, ExtentSource, Id, Plan, Result, digest, limits::CHUNK_BYTES_MAX,
};
use freestone_sink::Image;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first bytes of such an image.
pub const MAGIC: &[u8] = b"toy image";

/// A plan of given extents, with the chunks that they name.
#[derive(Default)]
pub struct Toy {
    pub extents: Vec<Extent>,
    pub chunks: HashMap<Id, Vec<u8>>,
    /// The number of chunks after which the source fails.
    pub fails_after: Option<u64>,
    pub fetched: AtomicU64,
    length: u64,
}

impl Toy {
    /// Creates an image of one block with a known head.
    pub fn new() -> Self {
        let mut toy = Self::default();
        let mut head = MAGIC.to_vec();
        head.resize(4096, b'.');
        toy.inline(head);
        toy
    }

    pub fn image(&self) -> Image<'_> {
        Image::new(self, self)
    }

    fn push(&mut self, length: u64, source: ExtentSource) {
        if length > 0 {
            self.extents.push(Extent { offset: self.length, length, source });
            self.length += length;
        }
    }

    pub fn inline(&mut self, bytes: Vec<u8>) {
        self.push(bytes.len() as u64, ExtentSource::Inline(bytes));
    }

    pub fn zeros(&mut self, length: u64) {
        self.push(length, ExtentSource::Zeros);
    }

    pub fn content(&mut self, bytes: Vec<u8>) {
        assert!(bytes.len() <= CHUNK_BYTES_MAX);
        let id = digest::plain(&bytes);
        self.push(bytes.len() as u64, ExtentSource::Chunk(id));
        self.chunks.insert(id, bytes);
    }

    /// Pads with zeros to a multiple of `unit`.
    pub fn pad(&mut self, unit: u64) {
        self.zeros(self.length.next_multiple_of(unit) - self.length);
    }

    /// Returns the whole image.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in &self.extents {
            match &extent.source {
                ExtentSource::Inline(inline) => bytes.extend_from_slice(inline),
                ExtentSource::Zeros => bytes.resize(bytes.len() + extent.length as usize, 0),
                ExtentSource::Chunk(id) => bytes.extend_from_slice(&self.chunks[id]),
            }
        }
        bytes
    }
}

impl Plan for Toy {
    fn length(&self) -> u64 {
        self.length
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let first = self.extents.partition_point(|extent| extent.end() <= range.start);
        for extent in self.extents[first..].iter().take_while(|e| e.offset < range.end) {
            each(extent.clone())?;
        }
        Ok(())
    }

    fn identity(&self) -> String {
        "toy".into()
    }
}

impl ChunkSource for Toy {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        let fetched = self.fetched.fetch_add(1, Ordering::Relaxed);
        if self.fails_after.is_some_and(|count| fetched >= count) {
            return Err(Error::corrupt(format!("chunk {id}: made to fail")));
        }
        let chunk = self.chunks.get(id).ok_or_else(|| Error::not_found(format!("chunk {id}")))?;
        out.copy_from_slice(chunk);
        Ok(())
    }
}

/// Returns bytes without a pattern, different for every seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Creates a tar-like image of small files and then large ones.
pub fn site(small: u64, small_bytes: usize, large: u64, large_bytes: usize) -> Toy {
    let mut toy = Toy::new();
    for seed in 0..small {
        let length = small_bytes / 4 + (seed as usize * 7919) % (small_bytes * 3 / 2);
        toy.inline(noise(seed, 512));
        toy.content(noise(seed + 1, length));
        toy.pad(512);
    }
    for seed in 0..large {
        toy.inline(noise(seed, 512));
        toy.pad(4096);
        toy.content(noise(!seed, large_bytes));
    }
    toy.pad(4096);
    toy.zeros(4096);
    toy
}
