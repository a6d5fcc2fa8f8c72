//! Opens the files of a commit, by the ids of their blobs.

use crate::repository::Repository;
use freestone_core::item::{FileOpener, FileStamp, OpenFile};
use freestone_core::{Error, Result};
use freestone_source::report::Reason;
use gix_hash::ObjectId;
use gix_object::Kind;
use std::io::{Cursor, Read};

/// The first bytes of a Git LFS pointer.
const LFS_START: &[u8] = b"version https://git-lfs.github.com/spec/";
/// The longest Git LFS pointer, in bytes.
const LFS_BYTES_MAX: usize = 1024;

/// An opener of blobs by the hexadecimal digits of their ids.
#[derive(Clone, Copy)]
pub struct Blobs<'a>(&'a Repository);

impl<'a> Blobs<'a> {
    /// Returns an opener of the blobs of `repository`.
    pub fn new(repository: &'a Repository) -> Self {
        Self(repository)
    }
}

/// Returns the name by which [`Blobs`] opens a blob.
pub(crate) fn name(id: ObjectId) -> Vec<u8> {
    id.to_hex().to_string().into_bytes()
}

/// Returns true if the bytes are a Git LFS pointer, and not the file itself.
fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.len() <= LFS_BYTES_MAX && bytes.starts_with(LFS_START)
}

impl FileOpener for Blobs<'_> {
    fn open(&self, name: &[u8]) -> Result<Box<dyn OpenFile>> {
        let id = ObjectId::from_hex(name).map_err(|_| Error::corrupt("not the name of a blob"))?;
        let bytes = self.0.need(id, Kind::Blob)?;
        if is_lfs_pointer(&bytes) {
            return Err(Error::refused(Reason::LfsPointer.to_string()));
        }
        Ok(Box::new(OpenBlob(Cursor::new(bytes))))
    }
}

/// A blob that was read whole.
struct OpenBlob(Cursor<Vec<u8>>);

impl Read for OpenBlob {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(out)
    }
}

impl OpenFile for OpenBlob {
    fn stamp(&self) -> Result<FileStamp> {
        let size = self.0.get_ref().len() as u64;
        Ok(FileStamp { device: 0, inode: 0, size, mtime_ns: 0, ctime_ns: 0 })
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.0.set_position(offset);
        Ok(())
    }
}
