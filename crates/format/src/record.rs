//! Records: what a pack holds.

use freestone_core::digest::{self, context};
use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::plan::NodeKind;
use freestone_core::{Error, Id, Result};

/// What a record is. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// A chunk, named by its plain BLAKE3.
    Chunk,
    /// A node of a content tree.
    ContentNode,
    /// The record of a content above the chunking threshold.
    ContentRecord,
    /// A node of a manifest.
    ManifestNode,
    /// A revision.
    Revision,
    /// Not known to this version; kept without being understood. 128 or more.
    Other(u8),
}

impl RecordKind {
    /// Returns the number of the kind.
    pub fn number(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::ContentNode => 2,
            Self::ContentRecord => 3,
            Self::ManifestNode => 4,
            Self::Revision => 5,
            Self::Other(number) => number,
        }
    }

    /// Returns the kind with the number `number`.
    ///
    /// # Errors
    /// It is unknown and below 128: such kinds must be understood, which takes a later version.
    pub fn of(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Self::Chunk,
            2 => Self::ContentNode,
            3 => Self::ContentRecord,
            4 => Self::ManifestNode,
            5 => Self::Revision,
            128.. => Self::Other(number),
            0 => return Err(Error::corrupt("a record of kind 0")),
            _ => return Err(Error::newer(format!("a record of unknown kind {number}"))),
        })
    }

    /// Returns the id that plain `bytes` of this kind have; `None` where the kind is not known.
    pub fn id_of(self, bytes: &[u8]) -> Option<Id> {
        let context = match self {
            Self::Chunk => return Some(digest::plain(bytes)),
            Self::ContentNode => context::CONTENT_NODE,
            Self::ContentRecord => context::CONTENT_RECORD,
            Self::ManifestNode => context::MANIFEST_NODE,
            Self::Revision => context::REVISION,
            Self::Other(_) => return None,
        };
        Some(digest::derived(context, bytes))
    }

    /// Returns a word for messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::ContentNode => "content node",
            Self::ContentRecord => "content record",
            Self::ManifestNode => "manifest node",
            Self::Revision => "revision",
            Self::Other(_) => "record of a later version",
        }
    }
}

impl From<NodeKind> for RecordKind {
    fn from(kind: NodeKind) -> Self {
        match kind {
            NodeKind::Manifest => Self::ManifestNode,
            NodeKind::Content => Self::ContentNode,
            NodeKind::ContentRecord => Self::ContentRecord,
        }
    }
}

/// How a record's bytes are stored. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
    /// Not at all: they are zeros.
    Zeros,
    /// One zstd frame whose dictionary is the plain bytes of another record, the base.
    ZstdBase,
    /// The same, of all but ids that are stored as references to the pack's table.
    ZstdBaseIds,
}

impl Codec {
    /// Returns the number of the codec.
    pub fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Zeros => 2,
            Self::ZstdBase => 3,
            Self::ZstdBaseIds => 4,
        }
    }

    /// Returns true if it depends on a base.
    pub fn has_base(self) -> bool {
        matches!(self, Self::ZstdBase | Self::ZstdBaseIds)
    }

    /// Returns the codec with the number `number`.
    ///
    /// # Errors
    /// It is unknown, as one of a later version is.
    pub fn of(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::Raw,
            1 => Self::Zstd,
            2 => Self::Zeros,
            3 => Self::ZstdBase,
            4 => Self::ZstdBaseIds,
            _ => return Err(Error::newer(format!("a record of unknown codec {number}"))),
        })
    }
}

/// Checks that stored and plain length of a record can be: plain bytes are bounded, raw ones equal.
///
/// # Errors
/// No record has these lengths.
pub fn check_lengths(codec: Codec, stored: u64, plain: u64) -> Result<()> {
    let possible = match codec {
        Codec::Raw => stored == plain,
        Codec::Zeros => stored == 0,
        // A codec is used only where it saves something; so a length bounds what is allocated.
        Codec::Zstd | Codec::ZstdBase | Codec::ZstdBaseIds => 0 < stored && stored < plain,
    };
    if possible && plain <= CHUNK_BYTES_MAX as u64 {
        Ok(())
    } else {
        Err(Error::corrupt(format!("a record of impossible lengths {stored} and {plain}")))
    }
}

/// Returns the checksum of stored bytes: the first four bytes of their plain BLAKE3. It
/// distinguishes rot from a record that was written wrong; the proof is the id.
pub fn checksum(stored: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = digest::plain(stored).0;
    [a, b, c, d]
}
