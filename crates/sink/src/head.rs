//! The head of a target that is written in place.
//!
//! ```text
//! first   sector 0, then the rest of the first 4096 bytes: the *unfinished* head    sync each
//! last    the rest of the first 4096 bytes, then sector 0: the image's own head     sync each
//! ```
//! A device writes a sector whole or not at all. So at any moment sector 0 is that of the old
//! image, which is whole then; or it says *unfinished*; or it is that of the new image, which is
//! whole then.

use freestone_core::{Result, lock};
use std::sync::{Mutex, PoisonError};

/// The length of an image's head: the bytes that say what an image is, and in which an unfinished
/// image is marked.
pub const HEAD_BYTES: usize = 4096;

/// The smallest unit that every device writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Writes the *unfinished* head by calling `put`, which writes bytes at an offset and makes them
/// durable.
///
/// # Errors
/// Those of `put`.
pub(crate) fn put_unfinished(
    head: &[u8],
    mut put: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let (sector, rest) = head.split_at(SECTOR_BYTES);
    put(0, sector)?;
    put(SECTOR_BYTES as u64, rest)
}

/// Writes the image's own head, after all other bytes, by calling `put`, which writes bytes at an
/// offset and makes them durable.
///
/// # Errors
/// Those of `put`.
pub(crate) fn put_finished(
    head: &[u8],
    mut put: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let (sector, rest) = head.split_at(SECTOR_BYTES);
    put(SECTOR_BYTES as u64, rest)?;
    put(0, sector)
}

/// The image's own head, kept in memory until all other bytes are written.
pub(crate) struct KeptHead(Mutex<[u8; HEAD_BYTES]>);

impl KeptHead {
    /// Creates a head of zeros.
    pub fn new() -> Self {
        Self(Mutex::new([0; HEAD_BYTES]))
    }

    /// Keeps the part of `bytes`, which begin at `offset` of the image, that belongs to the head.
    /// Returns the length of that part.
    pub fn keep(&self, offset: u64, bytes: &[u8]) -> usize {
        match usize::try_from(offset) {
            Ok(offset) if offset < HEAD_BYTES => {
                let length = bytes.len().min(HEAD_BYTES - offset);
                lock(&self.0)[offset..offset + length].copy_from_slice(&bytes[..length]);
                length
            }
            _ => 0,
        }
    }

    /// Returns the bytes that were kept.
    pub fn into_inner(self) -> [u8; HEAD_BYTES] {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
