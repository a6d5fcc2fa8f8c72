//! Skipping the holes of a file.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;

/// Returns the first offset from `offset` on where data may be; everything before it is a hole.
/// Reading a hole would only fill memory with its pages.
pub(crate) fn next_data(file: &File, offset: u64) -> u64 {
    // The call moves the file's own position, which nobody uses.
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(Errno::NXIO) => u64::MAX,
        // The file system cannot say.
        Err(_) => offset,
    }
}
