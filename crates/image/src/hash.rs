//! Short hashes of names, for sets of many names.

use freestone_core::digest::plain;

/// Returns the first 16 bytes of the plain BLAKE3 of `name`.
pub(crate) fn short_hash(name: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&plain(name).0[..16]);
    short
}
