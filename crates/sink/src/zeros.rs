//! Zeros to write, to hash and to compare with.

use freestone_core::wire::to_usize;
use std::ops::Range;

/// The longest run of zeros that is written or compared at a time.
pub(crate) static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// Returns true if `block`, which is at most as long as [`ZEROS`], is all zeros.
pub(crate) fn are_zeros(block: &[u8]) -> bool {
    block == &ZEROS[..block.len()]
}

/// Calls `each`, in order, with the offsets and lengths of zeros that fill `range`.
///
/// # Errors
/// Those of `each`.
pub(crate) fn each_zeros<E>(
    range: Range<u64>,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = range.start;
    while at < range.end {
        let part = to_usize(range.end - at).min(ZEROS.len());
        each(at, &ZEROS[..part])?;
        at += part as u64;
    }
    Ok(())
}
