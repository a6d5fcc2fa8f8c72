//! Temporary files, for data of one command that is too large for memory. They have no names and
//! are in `TMPDIR`.

mod nodes;

pub use nodes::{NodeSpool, SpooledNodes};

use freestone_backend::pages::FilePages;
use freestone_core::wire::Bytes;
use freestone_core::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that is only appended to, except for patches of what was appended.
pub struct Spool {
    file: File,
    buffer: Vec<u8>,
    /// The number of bytes in the file; those in the buffer come after them.
    written: u64,
}

/// A finished spool.
pub struct Spooled {
    file: File,
    length: u64,
}

fn wrong(error: io::Error) -> Error {
    let place = std::env::temp_dir();
    Error::io(format!("a temporary file in {} failed", place.display()), error)
        .hint("set TMPDIR to a directory with more space")
}

impl Spool {
    /// Creates an empty spool.
    ///
    /// # Errors
    /// No temporary file can be made.
    pub fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(wrong)?;
        Ok(Self { file, buffer: Vec::with_capacity(BUFFER_BYTES), written: 0 })
    }

    /// Returns the offset of the next bytes.
    pub fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds `bytes`, and returns their offset.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        let offset = self.offset();
        if bytes.len() > BUFFER_BYTES {
            self.file.write_all_at(bytes, offset).map_err(wrong)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(offset)
    }

    /// Replaces bytes at `offset` that were appended before, in one piece.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        match offset.checked_sub(self.written).and_then(|at| usize::try_from(at).ok()) {
            Some(at) => {
                self.buffer[at..at + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            // An append is never parted between file and buffer.
            None => self.file.write_all_at(bytes, offset).map_err(wrong),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.written).map_err(wrong)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends writing.
    ///
    /// # Errors
    /// What is left cannot be written.
    pub fn finish(mut self) -> Result<Spooled> {
        self.flush()?;
        Ok(Spooled { file: self.file, length: self.written })
    }
}

impl Spooled {
    /// Returns its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns its bytes, to be read here and there.
    pub fn into_bytes(self) -> Bytes {
        Arc::new(FilePages::new(self.file, std::env::temp_dir(), self.length))
    }

    /// Fills `out` with the bytes at `offset`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(out, offset).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_read_and_patched_in_file_and_buffer() {
        let mut spool = Spool::new().unwrap();
        let big = vec![7; BUFFER_BYTES + 1];
        assert_eq!(spool.append(b"first").unwrap(), 0);
        assert_eq!(spool.append(&big).unwrap(), 5);
        let last = spool.append(b"last").unwrap();
        assert_eq!(last, 5 + big.len() as u64);
        spool.patch(1, b"IR").unwrap();
        spool.patch(last + 1, b"AS").unwrap();
        let spooled = spool.finish().unwrap();
        assert_eq!(spooled.length(), last + 4);
        let mut out = vec![0; usize::try_from(spooled.length()).unwrap()];
        spooled.read(0, &mut out).unwrap();
        assert_eq!(out, [b"fIRst", &big[..], b"lASt"].concat());
        assert!(spooled.read(last, &mut [0; 5]).is_err());
        let mut out = [0; 4];
        spooled.into_bytes().read_at(last, &mut out).unwrap();
        assert_eq!(&out, b"lASt");
    }
}
