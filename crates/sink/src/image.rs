//! An image: a plan and the chunks that it names. Both come from elsewhere, so what they give is
//! checked here before anything relies on it.

use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::{ChunkSource, Error, Extent, ExtentSource, Plan, RawChunks, Result};
use std::ops::Range;

/// What a sink takes: the layout of an image and the source of its content.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// Where every byte comes from.
    pub plan: &'a dyn Plan,
    /// Where chunks are had.
    pub chunks: &'a dyn ChunkSource,
    /// Where they lie as they are, for sinks that can share them.
    pub raw: Option<&'a dyn RawChunks>,
}

impl<'a> Image<'a> {
    /// The image that `plan` lays out, of content from `chunks`.
    pub fn new(plan: &'a dyn Plan, chunks: &'a dyn ChunkSource) -> Self {
        Self { plan, chunks, raw: None }
    }

    /// The same image, whose chunks may be shared with the files that have them.
    #[must_use]
    pub fn sharing(self, raw: &'a dyn RawChunks) -> Self {
        Self { raw: Some(raw), ..self }
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) if no file can be as long.
    pub(crate) fn length(&self) -> Result<u64> {
        let length = self.plan.length();
        if i64::try_from(length).is_err() {
            let what = format!("{}: no file or device can hold {length} bytes", self.name());
            return Err(Error::refused(what));
        }
        Ok(length)
    }

    fn name(&self) -> String {
        name(self.plan)
    }
}

fn name<P: Plan + ?Sized>(plan: &P) -> String {
    format!("image {}", plan.identity())
}

/// Gives `each` the extents of `plan` that intersect `range`, as [`Plan::extents`] does, but for
/// what cannot be: a gap, an overlap, an extent past the end, longer than a chunk, or of other
/// bytes than its length says. `range` must lie in the image and not be empty.
///
/// # Errors
/// [`Corrupt`](freestone_core::ErrorKind::Corrupt) if the plan contradicts itself, and what the plan and `each` return.
pub fn extents<P: Plan + ?Sized>(
    plan: &P,
    range: Range<u64>,
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    let wrong = |offset: u64, what: &str| {
        Error::corrupt(format!("{}: at offset {offset} its layout {what}", name(plan)))
    };
    let mut end = None;
    plan.extents(range.clone(), &mut |extent| {
        let continues = match end {
            Some(end) => extent.offset == end,
            None => extent.offset <= range.start,
        };
        if !continues {
            return Err(wrong(extent.offset, "has a gap or an overlap"));
        }
        if extent.end() <= range.start || extent.offset >= range.end {
            return Err(wrong(extent.offset, "gives an extent that was not asked for"));
        }
        if extent.length > plan.length() - extent.offset {
            return Err(wrong(extent.offset, "leaves the image"));
        }
        match &extent.source {
            ExtentSource::Inline(bytes) if bytes.len() as u64 != extent.length => {
                return Err(wrong(extent.offset, "gives other bytes than it says"));
            }
            ExtentSource::Chunk(_) if extent.length > CHUNK_BYTES_MAX as u64 => {
                return Err(wrong(extent.offset, "names a chunk that is longer than chunks are"));
            }
            _ => {}
        }
        end = Some(extent.end());
        each(extent)
    })?;
    if end.is_none_or(|end| end < range.end) {
        return Err(wrong(end.unwrap_or(range.start), "ends too early"));
    }
    Ok(())
}

/// A place in a buffer. Only for what is known to be no longer than a window and a chunk.
pub(crate) fn index(amount: u64) -> usize {
    usize::try_from(amount).expect("a window and a chunk fit in memory")
}
