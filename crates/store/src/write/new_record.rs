//! A record that is to be written to a lane.

use super::bases::BasePlace;
use super::encoding::Encoded;
use freestone_core::limits::ALIGNED_CONTENT_BYTES_MIN;
use freestone_core::{Id, Sha1};
use freestone_format::record::{Codec, RecordKind, checksum};

/// A record as it is to be stored.
pub struct NewRecord<'a> {
    pub kind: RecordKind,
    pub id: Id,
    pub codec: Codec,
    pub stored: &'a [u8],
    pub plain: u64,
    /// For a chunk that is stored as it is and may be shared by reflink: where in its content it
    /// starts.
    pub content_offset: Option<u64>,
    /// For the record that a content is found by: the content's SHA-1 and plain BLAKE3.
    pub sha1: Option<(Sha1, Id)>,
    /// The base, if the codec has one.
    pub base: Option<BasePlace>,
}

impl<'a> NewRecord<'a> {
    /// Returns the record `id` of `plain` bytes, which is stored as `encoded`. A chunk is taken as
    /// a whole content.
    pub fn new(kind: RecordKind, id: Id, plain: u64, encoded: &'a Encoded<'_>) -> Self {
        let is_aligned = kind == RecordKind::Chunk
            && encoded.codec == Codec::Raw
            && plain >= ALIGNED_CONTENT_BYTES_MIN;
        Self {
            kind,
            id,
            codec: encoded.codec,
            stored: &encoded.stored,
            plain,
            content_offset: is_aligned.then_some(0),
            sha1: None,
            base: encoded.base.clone(),
        }
    }

    /// Returns a chunk of a content of several chunks, in which it starts at `offset`.
    pub fn part(id: Id, plain: u64, offset: u64, encoded: &'a Encoded<'_>) -> Self {
        let content_offset = (encoded.codec == Codec::Raw).then_some(offset);
        Self { content_offset, ..Self::new(RecordKind::Chunk, id, plain, encoded) }
    }

    /// Adds the SHA-1 and the plain BLAKE3 of the content that is found by this record.
    #[must_use]
    pub fn named(self, sha1: Option<(Sha1, Id)>) -> Self {
        Self { sha1, ..self }
    }

    /// Returns the checksum of the stored bytes. It is the beginning of their plain BLAKE3, and
    /// that is the id of a chunk that is stored as it is: half of what a push writes need not be
    /// hashed again while other threads wait for the lane.
    pub(super) fn checksum(&self) -> [u8; 4] {
        match (self.kind, self.codec) {
            (RecordKind::Chunk, Codec::Raw) => {
                let [a, b, c, d, ..] = self.id.0;
                [a, b, c, d]
            }
            _ => checksum(self.stored),
        }
    }
}
