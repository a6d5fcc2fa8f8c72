//! The report of a sink that took an image.

use freestone_core::Id;

/// The amounts of work that taking an image needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkReport {
    /// The length of the image in bytes.
    pub length: u64,
    /// Bytes of the image that were written.
    pub written: u64,
    /// Bytes of the image that are zeros and were not written: holes of a file, or ranges that a
    /// device zeroed by a command.
    pub zeros: u64,
    /// Bytes of the image that share blocks with the store's packs.
    pub shared: u64,
    /// Bytes of the target that were read to compare them.
    pub read: u64,
    /// Bytes that were hashed now, so that they are proven to match their chunks' ids.
    pub checked: u64,
    /// Chunks that were fetched. A chunk counts each time that it occurs.
    pub chunks: u64,
    /// The bytes of these chunks.
    pub chunk_bytes: u64,
    /// The digests, if [`Control::digest`](crate::Control::digest) asked for them.
    pub digests: Option<Digests>,
}

/// The digests that `b3sum` and `sha256sum` print of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Its length in bytes.
    pub length: u64,
    /// Its plain BLAKE3.
    pub blake3: Id,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// The amounts of work that producing an image needed.
#[derive(Default)]
pub(crate) struct Produced {
    /// Chunks that were fetched.
    pub chunks: u64,
    /// The bytes of these chunks.
    pub chunk_bytes: u64,
    /// Bytes that were hashed in their pack, and not fetched.
    pub proved: u64,
    /// The digests, if they were asked for.
    pub digests: Option<Digests>,
}
