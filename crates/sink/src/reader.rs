//! Reading any part of an image, for servers that do not write it anywhere.

use crate::image::extents;
use freestone_core::wire::to_usize;
use freestone_core::{ChunkSource, ExtentSource, Id, Plan, Result, lock};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex};

/// How many chunks a reader keeps, 16 MiB at most. A few clients that read in small steps, each in
/// another large file, fetch every chunk only once.
const CHUNKS_MAX: usize = 4;

/// Reads part of a chunk. The arguments are the chunk's id, its whole length, the part that is
/// wanted, and the buffer to fill with it. See [`read_at`].
pub type ReadPart<'a> = dyn FnMut(&Id, u64, Range<u64>, &mut [u8]) -> Result<()> + 'a;

/// Fills `out` with the bytes from `offset` on of the image that `plan` lays out. Returns how many
/// these are: fewer than `out` takes only at the image's end, and none after it. Parts of chunks
/// are read by `part`, so that the caller can have its own cache.
///
/// # Errors
/// Those of the plan and of `part`. The content of `out` is arbitrary then.
pub fn read_at<P: Plan + ?Sized>(
    plan: &P,
    offset: u64,
    out: &mut [u8],
    part: &mut ReadPart<'_>,
) -> Result<usize> {
    let left = plan.length().saturating_sub(offset);
    let count = out.len().min(to_usize(left));
    if count == 0 {
        return Ok(0);
    }
    let range = offset..offset + count as u64;
    extents(plan, range.clone(), &mut |extent| {
        let (start, end) = (extent.offset.max(range.start), extent.end().min(range.end));
        let out = &mut out[to_usize(start - offset)..to_usize(end - offset)];
        let wanted = start - extent.offset..end - extent.offset;
        match &extent.source {
            ExtentSource::Zeros => out.fill(0),
            ExtentSource::Inline(bytes) => {
                out.copy_from_slice(&bytes[to_usize(wanted.start)..to_usize(wanted.end)]);
            }
            ExtentSource::Chunk(id) => part(id, extent.length, wanted, out)?,
        }
        Ok(())
    })?;
    Ok(count)
}

/// A reader of an image, which several threads may use at once.
///
/// `P` refers to a plan, as `&P`, `Arc<P>` and `Box<dyn Plan>` do.
pub struct ImageReader<P, C> {
    plan: P,
    chunks: C,
    position: u64,
    /// The chunks of which parts were read last, the latest at the end.
    recent: Mutex<Vec<(Id, Arc<Vec<u8>>)>>,
}

impl<P: Deref<Target: Plan>, C: ChunkSource> ImageReader<P, C> {
    /// Creates a reader at the start of the image that `plan` lays out.
    pub fn new(plan: P, chunks: C) -> Self {
        Self { plan, chunks, position: 0, recent: Mutex::new(Vec::with_capacity(CHUNKS_MAX)) }
    }

    /// Returns the layout that is read.
    pub fn plan(&self) -> &P::Target {
        &self.plan
    }

    /// Returns the length of the image in bytes.
    pub fn length(&self) -> u64 {
        self.plan.length()
    }

    /// Fills `out` with the bytes from `offset` on. Returns how many these are: fewer than `out`
    /// takes only at the image's end, and none after it.
    ///
    /// # Errors
    /// Those of the plan and of the chunk source. The content of `out` is arbitrary then.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        read_at(&*self.plan, offset, out, &mut |id, length, part, out| {
            let part = to_usize(part.start)..to_usize(part.end);
            if let Some(chunk) = self.recent(id, length) {
                out.copy_from_slice(&chunk[part]);
                return Ok(());
            }
            // A client that reads a part will probably read the rest soon; one that reads the whole
            // will not.
            if out.len() as u64 == length {
                return self.chunks.chunk(id, out);
            }
            let mut fetched = Vec::new();
            out.copy_from_slice(&self.chunks.chunk_in(id, length, &mut fetched)?[part]);
            self.keep(*id, fetched);
            Ok(())
        })
    }

    fn recent(&self, id: &Id, length: u64) -> Option<Arc<Vec<u8>>> {
        let mut recent = lock(&self.recent);
        let at = recent.iter().position(|(kept, _)| kept == id)?;
        let kept = recent.remove(at);
        let chunk = Arc::clone(&kept.1);
        recent.push(kept);
        (chunk.len() as u64 == length).then_some(chunk)
    }

    fn keep(&self, id: Id, mut chunk: Vec<u8>) {
        chunk.shrink_to_fit();
        let mut recent = lock(&self.recent);
        recent.retain(|(kept, _)| *kept != id);
        if recent.len() == CHUNKS_MAX {
            recent.remove(0);
        }
        recent.push((id, Arc::new(chunk)));
    }
}

impl<P: Deref<Target: Plan>, C: ChunkSource> Read for ImageReader<P, C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(self.position, out).map_err(io::Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<P: Deref<Target: Plan>, C: ChunkSource> Seek for ImageReader<P, C> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.length().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "an offset before the image's start")
        })?;
        Ok(self.position)
    }
}
