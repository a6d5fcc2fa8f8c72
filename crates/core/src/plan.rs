//! The interface between formats and sinks. A format turns a manifest into a [`Plan`], the ordered
//! extents of an image; a sink reads the extents. Neither depends on the other.

use crate::limits::CHUNK_BYTES_MAX;
use crate::{Error, Id, Result};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The origin of an extent's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentSource {
    /// These bytes, such as headers.
    Inline(Vec<u8>),
    /// Zeros.
    Zeros,
    /// A whole chunk.
    Chunk(Id),
}

/// A run of an image's address space with one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The offset in the image at which it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes; never 0.
    pub length: u64,
    /// Where its bytes come from.
    pub source: ExtentSource,
}

impl Extent {
    /// Returns the offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The layout of one image, read a range at a time. It holds no content.
pub trait Plan: Send + Sync {
    /// Returns the length of the image in bytes.
    fn length(&self) -> u64;

    /// Passes every extent that intersects `range` to `each`, in order, without gaps, and whole:
    /// the first may start before the range, and the last may end after it.
    ///
    /// # Errors
    /// A node of the manifest cannot be read, or `each` failed.
    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()>;

    /// Returns a text that identifies the image: format, options and manifest root.
    fn identity(&self) -> String;

    /// Returns the bytes of a sector as the image states them. A device with larger sectors cannot
    /// be read as such an image. `None` if the format has no sectors of its own.
    fn sector_bytes(&self) -> Option<u32> {
        None
    }

    /// Returns sentences about what some of the format's readers cannot do with this image, each
    /// without a full stop. Such an image is still a good one.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the 4096 bytes that replace the image's first 4096 bytes while it is written in
    /// place. They are not a valid image of any format, and say which image is being written.
    fn unfinished_head(&self) -> Vec<u8> {
        unfinished_head(None, &self.identity())
    }
}

/// Returns the 4096 bytes that replace the first 4096 bytes of an image while it is written in
/// place. They are not a valid image of any format; they say which image was there before, if that
/// is known, and which one is being written.
pub fn unfinished_head(from: Option<&str>, to: &str) -> Vec<u8> {
    let was = from.map(|from| format!("it was: {from}\n")).unwrap_or_default();
    let mut head = format!(
        "freestone: this image is unfinished; it is being written to: {to}\n{was}write it again\n"
    )
    .into_bytes();
    head.resize(4096, 0);
    head
}

/// A source of chunks, whose bytes are proven.
pub trait ChunkSource: Send + Sync {
    /// Fills `out` with the plain bytes of chunk `id`, after checking that they hash to `id`. The
    /// length of `out` must be that of the chunk.
    ///
    /// # Errors
    /// The chunk is not there, cannot be read, does not hash to its id, or has another length. Then
    /// the bytes in `out` are undefined.
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()>;

    /// Reads the plain bytes of chunk `id`, of `length` bytes, into `buffer`. The buffer grows if
    /// it is too short and never shrinks, so that it can be used again.
    ///
    /// # Errors
    /// As [`Self::chunk`]; or `length` is more than [`CHUNK_BYTES_MAX`].
    fn chunk_in<'a>(&self, id: &Id, length: u64, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= CHUNK_BYTES_MAX);
        let length = length.ok_or_else(|| {
            Error::corrupt(format!("chunk {id} is longer than {CHUNK_BYTES_MAX} bytes"))
        })?;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        self.chunk(id, &mut buffer[..length])?;
        Ok(&buffer[..length])
    }
}

/// A place in an open file where the plain bytes of a chunk are stored.
#[derive(Clone)]
pub struct RawPlace {
    /// The file.
    pub file: Arc<dyn AsFd + Send + Sync>,
    /// The offset in the file at which they start.
    pub offset: u64,
    /// The number of bytes that were read and hashed for this answer: 0 if an earlier proof was
    /// used.
    pub checked: u64,
}

/// A source that knows in which files the plain bytes of chunks are. A sink can then share them
/// with that file by reflink, or send them from there, instead of copying them. It is optional.
pub trait RawChunks: Send + Sync {
    /// Returns the place of the bytes of chunk `id`, which has `length` bytes. The place is
    /// *proven*:
    /// its bytes were hashed to `id`, and the file has not changed since. An earlier proof is
    /// enough; if there is none and `prove` is true, the bytes are read and hashed now.
    ///
    /// Returns `None` if the plain bytes of the chunk are not in a file, or are not proven.
    ///
    /// # Errors
    /// The bytes cannot be read, or do not hash to the id.
    fn raw(&self, id: &Id, length: u64, prove: bool) -> Result<Option<RawPlace>>;
}

/// The kind of node that a [`NodeSource`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// A node of a manifest.
    Manifest,
    /// A node of a content tree.
    Content,
    /// The record of a content above the chunking threshold.
    ContentRecord,
}

impl NodeKind {
    /// Returns the `derive_key` context that such nodes are hashed with.
    pub fn context(self) -> &'static str {
        use crate::digest::context;
        match self {
            Self::Manifest => context::MANIFEST_NODE,
            Self::Content => context::CONTENT_NODE,
            Self::ContentRecord => context::CONTENT_RECORD,
        }
    }
}

/// A source of encoded nodes, whose bytes are proven.
pub trait NodeSource: Send + Sync {
    /// Returns the bytes of node `id`, after checking that they hash to `id` in the context of
    /// `kind`.
    ///
    /// # Errors
    /// The node is not there ([`Missing`](crate::ErrorKind::Missing)), cannot be read, or does not
    /// hash to its id.
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>>;
}

impl<T: NodeSource + ?Sized> NodeSource for &T {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        (**self).node(kind, id)
    }
}

impl<T: NodeSource + ?Sized> NodeSource for Arc<T> {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        (**self).node(kind, id)
    }
}

impl<T: ChunkSource + ?Sized> ChunkSource for &T {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        (**self).chunk(id, out)
    }
}

impl<T: ChunkSource + ?Sized> ChunkSource for Arc<T> {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        (**self).chunk(id, out)
    }
}

impl<T: RawChunks + ?Sized> RawChunks for &T {
    fn raw(&self, id: &Id, length: u64, prove: bool) -> Result<Option<RawPlace>> {
        (**self).raw(id, length, prove)
    }
}

impl<T: RawChunks + ?Sized> RawChunks for Arc<T> {
    fn raw(&self, id: &Id, length: u64, prove: bool) -> Result<Option<RawPlace>> {
        (**self).raw(id, length, prove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    /// Chunks whose bytes depend on their lengths alone.
    struct Lengths;

    impl ChunkSource for Lengths {
        fn chunk(&self, _: &Id, out: &mut [u8]) -> Result<()> {
            let length = u8::try_from(out.len() % 251).unwrap_or(0);
            out.fill(length);
            Ok(())
        }
    }

    #[test]
    fn a_buffer_serves_again_and_no_chunk_is_longer_than_chunks_are() {
        let id = digest::plain(b"");
        let mut buffer = Vec::new();
        for length in [7, 4000, 20, CHUNK_BYTES_MAX as u64, 0, 3] {
            let bytes = Lengths.chunk_in(&id, length, &mut buffer).unwrap();
            assert_eq!(bytes.len() as u64, length);
            assert!(bytes.iter().all(|byte| u64::from(*byte) == length % 251));
        }
        assert_eq!(buffer.len(), CHUNK_BYTES_MAX);
        for length in [CHUNK_BYTES_MAX as u64 + 1, u64::MAX] {
            assert!(Lengths.chunk_in(&id, length, &mut buffer).is_err());
        }
        assert_eq!(buffer.len(), CHUNK_BYTES_MAX);
    }
}
