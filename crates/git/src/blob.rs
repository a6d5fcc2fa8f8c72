//! Opens the files of a commit, by the ids of their blobs.

use crate::large::{LargeObject, ProvenReader};
use crate::objects::Object;
use crate::repository::Repository;
use crate::turn::Turn;
use freestone_core::item::{FileOpener, FileStamp, OpenFile};
use freestone_core::{Error, Result};
use freestone_source::lfs::is_lfs_pointer;
use freestone_source::report::Reason;
use gix_hash::ObjectId;
use gix_object::Kind;
use std::io::{Cursor, Read};

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

impl FileOpener for Blobs<'_> {
    fn open(&self, name: &[u8]) -> Result<Box<dyn OpenFile>> {
        let id = ObjectId::from_hex(name).map_err(|_| Error::corrupt("not the name of a blob"))?;
        let found = self.0.find(id)?.ok_or_else(|| self.0.missing(id, Kind::Blob))?;
        let kind = found.kind();
        if kind != Kind::Blob {
            return Err(Error::corrupt(format!("git object {id} is a {kind}, not a blob")));
        }
        match found {
            Object::Whole(_, bytes, _) if is_lfs_pointer(&bytes) => {
                Err(Error::refused(Reason::LfsPointer.to_string()))
            }
            Object::Whole(_, bytes, turn) => {
                Ok(Box::new(OpenBlob { bytes: Cursor::new(bytes), _turn: turn }))
            }
            Object::Large(blob) => {
                let reader = blob.read()?;
                Ok(Box::new(OpenLargeBlob { blob, reader }))
            }
        }
    }
}

/// Returns the stamp of a blob, which never changes.
fn stamp(size: u64) -> FileStamp {
    FileStamp { device: 0, inode: 0, size, mtime_ns: 0, ctime_ns: 0 }
}

/// A blob that was read whole.
struct OpenBlob {
    bytes: Cursor<Vec<u8>>,
    _turn: Option<Turn>,
}

impl Read for OpenBlob {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.bytes.read(out)
    }
}

impl OpenFile for OpenBlob {
    fn stamp(&self) -> Result<FileStamp> {
        Ok(stamp(self.bytes.get_ref().len() as u64))
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.bytes.set_position(offset);
        Ok(())
    }
}

/// A long blob, which is read as a stream.
struct OpenLargeBlob {
    blob: LargeObject,
    reader: ProvenReader,
}

impl Read for OpenLargeBlob {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(out)
    }
}

impl OpenFile for OpenLargeBlob {
    fn stamp(&self) -> Result<FileStamp> {
        Ok(stamp(self.blob.size()))
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.reader = self.blob.read()?;
        std::io::copy(&mut (&mut self.reader).take(offset), &mut std::io::sink())
            .map_err(|error| Error::corrupt("a git blob cannot be read").because(error))?;
        Ok(())
    }
}
