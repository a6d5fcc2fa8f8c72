//! The seam between formats and sinks: a format turns a manifest into a [`Plan`], the ordered
//! extents of an image; a sink reads the extents. Neither knows of the other.

use crate::limits::CHUNK_BYTES_MAX;
use crate::{Error, Id, Result};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Where the bytes of an extent come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentSource {
    /// These bytes: headers and the like.
    Inline(Vec<u8>),
    /// Zeros.
    Zeros,
    /// A whole chunk.
    Chunk(Id),
}

/// A run of an image's address space with one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the image it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes; never 0.
    pub length: u64,
    /// Where its bytes come from.
    pub source: ExtentSource,
}

impl Extent {
    /// The offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The layout of one image, asked for a range at a time. It holds no content.
pub trait Plan: Send + Sync {
    /// The length of the image in bytes.
    fn length(&self) -> u64;

    /// Gives `each`, in order and without gaps, every extent that intersects `range`, whole:
    /// the first may start before the range, the last may end after it.
    ///
    /// # Errors
    /// What reading the manifest's nodes gives, and what `each` returns.
    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()>;

    /// What identifies the image, in words: format, options and manifest root.
    fn identity(&self) -> String;

    /// The 4096 bytes that stand in the place of the image's first 4096 while it is being
    /// written in place: not a valid image of any format, and saying what it will become.
    fn unfinished_head(&self) -> Vec<u8> {
        unfinished_head(None, &self.identity())
    }
}

/// What stands in the place of the first 4096 bytes of an image while it is being written in
/// place: not a valid image of any format, and saying what it was, where that is known, and what
/// it will become.
pub fn unfinished_head(from: Option<&str>, to: &str) -> Vec<u8> {
    let was = from.map(|from| format!("it was: {from}\n")).unwrap_or_default();
    let mut head = format!(
        "freestone: this image is unfinished; it is being written to: {to}\n{was}write it again\n"
    )
    .into_bytes();
    head.resize(4096, 0);
    head
}

/// Gives the bytes of chunks, proven.
pub trait ChunkSource: Send + Sync {
    /// Fills `out` with the plain bytes of chunk `id`, which are as long and were checked to hash
    /// to `id`.
    ///
    /// # Errors
    /// The chunk is not there, cannot be read, or is not what its id says, or not as long. `out`
    /// holds anything then.
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()>;

    /// The plain bytes of chunk `id`, which are `length` long, in `buffer`; that grows as it has
    /// to and does not shrink, so that it can serve again.
    ///
    /// # Errors
    /// As [`Self::chunk`]; or no chunk is as long.
    fn chunk_in<'a>(&self, id: &Id, length: u64, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= CHUNK_BYTES_MAX);
        let length = length
            .ok_or_else(|| Error::corrupt(format!("chunk {id} is longer than chunks are")))?;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        self.chunk(id, &mut buffer[..length])?;
        Ok(&buffer[..length])
    }
}

/// Where bytes lie as they are, in a file that is open.
#[derive(Clone)]
pub struct RawPlace {
    /// The file.
    pub file: Arc<dyn AsFd + Send + Sync>,
    /// Where in it they start.
    pub offset: u64,
    /// How many bytes were read and hashed to answer: 0 where the proof was remembered.
    pub checked: u64,
}

/// Says where chunks lie as they are, proven, so that a sink can share them with the file that
/// has them, or send them from there, instead of copying them. What knows nothing of files need
/// not offer it.
pub trait RawChunks: Send + Sync {
    /// Where the bytes of chunk `id` lie, which are `length` long: *proven*, that is they were
    /// hashed to `id`, and the file was not changed since. A proof that is remembered will do; if
    /// there is none, the bytes are read and hashed now if `prove` says so.
    ///
    /// `None` if the chunk does not lie anywhere as it is, or is not proven.
    ///
    /// # Errors
    /// It cannot be read, or is not what its id says.
    fn raw(&self, id: &Id, length: u64, prove: bool) -> Result<Option<RawPlace>>;
}

/// Which kind of node a [`NodeSource`] is asked for.
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
    /// The `derive_key` context that such nodes are hashed with.
    pub fn context(self) -> &'static str {
        use crate::digest::context;
        match self {
            Self::Manifest => context::MANIFEST_NODE,
            Self::Content => context::CONTENT_NODE,
            Self::ContentRecord => context::CONTENT_RECORD,
        }
    }
}

/// Gives the encoded bytes of nodes, proven.
pub trait NodeSource: Send + Sync {
    /// Returns the bytes of node `id`, which were checked to hash to `id` in the context of `kind`.
    ///
    /// # Errors
    /// The node is not there ([`Missing`](crate::ErrorKind::Missing)), cannot be read, or is not what its id says.
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

    /// Every chunk is of bytes that its length tells.
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
