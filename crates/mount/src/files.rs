//! The bytes of open files: images, and files of trees.

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

/// A file of a tree, as a plan of its content.
pub(crate) struct FilePlan {
    /// The tree that the file is in.
    pub(crate) tree: Arc<RevisionTree>,
    /// The file's content id.
    pub(crate) content: Id,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its SHA-1.
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

/// Fills `out` with the bytes of `plan` from `offset` on, and returns how many there are.
///
/// # Errors
/// A chunk or a node cannot be read, or is damaged.
pub(crate) fn read(
    plan: &dyn Plan,
    revisions: &dyn Revisions,
    cache: &ChunkCache,
    offset: u64,
    out: &mut [u8],
) -> Result<usize> {
    sink::read_at(plan, offset, out, &mut |id, length, part, out| {
        // A chunk that is stored raw is proven once; then only the wanted part is read from there.
        if let Some(raw) = revisions.raw()
            && let Some(place) = cache.one_at_a_time(id, |prove| raw.raw(id, length, prove))?
            && pread(place.file.as_fd(), place.offset + part.start, out).is_ok()
        {
            return Ok(());
        }
        // There may be another copy; if not, this reports what is wrong with the raw one.
        let chunks = revisions.chunks();
        // A chunk that is read completely is not needed again.
        if part == (0..length) {
            return chunks.chunk(id, out);
        }
        copy(&cache.chunk(chunks, id, length)?, part, out, id)
    })
}

/// Copies the bytes `part` of chunk `id` into `out`.
fn copy(bytes: &[u8], part: Range<u64>, out: &mut [u8], id: &Id) -> Result<()> {
    match bytes.get(to_usize(part.start)..to_usize(part.end)) {
        Some(bytes) if bytes.len() == out.len() => out.copy_from_slice(bytes),
        _ => {
            return Err(Error::corrupt(format!(
                "chunk {id} is {} bytes long, not as long as its extent",
                bytes.len()
            )));
        }
    }
    Ok(())
}

/// Fills `out` with the bytes of `file` from `offset` on.
fn pread(file: BorrowedFd<'_>, mut offset: u64, mut out: &mut [u8]) -> Result<(), Errno> {
    while !out.is_empty() {
        match rustix::io::pread(file, &mut *out, offset) {
            // The file was truncated after it was proven.
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
