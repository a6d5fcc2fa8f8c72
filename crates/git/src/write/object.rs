//! One object, written as git writes new ones: a file of its own, named by its id.

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

/// Objects up to this length are looked up before they are written.
const HELD_BYTES_MAX: u64 = 1 << 20;
const LEVEL: u32 = 1;

/// Writes the bytes of an object whose length is known.
pub struct BlobWriter<'a> {
    target: &'a BareRepository,
    hasher: Box<dyn NameHasher>,
    left: u64,
    pending: PendingBytes,
}

enum PendingBytes {
    /// With the header.
    Memory(Vec<u8>),
    File(Box<ZlibEncoder<BufWriter<NamedTempFile>>>),
}

impl<'a> BlobWriter<'a> {
    /// A blob of `length` bytes.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn new(target: &'a BareRepository, length: u64) -> Result<Self> {
        Self::of_kind(target, Kind::Blob, length)
    }

    pub(super) fn of_kind(target: &'a BareRepository, kind: Kind, length: u64) -> Result<Self> {
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
    /// They cannot be written, or are more than was said.
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

    /// Gives the object its name.
    ///
    /// # Errors
    /// It cannot be written, or is shorter than was said.
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
        fs::create_dir_all(&folder).map_err(|error| wrong("make", &folder, error))?;
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(0o444);
        file.as_file()
            .set_permissions(permissions)
            .map_err(|error| wrong("write", &path, error))?;
        // A damaged one that stands there goes.
        file.persist(&path).map_err(|error| wrong("make", &path, error.error))?;
        Ok(id)
    }
}

fn other_length() -> Error {
    Error::new(ErrorKind::Corrupt, "a content has another length than its entry says")
}

fn unwritten(target: &BareRepository, error: std::io::Error) -> Error {
    wrong("write an object of", &target.root, error)
}

fn file(target: &BareRepository) -> Result<ZlibEncoder<BufWriter<NamedTempFile>>> {
    let folder = target.root.join("objects");
    // Names that `git gc` knows and clears when nobody comes for them.
    let file = tempfile::Builder::new().prefix("tmp_obj_").tempfile_in(&folder);
    let file = file.map_err(|error| unwritten(target, error))?;
    Ok(ZlibEncoder::new(BufWriter::new(file), Compression::new(LEVEL)))
}
