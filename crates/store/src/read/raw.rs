//! Raw runs: chunks that are stored as they are, in a file that can be read at any place.
//!
//! A chunk that was hashed against its id once can be sent from the file without being hashed again
//! (`docs/architecture.md`, *Proven runs*). This is remembered for that very file: its device,
//! inode, length and times. A file that was replaced or written to is proven again.

use crate::read::packs::Packs;
use crate::read::proofs::Stamp;
use crate::read::records::Records;
use freestone_backend::Object;
use freestone_core::{Id, Result};
use freestone_format::record::{Codec, RecordKind};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// A shorter chunk is read, hashed and kept decoded, which costs no more than remembering it.
const RUN_BYTES_MIN: u64 = 4096;

/// A chunk that is stored in a pack as it is.
pub struct RawRun {
    id: Id,
    pack: Id,
    offset: u64,
    length: u64,
    packs: Arc<Packs>,
    /// Of the object below.
    is_proven: AtomicBool,
    /// Its file can only be read by waiting for it, as some file systems' can.
    waits: AtomicBool,
    /// Not held open: a store may have more packs than a process may have files.
    object: RwLock<Option<Weak<dyn Object>>>,
}

/// A part of a raw run, in a file that is kept open. It can be sent from there.
pub struct RunPart {
    object: Arc<dyn Object>,
    offset: u64,
    length: usize,
}

impl RunPart {
    /// Returns `length` bytes from `offset` of an object, proven or not.
    pub fn new(object: Arc<dyn Object>, offset: u64, length: usize) -> Self {
        Self { object, offset, length }
    }

    /// Returns the file that it is in.
    pub fn file(&self) -> Option<&File> {
        self.object.file()
    }

    /// Returns where it starts in that file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns its length in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Fills `out` with the bytes from offset `within` of the part.
    ///
    /// # Errors
    /// They cannot be read; [`Corrupt`](freestone_core::ErrorKind::Corrupt) if the file ends
    /// before them.
    pub fn read_at(&self, within: usize, out: &mut [u8]) -> Result<()> {
        self.object.read_at(self.offset + within as u64, out)
    }
}

impl Records {
    /// Returns where chunk `id` of `length` bytes is stored as it is; it need not be proven yet.
    /// `None` if it is only stored encoded, is too short to be worth it, or its pack is not a file
    /// or cannot be opened. A compaction may have replaced the pack; reading the chunk finds the
    /// new one.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn raw_run(&self, id: &Id, length: u64) -> Result<Option<RawRun>> {
        if length < RUN_BYTES_MIN {
            return Ok(None);
        }
        let mut found = None;
        self.index.find(RecordKind::Chunk, id, &mut |place| {
            let row = &place.row;
            if row.codec != Codec::Raw || row.stored != length {
                return Ok(false);
            }
            found = Some(place);
            Ok(true)
        })?;
        let Some(place) = found else { return Ok(None) };
        // Far away, its length would have to be asked for.
        if !self.packs.open_listed(&place).is_ok_and(|object| object.file().is_some()) {
            return Ok(None);
        }
        let (pack, offset) = (place.pack, place.row.offset);
        let run = RawRun {
            id: *id,
            pack,
            offset,
            length,
            packs: self.packs.clone(),
            is_proven: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            object: RwLock::new(None),
        };
        let Ok(object) = run.open() else { return Ok(None) };
        let is_inside = offset.checked_add(length).is_some_and(|end| end <= object.length());
        Ok((object.file().is_some() && is_inside).then_some(run))
    }
}

impl RawRun {
    /// Returns the chunk's length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the pack that it is in, and where it starts there.
    pub fn place(&self) -> (Id, u64) {
        (self.pack, self.offset)
    }

    /// Returns true if it was hashed against its id, in the file that is there now.
    pub fn is_proven(&self) -> bool {
        self.object().is_some() && self.is_proven.load(Ordering::Acquire)
    }

    /// Reads all of it into `scratch` and hashes it. Returns false if it is another chunk, or
    /// damaged: [`Records::read`] says which, and reads other copies.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn prove(&self, scratch: &mut Vec<u8>) -> Result<bool> {
        let object = self.open()?;
        let Some(before) = object.file().and_then(Stamp::of) else { return Ok(false) };
        scratch.resize(usize::try_from(self.length).unwrap_or(0), 0);
        object.read_at(self.offset, scratch)?;
        if RecordKind::Chunk.id_of(scratch) != Some(self.id) {
            return Ok(false);
        }
        if object.file().and_then(Stamp::of) == Some(before) {
            self.packs.proofs().remember(&self.pack, before, self.offset);
            self.is_proven.store(true, Ordering::Release);
        }
        Ok(true)
    }

    /// Fills `out` with the bytes from offset `within` of the run, whether or not they were proven.
    ///
    /// # Errors
    /// They cannot be read; [`Corrupt`](freestone_core::ErrorKind::Corrupt) if the pack ends
    /// before them.
    pub fn read_at(&self, within: u64, out: &mut [u8]) -> Result<()> {
        let object = match self.object() {
            Some(object) => object,
            None => self.open()?,
        };
        object.read_at(self.offset + within, out)
    }

    /// Reads as [`Self::read_at`], but only bytes that were proven, and only without waiting.
    /// Returns false if it would have to wait for a disk, or if it fails.
    pub fn read_now(&self, within: u64, out: &mut [u8]) -> bool {
        let Some(object) = self.proven_object() else { return false };
        let offset = self.offset + within;
        object.file().is_some_and(|file| self.try_read(&*object, file, offset, out))
    }

    /// Returns `length` bytes, at least one, from offset `within` of the run, if they were proven
    /// and can most probably be read without waiting: both ends can, and are within the file.
    pub fn part_now(&self, within: u64, length: usize) -> Option<RunPart> {
        let object = self.proven_object()?;
        let offset = self.offset + within;
        let file = object.file()?;
        let ends = [offset + length.saturating_sub(1) as u64, offset];
        let is_there = |end| self.try_read(&*object, file, end, &mut [0]);
        if !ends.into_iter().all(is_there) {
            return None;
        }
        Some(RunPart { object, offset, length })
    }

    fn proven_object(&self) -> Option<Arc<dyn Object>> {
        self.object().filter(|_| self.is_proven.load(Ordering::Acquire))
    }

    fn try_read(&self, object: &dyn Object, file: &File, offset: u64, out: &mut [u8]) -> bool {
        let mut done = 0;
        while done < out.len() {
            let offset = offset + done as u64;
            if self.waits.load(Ordering::Relaxed) {
                return object.read_at(offset, &mut out[done..]).is_ok();
            }
            let part = &mut [IoSliceMut::new(&mut out[done..])];
            match rustix::io::preadv2(file, part, offset, ReadWriteFlags::NOWAIT) {
                Ok(0) => return false,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                // File systems without it, above all FUSE, are read as files have always been.
                Err(Errno::OPNOTSUPP) => self.waits.store(true, Ordering::Relaxed),
                Err(_) => return false,
            }
        }
        true
    }

    fn object(&self) -> Option<Arc<dyn Object>> {
        self.object.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()
    }

    /// Opens the pack, if it is a file in which this run was proven.
    pub(crate) fn open_proven(&self) -> Option<Arc<dyn Object>> {
        let object = self.open().ok()?;
        (self.is_proven.load(Ordering::Acquire) && object.file().is_some()).then_some(object)
    }

    /// Opens the pack, and looks up what is proven of this file.
    fn open(&self) -> Result<Arc<dyn Object>> {
        let object = self.packs.open(&self.pack)?;
        let stamp = object.file().and_then(Stamp::of);
        let mut known = self.object.write().unwrap_or_else(PoisonError::into_inner);
        let has = |stamp| self.packs.proofs().has(&self.pack, stamp, self.offset);
        self.is_proven.store(stamp.is_some_and(has), Ordering::Release);
        *known = Some(Arc::downgrade(&object));
        Ok(object)
    }
}
