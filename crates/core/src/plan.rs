//! The seam between formats and sinks: a format turns a manifest into a [`Plan`], the ordered
//! extents of an image; a sink reads the extents. Neither knows of the other.

use crate::{Id, Result};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Where the bytes of an extent come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
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
    pub source: Source,
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
    /// Replaces what `out` holds by the plain bytes of chunk `id`, which are `length` long and
    /// were checked to hash to `id`.
    ///
    /// # Errors
    /// The chunk is not there, cannot be read, or is not what its id says.
    fn chunk(&self, id: &Id, length: u64, out: &mut Vec<u8>) -> Result<()>;
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
    /// The bytes of node `id`, which were checked to hash to `id` in the context of `kind`.
    ///
    /// # Errors
    /// The node is not there, cannot be read, or is not what its id says.
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
    fn chunk(&self, id: &Id, length: u64, out: &mut Vec<u8>) -> Result<()> {
        (**self).chunk(id, length, out)
    }
}

impl<T: ChunkSource + ?Sized> ChunkSource for Arc<T> {
    fn chunk(&self, id: &Id, length: u64, out: &mut Vec<u8>) -> Result<()> {
        (**self).chunk(id, length, out)
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
