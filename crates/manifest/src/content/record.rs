//! The record of a content above the chunking threshold.
//!
//! ```text
//! version 1 | chunker 1 | extensions | length | SHA-1 | plain BLAKE3 | level of the top | top
//! ```

use freestone_core::digest::{self, context};
use freestone_core::limits::{CONTENT_WHOLE_BYTES_MAX, ROPE_LEVELS_MAX};
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result, Sha1};

const VERSION: u8 = 1;
/// The number of the chunker of format version 1. A record keeps it, so that a later chunker can be
/// recognised.
pub const CHUNKER: u8 = 1;

/// The record of a content that is cut into chunks. Its hash is the content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRecord {
    /// The chunker that cut it: [`CHUNKER`], or one of a later version. Readers ignore it.
    pub chunker: u8,
    /// The length of the content in bytes.
    pub length: u64,
    /// The SHA-1 of the content.
    pub sha1: Sha1,
    /// The plain BLAKE3 of the content.
    pub blake3: Id,
    /// The level of the tree's top node; 1 if it is a leaf.
    pub level: u8,
    /// The id of the tree's top node.
    pub top: Id,
}

impl ContentRecord {
    /// Encodes the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION);
        out.u8(self.chunker);
        out.string(&[]);
        out.varint(self.length);
        out.sha1(&self.sha1);
        out.id(&self.blake3);
        out.u8(self.level);
        out.id(&self.top);
        out.into_bytes()
    }

    /// Returns the content id.
    pub fn id(&self) -> Id {
        digest::derived(context::CONTENT_RECORD, &self.encode())
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// The bytes are not a content record of version 1.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        input.version(VERSION, "a content record")?;
        let chunker = input.u8()?;
        if chunker == 0 {
            return Err(Error::corrupt("a content record of chunker 0"));
        }
        if !input.extensions()?.is_empty() {
            return Err(Error::newer("a content record with unknown extensions"));
        }
        let record = Self {
            chunker,
            length: input.varint()?,
            sha1: input.sha1()?,
            blake3: input.id()?,
            level: input.u8()?,
            top: input.id()?,
        };
        input.finish()?;
        if record.length <= CONTENT_WHOLE_BYTES_MAX
            || record.level == 0
            || record.level > ROPE_LEVELS_MAX
        {
            return Err(Error::corrupt("a content record of an impossible length or level"));
        }
        Ok(record)
    }

    /// Reads the record of `content`.
    ///
    /// # Errors
    /// The record cannot be read or is malformed.
    pub fn read<S: NodeSource + ?Sized>(source: &S, content: &Id) -> Result<Self> {
        let bytes = source.node(NodeKind::ContentRecord, content)?;
        Self::decode(&bytes).map_err(|error| error.context(format!("content {content}")))
    }
}
