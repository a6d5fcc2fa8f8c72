//! Git LFS pointers: short texts in the place of files that are kept elsewhere. A checkout without
//! Git LFS has them in the place of its pictures and videos, so they are not content.

/// The first bytes of a pointer.
const POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/";
/// The longest pointer, in bytes.
pub(crate) const POINTER_BYTES_MAX: u64 = 1024;
/// The shortest text that is taken for a pointer, in bytes.
pub(crate) const POINTER_BYTES_MIN: u64 = START_BYTES as u64;

/// Returns true if the bytes of a file are a Git LFS pointer, and not the file itself.
pub fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.len() as u64 <= POINTER_BYTES_MAX && starts_pointer(bytes)
}

/// Returns true if the first bytes of a file are those of a pointer.
pub(crate) fn starts_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(POINTER_START)
}

/// The number of bytes that [`starts_pointer`] needs.
pub(crate) const START_BYTES: usize = POINTER_START.len();
