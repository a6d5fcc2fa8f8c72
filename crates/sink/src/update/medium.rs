//! The operations of an update on its target, as a trait, so that tests can stop at every step.

use crate::faults::storage;
use crate::holes::next_data;
use crate::writeback;
use crate::zeros::each_zeros;
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, Result};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A target that several threads write in place.
pub(super) trait Medium: Sync {
    /// Fills `out` from `offset` on.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
    /// Writes bytes, which are durable only after a sync.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Writes zeros, or makes a hole.
    fn zero(&self, offset: u64, length: u64) -> Result<()>;
    /// Makes everything durable that was written.
    fn sync(&self) -> Result<()>;
    /// Returns true if its length can change, and must be that of the image.
    fn is_resizable(&self) -> bool;
    /// Changes its length.
    fn set_length(&self, length: u64) -> Result<()>;
    /// Returns the first offset from `offset` on where data may be; everything before it is a hole.
    fn next_data(&self, offset: u64) -> u64 {
        offset
    }
    /// Asks the system to start writing a range to the medium.
    fn start_writing(&self, _offset: u64, _length: u64) {}

    /// Returns true if a target of the length `held` can hold an image of `length` bytes, possibly
    /// with other bytes after it.
    fn can_hold(&self, length: u64, held: u64) -> bool {
        if self.is_resizable() { length == held } else { length <= held }
    }

    /// Returns true if its length need not change.
    fn has_length(&self, length: u64, held: u64) -> bool {
        self.can_hold(length, held)
    }
}

/// A file or a device.
pub(super) struct FileMedium {
    file: File,
    path: PathBuf,
    is_device: bool,
}

impl FileMedium {
    /// Wraps a regular file, and returns its length too.
    pub(super) fn file(file: File, path: PathBuf) -> Result<(Self, u64)> {
        Self::new(file, path, false)
    }

    /// Wraps a block device, and returns its length too.
    pub(super) fn device(file: File, path: PathBuf) -> Result<(Self, u64)> {
        Self::new(file, path, true)
    }

    fn new(mut file: File, path: PathBuf, is_device: bool) -> Result<(Self, u64)> {
        let length = file.seek(SeekFrom::End(0));
        let length = length.map_err(|error| storage(&path, "cannot be inspected", error))?;
        Ok((Self { file, path, is_device }, length))
    }

    /// Creates the error of a target that may not be written.
    pub(super) fn refused(&self, what: &str) -> Error {
        Error::refused(format!("{}: {what}", self.path.display()))
    }

    fn wrong(&self, what: &str, error: std::io::Error) -> Error {
        let name = self.path.display();
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::io(
                format!("{name}: there is no room for the blocks that differ"),
                error,
            )
            .hint(
                "make room on its file system and run the same command again; the target is \
                         unfinished until then",
            ),
            _ => Error::io(format!("{name}: {what}"), error),
        }
    }
}

impl Medium for FileMedium {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(out, offset);
        read.map_err(|error| self.wrong("cannot be read", error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| self.wrong("cannot be written", error))
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        if offset.is_multiple_of(BLOCK_BYTES) && length.is_multiple_of(BLOCK_BYTES) {
            let how = if self.is_device {
                FallocateFlags::ZERO_RANGE
            } else {
                FallocateFlags::PUNCH_HOLE
            };
            let how = how | FallocateFlags::KEEP_SIZE;
            // Where this is not supported, zeros are written.
            if fallocate(&self.file, how, offset, length).is_ok() {
                return Ok(());
            }
        }
        each_zeros(offset..offset + length, |offset, zeros| self.write_at(offset, zeros))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| self.wrong("cannot be synced", error))
    }

    fn is_resizable(&self) -> bool {
        !self.is_device
    }

    fn set_length(&self, length: u64) -> Result<()> {
        let set = self.file.set_len(length);
        set.map_err(|error| self.wrong("its length cannot be changed", error))
    }

    fn next_data(&self, offset: u64) -> u64 {
        next_data(&self.file, offset)
    }

    fn start_writing(&self, offset: u64, length: u64) {
        writeback::start(&self.file, offset, length);
    }
}
