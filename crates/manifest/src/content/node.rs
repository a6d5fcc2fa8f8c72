//! The encoding of a node of a content tree.
//!
//! ```text
//! version 1 | level, 1 for a leaf | extensions | item count | items
//! leaf item:   0 | length            a run of zeros
//!              1 | length | chunk id
//! inner item:  length of the content below it | node id
//! ```

use crate::head;
use freestone_core::limits::CHUNK_BYTES_MAX;
use freestone_core::plan::{ExtentSource, NodeKind, NodeSource};
use freestone_core::{Error, Id, Result};

const ZEROS: u8 = 0;
const CHUNK: u8 = 1;

/// An item of a leaf: a piece of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentItem {
    /// A run of this many zero bytes.
    Zeros(u64),
    /// A chunk: its length in bytes and its id.
    Chunk(u64, Id),
}

impl ContentItem {
    /// Returns its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Zeros(length) | Self::Chunk(length, _) => *length,
        }
    }

    /// Returns the source of its bytes.
    pub fn source(&self) -> ExtentSource {
        match self {
            Self::Zeros(_) => ExtentSource::Zeros,
            Self::Chunk(_, id) => ExtentSource::Chunk(*id),
        }
    }
}

/// A decoded node of a content tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentNode {
    /// A leaf.
    Leaf(Vec<ContentItem>),
    /// An inner node: its level, and the length and id of each child.
    Inner(u8, Vec<(u64, Id)>),
}

impl ContentNode {
    /// Returns the node's level, 1 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 1,
            Self::Inner(level, _) => *level,
        }
    }

    /// Returns the length of the content below the node; `None` if it has more than 64 bits.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Leaf(items) => items.iter().try_fold(0u64, |sum, i| sum.checked_add(i.length())),
            Self::Inner(_, children) => {
                children.iter().try_fold(0u64, |sum, (length, _)| sum.checked_add(*length))
            }
        }
    }

    /// Encodes the node.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leaf(items) => {
                let mut out = head::write(1, items.len());
                for item in items {
                    match item {
                        ContentItem::Zeros(length) => {
                            out.u8(ZEROS);
                            out.varint(*length);
                        }
                        ContentItem::Chunk(length, id) => {
                            out.u8(CHUNK);
                            out.varint(*length);
                            out.id(id);
                        }
                    }
                }
                out.into_bytes()
            }
            Self::Inner(level, children) => {
                let mut out = head::write(*level, children.len());
                for (length, id) in children {
                    out.varint(*length);
                    out.id(id);
                }
                out.into_bytes()
            }
        }
    }

    /// Decodes a node.
    ///
    /// # Errors
    /// The bytes are not a node of a content tree of version 1.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (level, count, mut input) = head::read(bytes, "a content node")?;
        if count == 0 {
            return Err(Error::corrupt("a content node without items"));
        }
        let mut fault = false;
        let node = if level == 1 {
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                let item = match input.u8()? {
                    ZEROS => ContentItem::Zeros(input.varint()?),
                    CHUNK => ContentItem::Chunk(input.varint()?, input.id()?),
                    kind => {
                        return Err(Error::corrupt(format!("a content item of kind {kind}")));
                    }
                };
                fault |= item.length() == 0
                    || matches!(item, ContentItem::Chunk(n, _) if n > CHUNK_BYTES_MAX as u64);
                items.push(item);
            }
            Self::Leaf(items)
        } else {
            let mut children = Vec::with_capacity(count);
            for _ in 0..count {
                let child = (input.varint()?, input.id()?);
                fault |= child.0 == 0;
                children.push(child);
            }
            Self::Inner(level, children)
        };
        input.finish()?;
        if fault {
            return Err(Error::corrupt("a content item that is empty or too long"));
        }
        Ok(node)
    }

    /// Reads the node `id`.
    ///
    /// # Errors
    /// The node cannot be read or is malformed.
    pub fn read<S: NodeSource + ?Sized>(source: &S, id: &Id) -> Result<Self> {
        let bytes = source.node(NodeKind::Content, id)?;
        Self::decode(&bytes).map_err(|error| error.context(format!("content node {id}")))
    }
}
