//! Passing over holes of a file.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;

/// Returns where data may be from `offset` on: everything before it is a hole. Holes need not be
/// read, which would fill memory with their pages.
pub(crate) fn next_data(file: &File, offset: u64) -> u64 {
    // The call moves the file's own position, which nobody uses.
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(Errno::NXIO) => u64::MAX,
        // The file system cannot say.
        Err(_) => offset,
    }
}
