//! An image: a plan and the chunks that it names. Both come from outside this crate, so [`extents`]
//! checks what they return.

use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::{ChunkSource, Error, Extent, ExtentSource, Plan, RawChunks, Result};
use std::ops::Range;

/// An image as a sink takes it: the layout, and the source of the content.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The layout: the source of every byte.
    pub plan: &'a dyn Plan,
    /// The source of the chunks.
    pub chunks: &'a dyn ChunkSource,
    /// Finds chunks that are stored raw, for sinks that can share them.
    pub raw: Option<&'a dyn RawChunks>,
}

impl<'a> Image<'a> {
    /// Creates the image that `plan` lays out, with content from `chunks`.
    pub fn new(plan: &'a dyn Plan, chunks: &'a dyn ChunkSource) -> Self {
        Self { plan, chunks, raw: None }
    }

    /// Returns the same image, whose chunks may be shared with the files that store them.
    #[must_use]
    pub fn sharing(self, raw: &'a dyn RawChunks) -> Self {
        Self { raw: Some(raw), ..self }
    }

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) if files cannot be that long.
    pub(crate) fn length(&self) -> Result<u64> {
        let length = self.plan.length();
        if i64::try_from(length).is_err() {
            let what = format!("{}: files and devices cannot hold {length} bytes", self.name());
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

/// Calls `each` for the extents of `plan` that intersect `range`, as [`Plan::extents`] does, and
/// checks them. It refuses a gap, an overlap, an extent past the end or longer than a chunk, and
/// one whose bytes do not have its length. `range` must lie in the image and not be empty.
///
/// # Errors
/// [`Corrupt`](freestone_core::ErrorKind::Corrupt) if the plan contradicts itself, and the errors
/// of the plan and of `each`.
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
            return Err(wrong(extent.offset, "has an extent outside the requested range"));
        }
        if extent.length > plan.length() - extent.offset {
            return Err(wrong(extent.offset, "extends past the end of the image"));
        }
        match &extent.source {
            ExtentSource::Inline(bytes) if bytes.len() as u64 != extent.length => {
                return Err(wrong(extent.offset, "has bytes of another length than it says"));
            }
            ExtentSource::Chunk(_) if extent.length > CHUNK_BYTES_MAX as u64 => {
                return Err(wrong(
                    extent.offset,
                    "names a chunk that is longer than any chunk can be",
                ));
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
