//! Reads a long object as a stream, in constant memory. It must be stored by itself: as a loose
//! object, or in a pack without a base.

use crate::faults::{cause, forged};
use crate::own_file::{self, shown};
use flate2::bufread::ZlibDecoder;
use freestone_core::digest::{NameHasher, sha1_hasher};
use freestone_core::{Error, Result};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest header of a loose object: a kind, a number and a NUL.
const HEADER_BYTES_MAX: u64 = 32;
/// The bytes of a pack that are taken at once.
const STEP_BYTES: u64 = 64 << 10;

type PackFile = gix_pack::data::File;

/// A long object.
pub(crate) struct LargeObject {
    id: ObjectId,
    kind: Kind,
    size: u64,
    place: LargePlace,
}

enum LargePlace {
    Loose(PathBuf),
    Packed(Arc<PackFile>, u64),
}

impl LargeObject {
    /// Finds the object `id`, which states that it has this kind and length, in directories of
    /// objects; `None` if it is stored as a difference only.
    ///
    /// # Errors
    /// A pack cannot be opened.
    pub(crate) fn find(
        folders: &[PathBuf],
        id: ObjectId,
        kind: Kind,
        size: u64,
    ) -> Result<Option<Self>> {
        let hex = id.to_string();
        for folder in folders {
            let loose = folder.join(&hex[..2]).join(&hex[2..]);
            if loose.is_file() {
                return Ok(Some(Self { id, kind, size, place: LargePlace::Loose(loose) }));
            }
            if let Some((pack, offset)) = packed(&folder.join("pack"), id)? {
                let place = LargePlace::Packed(Arc::new(pack), offset);
                return Ok(Some(Self { id, kind, size, place }));
            }
        }
        Ok(None)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Starts a stream of the bytes. It fails at its end if they do not hash to the id.
    ///
    /// # Errors
    /// The object cannot be opened.
    pub(crate) fn read(&self) -> Result<ProvenReader> {
        let unreadable = |error| Error::io(format!("git object {} cannot be read", self.id), error);
        let header = format!("{} {}\0", self.kind, self.size);
        let source: Box<dyn Read + Send> = match &self.place {
            LargePlace::Loose(path) => {
                let file = own_file::open(path)?.ok_or_else(|| {
                    unreadable(io::Error::new(io::ErrorKind::NotFound, "its file is gone"))
                })?;
                let mut source = BufReader::new(ZlibDecoder::new(BufReader::new(file)));
                let mut found = Vec::new();
                (&mut source)
                    .take(HEADER_BYTES_MAX)
                    .read_until(0, &mut found)
                    .map_err(unreadable)?;
                if found != header.as_bytes() {
                    return Err(forged(self.id));
                }
                Box::new(source)
            }
            LargePlace::Packed(pack, offset) => {
                let source =
                    PackBytes { pack: pack.clone(), offset: *offset, step: Vec::new(), read: 0 };
                Box::new(ZlibDecoder::new(source))
            }
        };
        let mut hasher = sha1_hasher();
        hasher.update(header.as_bytes());
        Ok(ProvenReader { id: self.id, source, hasher: Some(hasher), left: self.size })
    }
}

/// Finds an object that is whole in a pack of `folder`: the pack, and where the compressed bytes of
/// the object start.
fn packed(folder: &Path, id: ObjectId) -> Result<Option<(PackFile, u64)>> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Error::corrupt(format!("{} cannot be read", shown(path))).because(cause(error))
    };
    for entry in own_file::entries(folder)? {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "idx") || !path.is_file() {
            continue;
        }
        let index = gix_pack::index::File::at(&path, gix_hash::Kind::Sha1)
            .map_err(|error| failed(&path, &error))?;
        let Some(at) = index.lookup(id) else { continue };
        let path = path.with_extension("pack");
        own_file::check(&path)?;
        let pack =
            PackFile::at(&path, gix_hash::Kind::Sha1).map_err(|error| failed(&path, &error))?;
        let entry =
            pack.entry(index.pack_offset_at_index(at)).map_err(|error| failed(&path, &error))?;
        if !entry.header.is_delta() {
            return Ok(Some((pack, entry.data_offset)));
        }
    }
    Ok(None)
}

/// The bytes of a pack from an offset on.
struct PackBytes {
    pack: Arc<PackFile>,
    offset: u64,
    step: Vec<u8>,
    read: usize,
}

impl BufRead for PackBytes {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.step.len() {
            let end = self.offset.saturating_add(STEP_BYTES).min(self.pack.pack_end() as u64);
            self.step.clear();
            self.read = 0;
            if self.offset < end {
                let bytes = self.pack.entry_slice(self.offset..end).unwrap_or_default();
                self.step.extend_from_slice(bytes);
                self.offset = end;
            }
        }
        Ok(&self.step[self.read..])
    }

    fn consume(&mut self, count: usize) {
        self.read = (self.read + count).min(self.step.len());
    }
}

impl Read for PackBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

/// A stream of the bytes of an object.
pub(crate) struct ProvenReader {
    id: ObjectId,
    source: Box<dyn Read + Send>,
    /// `None` after the bytes were proven.
    hasher: Option<Box<dyn NameHasher>>,
    left: u64,
}

impl Read for ProvenReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        if out.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if self.source.read(&mut [0])? != 0 {
                return wrong(format!("git object {} is longer than it states", self.id));
            }
            let found = self.hasher.take().map(NameHasher::finish);
            return match found {
                Some(found) if found.0 == self.id.as_slice() => Ok(0),
                _ => wrong(forged(self.id).to_string()),
            };
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let count = self.source.read(&mut out[..room])?;
        if count == 0 {
            return wrong(format!("git object {} is shorter than it states", self.id));
        }
        hasher.update(&out[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}
