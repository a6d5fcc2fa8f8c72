//! A pack that is read through the cache.
//!
//! Only proven bytes are written to the sparse file, so two processes that keep the same range write
//! the same bytes. What is read is proven by the reader, like everything else. If a sparse file was
//! punched, cut or damaged meanwhile, the wrong hash shows it: the range is forgotten, and fetched
//! again.

use super::Cache;
use super::folder::is_unreadable;
use super::here::{SparseFile, range};
use freestone_backend::Object;
use freestone_core::wire::{Bytes, to_usize};
use freestone_core::{Id, Result};
use freestone_format::pack;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

/// Bytes of a pack that are read at once for a copy of all of it.
const MAP_PART_BYTES: u64 = 4 << 20;

/// A pack that is read through the cache.
pub(crate) struct CachedPack {
    cache: Arc<Cache>,
    id: Id,
    file: SparseFile,
    length: OnceLock<u64>,
}

impl CachedPack {
    /// Creates the pack `id` of `cache`. Nothing of it is read yet.
    ///
    /// # Errors
    /// As [`Cache::pack`].
    pub(crate) fn new(cache: Arc<Cache>, id: &Id) -> Result<Self> {
        let file = SparseFile::new(cache.here.folder.clone(), cache.pack(id)?);
        Ok(Self { cache, id: *id, file, length: OnceLock::new() })
    }

    /// Writes what the stash has of a range to the sparse file.
    fn keep(&self, range: &Range<u64>) -> Result<()> {
        let found = self.cache.stash().find(&self.id, range);
        // What was displaced from the stash, or never in it, is fetched again when it is read again.
        let Some((at, bytes)) = found else { return Ok(()) };
        let part = &bytes[to_usize(range.start - at)..to_usize(range.end - at)];
        let folder = &self.cache.here.folder;
        let file = folder.make_file(&self.file.name)?;
        file.write_all_at(part, range.start).map_err(|error| {
            folder.failed("write", &self.file.name, error).hint(
                "if the disk is full, make room, or give the cache less with `cache-size` in the \
                 store's file `upstream`",
            )
        })?;
        self.file.replace(Some(file));
        self.file.pack.add(range.clone());
        self.cache.added(range.end - range.start);
        if at == range.start && bytes.len() as u64 == range.end - range.start {
            self.cache.stash().drop_at(&self.id, at);
        }
        Ok(())
    }
}

impl Object for CachedPack {
    fn length(&self) -> u64 {
        let known = self.file.pack.length();
        if known != 0 {
            return known;
        }
        // If the length cannot be had, a read at the end reports why.
        *self.length.get_or_init(|| match self.cache.client.length(&pack::object_name(&self.id)) {
            Ok(length) => {
                self.file.pack.set_length(length);
                length
            }
            Err(_) => u64::MAX,
        })
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let range = range(offset, out.len() as u64);
        let pack = &self.file.pack;
        match self.file.read(offset, out) {
            Ok(true) => {
                pack.touch(&range);
                return Ok(());
            }
            Err(error) if self.cache.client.offline => return Err(error),
            // What the disk cannot read is fetched and written again.
            Err(error) if !is_unreadable(&error) => self.cache.could_not_keep(error),
            _ if pack.contains(&range) => pack.forget(&range),
            _ => {}
        }
        if let Some((at, bytes)) = self.cache.stash().find(&self.id, &range) {
            let start = to_usize(offset - at);
            out.copy_from_slice(&bytes[start..start + out.len()]);
            return Ok(());
        }
        self.cache.client.read(&pack::object_name(&self.id), offset, out)?;
        self.cache.stash().put(&self.id, offset, out.to_vec());
        Ok(())
    }

    fn map(&self) -> Result<Bytes> {
        // Only index segments are mapped, and those are kept whole. The memory follows what arrives.
        let (length, mut bytes) = (self.length(), Vec::new());
        while (bytes.len() as u64) < length {
            let at = bytes.len();
            bytes.resize(at + to_usize((length - at as u64).min(MAP_PART_BYTES)), 0);
            self.read_at(at as u64, &mut bytes[at..])?;
        }
        Ok(Arc::new(bytes))
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.file.pack.contains(&range(offset, length))
    }

    fn confirm(&self, offset: u64, length: u64) {
        let range = range(offset, length);
        if !range.is_empty()
            && !self.file.pack.contains(&range)
            && let Err(error) = self.keep(&range)
        {
            self.cache.could_not_keep(error);
        }
    }

    fn refute(&self, offset: u64, length: u64) -> bool {
        let range = range(offset, length);
        let was_here = self.file.pack.bytes_within(&range) > 0;
        if was_here {
            self.file.pack.forget(&range);
            self.cache.client.reach.forget_complete(&[]);
            self.file.replace(None);
        }
        self.cache.stash().drop_touching(&self.id, &range);
        // Offline, the next read reports that the range is not here.
        was_here || !self.cache.client.offline
    }
}
