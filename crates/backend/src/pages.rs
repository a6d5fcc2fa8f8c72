//! Reading a file here and there, as an index is searched: pages of it are kept in memory.
//!
//! The files are not mapped. A mapped file that somebody cuts off, or that lies on a failing disk,
//! ends the process without a word; a read gives an error. Pages are kept until the file is closed,
//! all together up to a bound. What is beyond it is read each time, just the bytes that are asked
//! for.

use freestone_core::wire::{ByteSource, to_usize};
use freestone_core::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are read and kept together.
const PAGE_BYTES: u64 = 4 << 10;

/// Pages of all files that are kept, in bytes.
const KEPT_BYTES_MAX: u64 = 32 << 20;

/// Pages of one file that can be kept: what comes after them is read each time.
const FILE_PAGES_MAX: u64 = 1 << 15;

/// How many bytes of pages are kept now.
static KEPT_BYTES: AtomicU64 = AtomicU64::new(0);

/// A file with the pages of it that were read.
pub struct FilePages {
    file: File,
    path: PathBuf,
    length: u64,
    pages: Box<[OnceLock<Box<[u8]>>]>,
}

impl FilePages {
    /// Reads `file`, which has `length` bytes. Errors name it as `path`.
    pub fn new(file: File, path: PathBuf, length: u64) -> Self {
        // A file can say any length, and take no room.
        let count = length.div_ceil(PAGE_BYTES).min(FILE_PAGES_MAX);
        let pages = (0..count).map(|_| OnceLock::new()).collect();
        Self { file, path, length, pages }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(out, offset)
            .map_err(|error| read_error(&self.path, offset, out.len(), error))
    }

    /// Returns page `number`, if it is kept or there is room to keep it.
    fn page(&self, number: u64) -> Result<Option<&[u8]>> {
        let Some(page) = self.pages.get(to_usize(number)) else { return Ok(None) };
        if let Some(bytes) = page.get() {
            return Ok(Some(bytes));
        }
        let start = number * PAGE_BYTES;
        let length = PAGE_BYTES.min(self.length.saturating_sub(start));
        if KEPT_BYTES.fetch_add(length, Ordering::Relaxed) + length > KEPT_BYTES_MAX {
            KEPT_BYTES.fetch_sub(length, Ordering::Relaxed);
            return Ok(None);
        }
        let mut bytes = vec![0; to_usize(length)].into_boxed_slice();
        let outcome = self.read(start, &mut bytes);
        // Another thread may have been first.
        if outcome.is_err() || page.set(bytes).is_err() {
            KEPT_BYTES.fetch_sub(length, Ordering::Relaxed);
        }
        outcome?;
        Ok(page.get().map(|bytes| &**bytes))
    }
}

impl ByteSource for FilePages {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.length);
        if end.is_none() || out.len() as u64 > PAGE_BYTES {
            return self.read(offset, out);
        }
        let (mut at, mut out) = (offset, out);
        while !out.is_empty() {
            let (number, start) = (at / PAGE_BYTES, to_usize(at % PAGE_BYTES));
            let part = out.len().min(to_usize(PAGE_BYTES) - start);
            let (head, rest) = out.split_at_mut(part);
            match self.page(number)? {
                Some(page) => head.copy_from_slice(&page[start..start + part]),
                None => self.read(at, head)?,
            }
            at += part as u64;
            out = rest;
        }
        Ok(())
    }
}

impl Drop for FilePages {
    fn drop(&mut self) {
        let kept = self.pages.iter().filter_map(OnceLock::get).map(|page| page.len() as u64).sum();
        KEPT_BYTES.fetch_sub(kept, Ordering::Relaxed);
    }
}

/// Returns the error of a read of `length` bytes from `offset` of the file at `path` that failed.
pub(crate) fn read_error(
    path: &std::path::Path,
    offset: u64,
    length: usize,
    error: io::Error,
) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            let end = offset.saturating_add(length as u64);
            Error::corrupt(format!("{} ends before byte {end}", path.display()))
        }
        _ => Error::io(format!("cannot read {}", path.display()), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::ErrorKind;

    #[test]
    fn ranges_are_read_and_a_file_that_is_cut_off_gives_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        let pages = FilePages::new(File::open(&path).unwrap(), path.clone(), 80_000);
        for (start, length) in [(0, 5), (4090, 20), (8192, 4096), (79_990, 10), (100, 30_000)] {
            let mut out = vec![0; length];
            pages.read_at(start as u64, &mut out).unwrap();
            assert!(out == bytes[start..start + length], "{start} {length}");
        }
        let error = pages.read_at(79_995, &mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        let error = pages.read_at(50_000, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("file ends before"), "{error}");
        // What was read before is still known.
        pages.read_at(4095, &mut [0; 3]).unwrap();
    }
}
