//! The manifest rope: a revision's entries, sorted by path, as a Merkle tree of small nodes.
//!
//! The paths of the entries alone decide the tree's shape, so equal entries give equal nodes
//! whatever the history, and a change rewrites only a few nodes. Every reference to a child carries
//! totals and a [`Measure`](freestone_core::Measure) of the entries below it, so that paths, entry
//! numbers and image offsets are all found by descending. A large content is the same kind of tree
//! over its chunks ([`content`]).
//!
//! Nothing here does I/O by itself: nodes are read from a
//! [`NodeSource`](freestone_core::NodeSource) and written to a [`NodeSink`].
//!
//! # Example
//!
//! A manifest is built, one entry is changed, and the two are compared:
//!
//! ```
//! use freestone_core::{Error, Result, digest};
//! use freestone_manifest::{
//!     Builder, Changes, Entry, EntryKind, MemoryNodes, Times, Tree, diff, edit,
//! };
//!
//! fn file(path: &str, bytes: &[u8]) -> Entry {
//!     let (sha1, content) = (digest::sha1(bytes), digest::plain(bytes));
//!     let size = bytes.len() as u64;
//!     let kind = EntryKind::File { executable: false, size, sha1, content };
//!     Entry { kind, ..Entry::directory(path, 0) }
//! }
//!
//! /// A change of one file.
//! struct OneFile(Option<Entry>);
//!
//! impl Changes for OneFile {
//!     fn peek(&mut self) -> Result<Option<(&[u8], bool)>> {
//!         Ok(self.0.as_ref().map(|entry| (&entry.path[..], false)))
//!     }
//!
//!     fn take(&mut self, _before: Option<&Entry>) -> Result<Option<Entry>> {
//!         Ok(self.0.take())
//!     }
//! }
//!
//! // Entries come in manifest order, a directory before its contents.
//! let mut builder = Builder::new(MemoryNodes::default());
//! builder.push(Entry::directory("notes", 0))?;
//! builder.push(file("notes/today", b"hello"))?;
//! let (root, nodes) = builder.finish()?;
//!
//! // Nodes are found by their ids, and entries by their paths.
//! let old = Tree::open(&nodes, &root.id)?;
//! assert_eq!(old.get(b"notes/today")?.and_then(|entry| entry.size()), Some(5));
//!
//! // A change makes a new manifest, which shares all other nodes with the old one.
//! let mut change = OneFile(Some(file("notes/today", b"hello world")));
//! let (root, nodes) = edit(Some(&old), &mut change, nodes.clone())?;
//! let new = Tree::open(&nodes, &root.id)?;
//! let mut changed = Vec::new();
//! diff(&old, &new, Times::Count, &mut |change| {
//!     changed.push(change.path().to_vec());
//!     Ok(())
//! })?;
//! assert_eq!(changed, [b"notes/today"]);
//! # Ok::<(), Error>(())
//! ```

mod build;
pub mod content;
mod cursor;
mod diff;
mod edit;
mod entry;
mod head;
mod memory;
mod node;
mod search;
mod shape;
mod tree;

pub use build::{Builder, NodeSink};
pub use cursor::Cursor;
pub use diff::{Change, Differences, Times, diff};
pub use edit::{Changes, edit};
pub use entry::{Entry, EntryKind, placement_fault};
pub use memory::MemoryNodes;
pub use node::{Items, Node, Subtree, id_offsets, node_position};
pub use search::{Search, Wanted};
pub use tree::{Tree, UnitPosition};
