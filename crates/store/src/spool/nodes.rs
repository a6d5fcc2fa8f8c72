//! Nodes of a manifest, or of content trees, in a temporary file.
//!
//! ```text
//! spool:  kind u8 | length u32 | node …
//! index:  (first 8 bytes of the id, offset in the spool), sorted: 16 bytes a node
//! ```

use super::{Spool, Spooled};
use freestone_core::digest;
use freestone_core::limits::NODE_BYTES_MAX;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Error, Id, Result};
use freestone_manifest::NodeSink;
use std::sync::Arc;

/// Kind and length.
const HEADER_BYTES: usize = 5;

fn kind_byte(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::Manifest => 0,
        NodeKind::Content => 1,
        NodeKind::ContentRecord => 2,
    }
}

/// A sink of nodes.
pub struct NodeSpool {
    spool: Spool,
    index: Vec<(u64, u64)>,
}

impl NodeSpool {
    /// Creates an empty one.
    ///
    /// # Errors
    /// No temporary file can be made.
    pub fn new() -> Result<Self> {
        Ok(Self { spool: Spool::new()?, index: Vec::new() })
    }

    /// Ends writing, so that the nodes can be read.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn finish(mut self) -> Result<SpooledNodes> {
        self.index.sort_unstable();
        self.index.shrink_to_fit();
        Ok(SpooledNodes { spooled: self.spool.finish()?, index: self.index })
    }
}

impl NodeSink for NodeSpool {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        let too_long = || Error::refused(format!("node {id} is too long"));
        let length = u32::try_from(bytes.len()).map_err(|_| too_long())?;
        let mut header = [kind_byte(kind); HEADER_BYTES];
        header[1..].copy_from_slice(&length.to_le_bytes());
        let offset = self.spool.append(&header)?;
        self.spool.append(bytes)?;
        self.index.push((id.head(), offset));
        Ok(())
    }
}

/// A source of the nodes, each proven by its hash.
pub struct SpooledNodes {
    spooled: Spooled,
    index: Vec<(u64, u64)>,
}

impl SpooledNodes {
    /// Returns the bytes of a node, if it is there.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn find(&self, kind: NodeKind, id: &Id) -> Result<Option<Arc<[u8]>>> {
        let first = self.index.partition_point(|(head, _)| *head < id.head());
        let candidates = self.index[first..].iter().take_while(|(head, _)| *head == id.head());
        for (_, offset) in candidates {
            let mut header = [0; HEADER_BYTES];
            self.spooled.read(*offset, &mut header)?;
            let [stored_kind, length @ ..] = header;
            let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if stored_kind != kind_byte(kind) || length > NODE_BYTES_MAX {
                continue;
            }
            let mut bytes = vec![0; length];
            self.spooled.read(offset + HEADER_BYTES as u64, &mut bytes)?;
            if digest::derived(kind.context(), &bytes) == *id {
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }
}

impl NodeSource for SpooledNodes {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        self.find(kind, id)?.ok_or_else(|| {
            Error::corrupt(format!("node {id} in a temporary file is missing or damaged"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_manifest::{Builder, Entry, Tree};

    #[test]
    fn a_manifest_built_in_a_spool_is_read_back() {
        let mut builder = Builder::new(NodeSpool::new().unwrap());
        for number in 0..10_000 {
            builder.push(Entry::directory(format!("{number:05}"), number)).unwrap();
        }
        let (root, nodes) = builder.finish().unwrap();
        let tree = Tree::open(nodes.finish().unwrap(), &root.id).unwrap();
        let mut cursor = tree.cursor();
        for number in 0..10_000 {
            let entry = cursor.next().unwrap().unwrap();
            assert_eq!(
                (entry.path.as_slice(), entry.mtime),
                (format!("{number:05}").as_bytes(), number)
            );
        }
        assert!(cursor.next().unwrap().is_none());
        let missing = tree.source().node(NodeKind::Manifest, &Id([0; 32])).unwrap_err();
        assert_eq!(missing.kind(), freestone_core::ErrorKind::Corrupt);
        assert!(tree.source().node(NodeKind::Content, &root.id).is_err(), "of another kind");
    }
}
