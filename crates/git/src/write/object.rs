//! Writes one object as git writes new ones: a file of its own, named by its id.

use super::{BareRepository, wrong};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use freestone_core::digest::{NameHasher, sha1_hasher};
use freestone_core::{Error, ErrorKind, Result};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::fs;
use std::io::{BufWriter, Write};
use tempfile::NamedTempFile;

/// Objects up to this length are kept in memory until their id is known, so that an object that is
/// there already is not written. Longer ones go to a temporary file.
const HELD_BYTES_MAX: u64 = 1 << 20;
const LEVEL: u32 = 1;

/// A writer of an object whose length is known.
pub struct BlobWriter<'a> {
    target: &'a BareRepository,
    hasher: Box<dyn NameHasher>,
    left: u64,
    pending: PendingBytes,
}

enum PendingBytes {
    /// The header and the bytes so far.
    Memory(Vec<u8>),
    File(Box<ZlibEncoder<BufWriter<NamedTempFile>>>),
}

impl<'a> BlobWriter<'a> {
    /// Starts a blob of `length` bytes.
    ///
    /// # Errors
    /// A temporary file cannot be written.
    pub fn new(target: &'a BareRepository, length: u64) -> Result<Self> {
        Self::of_kind(target, Kind::Blob, length)
    }

    pub(crate) fn of_kind(target: &'a BareRepository, kind: Kind, length: u64) -> Result<Self> {
        let header = format!("{kind} {length}\0").into_bytes();
        let mut hasher = sha1_hasher();
        hasher.update(&header);
        let pending = if length <= HELD_BYTES_MAX {
            PendingBytes::Memory(header)
        } else {
            let mut file = file(target)?;
            file.write_all(&header).map_err(|error| unwritten(target, error))?;
            PendingBytes::File(Box::new(file))
        };
        Ok(Self { target, hasher, left: length, pending })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The bytes cannot be written, or the object would be longer than announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(other_length)?;
        self.hasher.update(bytes);
        match &mut self.pending {
            PendingBytes::Memory(held) => held.extend_from_slice(bytes),
            PendingBytes::File(file) => {
                file.write_all(bytes).map_err(|error| unwritten(self.target, error))?;
            }
        }
        Ok(())
    }

    /// Completes the object, and returns its id.
    ///
    /// # Errors
    /// The object cannot be written, or is shorter than announced.
    pub fn finish(self) -> Result<ObjectId> {
        if self.left > 0 {
            return Err(other_length());
        }
        let id = ObjectId::Sha1(self.hasher.finish().0);
        if self.target.has(id) {
            return Ok(id);
        }
        let written = match self.pending {
            PendingBytes::Memory(held) => {
                let mut written = file(self.target)?;
                written.write_all(&held).map(|()| written)
            }
            PendingBytes::File(written) => Ok(*written),
        };
        let finished = written.and_then(|written| {
            let file =
                written.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            Ok(file)
        });
        let file = finished.map_err(|error| unwritten(self.target, error))?;
        let hex = id.to_string();
        let folder = self.target.root.join("objects").join(&hex[..2]);
        let path = folder.join(&hex[2..]);
        fs::create_dir_all(&folder).map_err(|error| wrong("create", &folder, error))?;
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(0o444);
        file.as_file()
            .set_permissions(permissions)
            .map_err(|error| wrong("write", &path, error))?;
        // This replaces a damaged object of the same id.
        file.persist(&path).map_err(|error| wrong("create", &path, error.error))?;
        Ok(id)
    }
}

impl BareRepository {
    /// Writes a small object, unless it is there already.
    pub(crate) fn object(&self, kind: Kind, bytes: &[u8]) -> Result<ObjectId> {
        let mut writer = BlobWriter::of_kind(self, kind, bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.finish()
    }
}

fn other_length() -> Error {
    Error::new(ErrorKind::Corrupt, "the length of a content is not that of its entry")
}

fn unwritten(target: &BareRepository, error: std::io::Error) -> Error {
    wrong("write an object of", &target.root, error)
}

fn file(target: &BareRepository) -> Result<ZlibEncoder<BufWriter<NamedTempFile>>> {
    let folder = target.root.join("objects");
    // `git gc` knows such names, and removes the files if they are left behind.
    let file = tempfile::Builder::new().prefix("tmp_obj_").tempfile_in(&folder);
    let file = file.map_err(|error| unwritten(target, error))?;
    Ok(ZlibEncoder::new(BufWriter::new(file), Compression::new(LEVEL)))
}
