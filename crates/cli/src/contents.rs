//! Reading a content of a store from its first byte to its last.

use crate::interrupt::Interrupt;
use freestone_core::wire::to_usize;
use freestone_core::{ChunkSource, ExtentSource, Id, Result, Sha1};
use freestone_manifest::content;
use freestone_store::Records;

/// Zeros that nothing is stored for are given in pieces of this length.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Which content to read: its id, its length, and the SHA-1 that it must have.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The content id.
    pub id: &'a Id,
    /// The length in bytes.
    pub size: u64,
    /// The SHA-1 of all bytes.
    pub sha1: &'a Sha1,
}

/// Gives all bytes of a content to `each`, in order and piece by piece.
///
/// # Errors
/// A record is missing or damaged, the program is to end, or `each` fails.
pub fn read(
    records: &Records,
    wanted: Wanted<'_>,
    interrupt: &Interrupt,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let Wanted { id, size, sha1 } = wanted;
    let mut buffer = Vec::new();
    content::pieces(records, id, size, Some(sha1), 0..size, &mut |piece| {
        interrupt.check()?;
        match piece.source {
            ExtentSource::Chunk(id) => each(records.chunk_in(&id, piece.length, &mut buffer)?),
            ExtentSource::Inline(bytes) => each(&bytes),
            ExtentSource::Zeros => {
                let mut left = piece.length;
                while left > 0 {
                    let count = left.min(ZEROS.len() as u64);
                    each(&ZEROS[..to_usize(count)])?;
                    left -= count;
                }
                Ok(())
            }
        }
    })
}
