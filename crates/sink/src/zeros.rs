//! Zeros to write, to hash and to compare with.

/// What zeros are taken from, so much at a time.
pub(crate) static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// Whether `block`, which is at most as long as [`ZEROS`], is all zeros.
pub(crate) fn are_zeros(block: &[u8]) -> bool {
    block == &ZEROS[..block.len()]
}
