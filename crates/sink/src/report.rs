//! What taking an image came to.

use freestone_core::Id;

/// What taking an image came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkReport {
    /// The length of the image in bytes.
    pub length: u64,
    /// Bytes of it that were really written.
    pub written: u64,
    /// Bytes of it that are zeros and were not written: holes of a file, ranges that a device
    /// was told to zero.
    pub zeros: u64,
    /// Bytes of it that share the blocks of the store's packs.
    pub shared: u64,
    /// Bytes of the target that were read, to compare them.
    pub read: u64,
    /// Bytes that were hashed now, so that they are what their chunks' ids say.
    pub checked: u64,
    /// Chunks that were fetched, each as often as it occurs.
    pub chunks: u64,
    /// The bytes of these chunks.
    pub chunk_bytes: u64,
    /// The digests, if [`Control::digest`] asked for them.
    pub digests: Option<Digests>,
}

/// What `b3sum` and `sha256sum` print of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Its length in bytes.
    pub length: u64,
    /// Its plain BLAKE3.
    pub blake3: Id,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// What producing an image came to.
#[derive(Default)]
pub(crate) struct Produced {
    /// Chunks fetched.
    pub chunks: u64,
    /// Bytes of them.
    pub chunk_bytes: u64,
    /// Bytes that were hashed where they lie, and not fetched.
    pub proved: u64,
    /// The digests, if they were asked for.
    pub digests: Option<Digests>,
}
