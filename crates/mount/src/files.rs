//! The bytes of what is opened: images, and files of trees.

use crate::cache::ChunkCache;
use crate::revisions::{RevisionTree, Revisions};
use freestone_core::wire::to_usize;
use freestone_core::{Error, Extent, Id, Plan, Result, Sha1};
use freestone_manifest::content;
use freestone_sink as sink;
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The content of a file of a tree, as a plan.
pub(crate) struct FilePlan {
    pub(crate) tree: Arc<RevisionTree>,
    pub(crate) content: Id,
    pub(crate) size: u64,
    pub(crate) sha1: Sha1,
}

impl Plan for FilePlan {
    fn length(&self) -> u64 {
        self.size
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let Self { tree, content, size, sha1 } = self;
        content::pieces(tree.source(), content, *size, Some(sha1), range, each)
    }

    fn identity(&self) -> String {
        format!("content {}", self.content)
    }
}

/// Fills `out` from `offset` on; gives how many bytes there are.
///
/// # Errors
/// What is there cannot be read, or is damaged.
pub(crate) fn read(
    plan: &dyn Plan,
    revisions: &dyn Revisions,
    cache: &ChunkCache,
    offset: u64,
    out: &mut [u8],
) -> Result<usize> {
    sink::read_at(plan, offset, out, &mut |id, length, part, out| {
        // What lies as it is, is proven once and then read from there, no more than is wanted.
        if let Some(raw) = revisions.raw()
            && let Some(place) = cache.one_at_a_time(id, |prove| raw.raw(id, length, prove))?
            && pread(place.file.as_fd(), place.offset + part.start, out).is_ok()
        {
            return Ok(());
        }
        // There may be another copy; else this says what is wrong with that one.
        let chunks = revisions.chunks();
        // Nobody comes back for the rest of what is read whole.
        if part == (0..length) {
            return chunks.chunk(id, out);
        }
        copy(&cache.chunk(chunks, id, length)?, part, out, id)
    })
}

fn copy(bytes: &[u8], part: Range<u64>, out: &mut [u8], id: &Id) -> Result<()> {
    match bytes.get(to_usize(part.start)..to_usize(part.end)) {
        Some(bytes) if bytes.len() == out.len() => out.copy_from_slice(bytes),
        _ => return Err(Error::corrupt(format!("chunk {id}: {} bytes came", bytes.len()))),
    }
    Ok(())
}

fn pread(file: BorrowedFd<'_>, mut offset: u64, mut out: &mut [u8]) -> Result<(), Errno> {
    while !out.is_empty() {
        match rustix::io::pread(file, &mut *out, offset) {
            // Cut off since it was proven.
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                out = &mut out[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
