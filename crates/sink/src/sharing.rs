//! Sharing: a file takes blocks from the packs that store them, instead of writing them again.
//!
//! ```text
//! pack   …[ chunk ][  chunk   ][ chunk ]…      raw, proven, adjacent
//!            |=======================|         whole blocks: cloned (FICLONERANGE)
//! image  …[h][ chunk ][  chunk   ][ chunk ][h]…
//!          ~~                       ~~         what is left of a block at each end: copied
//! ```
//! A run is a range of bytes that are adjacent both in one pack and in the image. It can be cloned
//! if both offsets are congruent modulo the block size; packs and tar images are laid out so for
//! contents of 64 KiB and more. Where the file system cannot clone, bytes that are known to be
//! proven are copied within the kernel (`copy_file_range`), and all others go through memory.

use crate::faults::storage;
use crate::zeros::ZEROS;
use freestone_core::limits::{ALIGNED_CONTENT_BYTES_MIN, BLOCK_BYTES};
use freestone_core::plan::RawPlace;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Id, RawChunks, Result};
use rustix::fs::copy_file_range;
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A way to take runs from the files that store them.
pub(crate) trait Shares: Sync {
    /// Returns true if a chunk that is not known to be proven should be proven in its pack.
    fn proves(&self) -> bool;

    /// Transfers `length` bytes at `from` of `file` to offset `to` of the image.
    fn share(&self, file: BorrowedFd<'_>, from: u64, to: u64, length: u64) -> Result<()>;
}

/// The chunks that one worker meets, gathered into runs.
pub(crate) struct Sharing<'a> {
    with: Option<(&'a dyn RawChunks, &'a dyn Shares)>,
    open: Option<SharedRun>,
    /// Bytes that were hashed to prove them.
    pub(crate) proved: u64,
}

struct SharedRun {
    file: Arc<dyn AsFd + Send + Sync>,
    from: u64,
    to: u64,
    length: u64,
}

impl SharedRun {
    fn is_continued_by(&self, place: &RawPlace, to: u64) -> bool {
        self.from + self.length == place.offset
            && self.to + self.length == to
            && self.file.as_fd().as_raw_fd() == place.file.as_fd().as_raw_fd()
    }
}

impl<'a> Sharing<'a> {
    pub(crate) fn new(raw: Option<&'a dyn RawChunks>, shares: Option<&'a dyn Shares>) -> Self {
        Self { with: raw.zip(shares), open: None, proved: 0 }
    }

    /// Returns true if the chunk `id`, which belongs at `to` of the image, is shared, now or by a
    /// later [`Self::flush`].
    ///
    /// # Errors
    /// The chunk cannot be read, is damaged, or cannot be written.
    pub(crate) fn take(&mut self, to: u64, id: &Id, length: u64) -> Result<bool> {
        let Some((raw, shares)) = self.with else { return Ok(false) };
        // A short chunk may be the end of a long content.
        let continues = self.open.as_ref().is_some_and(|run| run.to + run.length == to);
        if length < ALIGNED_CONTENT_BYTES_MIN && !continues {
            return Ok(false);
        }
        let Some(place) = raw.raw(id, length, shares.proves())? else { return Ok(false) };
        self.proved += place.checked;
        if place.offset % BLOCK_BYTES != to % BLOCK_BYTES {
            return Ok(false);
        }
        match &mut self.open {
            Some(run) if run.is_continued_by(&place, to) => run.length += length,
            _ => {
                self.flush()?;
                self.open = Some(SharedRun { file: place.file, from: place.offset, to, length });
            }
        }
        Ok(true)
    }

    /// Shares the run that was gathered.
    ///
    /// # Errors
    /// The run cannot be written.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match (self.open.take(), self.with) {
            (Some(run), Some((_, shares))) => {
                shares.share(run.file.as_fd(), run.from, run.to, run.length)
            }
            _ => Ok(()),
        }
    }
}

/// Shares blocks with a regular file.
pub(crate) struct Cloning<'a> {
    file: &'a File,
    /// The target, as errors name it.
    path: &'a Path,
    /// Whether the file system can clone, as far as is known.
    clones: AtomicBool,
    shared: AtomicU64,
    copied: AtomicU64,
}

/// The argument of `FICLONERANGE`, as `linux/fs.h` defines it.
#[repr(C)]
struct FileCloneRange {
    src_fd: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

const FICLONERANGE: u32 = opcode::write::<FileCloneRange>(0x94, 13);

impl<'a> Cloning<'a> {
    pub(crate) fn new(file: &'a File, path: &'a Path) -> Self {
        Self {
            file,
            path,
            clones: AtomicBool::new(true),
            shared: AtomicU64::new(0),
            copied: AtomicU64::new(0),
        }
    }

    /// Returns how many bytes are shared, and how many were copied instead.
    pub(crate) fn sums(&self) -> (u64, u64) {
        (self.shared.load(Ordering::Relaxed), self.copied.load(Ordering::Relaxed))
    }

    /// Shares the blocks. Returns false if that is not possible here.
    fn clone_blocks(&self, source: BorrowedFd<'_>, from: u64, to: u64, length: u64) -> bool {
        let range = FileCloneRange {
            src_fd: i64::from(source.as_raw_fd()),
            src_offset: from,
            src_length: length,
            dest_offset: to,
        };
        // SAFETY: FICLONERANGE reads one `file_clone_range` and changes none of our memory. Both
        // descriptors are open, since they are borrowed.
        let cloned = unsafe { ioctl(self.file, Setter::<FICLONERANGE, _>::new(range)) };
        cloned.is_ok()
    }

    fn copy(&self, source: BorrowedFd<'_>, mut from: u64, mut to: u64, length: u64) -> Result<()> {
        let wrong = |errno: Errno| Error::io("content cannot be copied from a pack", errno.into());
        let unwritten =
            |error| storage(self.path, "content cannot be copied to it from a pack", error);
        let mut left = length;
        while left > 0 {
            let (mut of, mut at) = (from, to);
            let copied = match copy_file_range(
                source,
                Some(&mut of),
                self.file,
                Some(&mut at),
                to_usize(left),
            ) {
                // The file was cut off after it was proven.
                Ok(0) => return Err(wrong(Errno::IO)),
                Ok(copied) => copied,
                Err(Errno::INTR) => continue,
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    let mut bytes = vec![0; to_usize(left).min(ZEROS.len())];
                    let count = rustix::io::pread(source, &mut bytes, from).map_err(wrong)?;
                    if count == 0 {
                        return Err(wrong(Errno::IO));
                    }
                    self.file.write_all_at(&bytes[..count], to).map_err(unwritten)?;
                    count
                }
                Err(errno) => return Err(unwritten(errno.into())),
            };
            let copied = copied as u64;
            (from, to, left) = (from + copied, to + copied, left - copied);
        }
        self.copied.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }
}

impl Shares for Cloning<'_> {
    fn proves(&self) -> bool {
        self.clones.load(Ordering::Relaxed)
    }

    fn share(&self, file: BorrowedFd<'_>, from: u64, to: u64, length: u64) -> Result<()> {
        let end = to + length;
        let (first, last) = (to.next_multiple_of(BLOCK_BYTES), end - end % BLOCK_BYTES);
        if first >= last || !self.clones.load(Ordering::Relaxed) {
            return self.copy(file, from, to, length);
        }
        if !self.clone_blocks(file, from + (first - to), first, last - first) {
            self.clones.store(false, Ordering::Relaxed);
            return self.copy(file, from, to, length);
        }
        self.shared.fetch_add(last - first, Ordering::Relaxed);
        self.copy(file, from, to, first - to)?;
        self.copy(file, from + (last - to), last, end - last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_disk_is_that_of_the_target() {
        let mut pack = tempfile::tempfile().unwrap();
        pack.write_all(&[7; 10_000]).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let cloning = Cloning::new(&full, Path::new("/srv/www.img"));
        let error = cloning.share(pack.as_fd(), 0, 0, 10_000).unwrap_err();
        assert_eq!(error.to_string(), "/srv/www.img: there is no room for the image");
        assert!(error.hint_text().unwrap().contains("make room"));
    }
}
