//! Reading a content of a store from its first byte to its last.

use crate::interrupt::Interrupt;
use freestone_core::{Id, Result, Sha1};
use freestone_store::Records;

/// Which content to read: its id, its length, and the SHA-1 that its entry says.
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
    records.read_content(id, size, Some(sha1), &mut |bytes| {
        interrupt.check()?;
        each(bytes)
    })
}
