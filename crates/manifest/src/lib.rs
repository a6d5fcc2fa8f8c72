//! The manifest rope: a revision's entries, sorted by path, as a Merkle tree of small nodes.
//!
//! The tree's shape is a function of the entries' paths alone, so equal content gives equal nodes
//! whatever the history, and a change rewrites a handful of nodes. Every reference to a child
//! carries totals and a [`Measure`](freestone_core::Measure) of what is below it, so that image
//! offsets, positions and paths are all found by descending. Large contents are described by the
//! same kind of tree over their chunks ([`content`]).
//!
//! Everything here is pure over a [`NodeSource`](freestone_core::NodeSource) to read from and a
//! [`NodeSink`] to write to.

mod build;
pub mod content;
mod cursor;
mod diff;
mod edit;
mod entry;
mod head;
mod memory;
mod node;
mod shape;
mod tree;

pub use build::{Builder, NodeSink};
pub use cursor::Cursor;
pub use diff::{Change, Differences, Times, diff};
pub use edit::{Changes, edit};
pub use entry::{Entry, EntryKind, placement_fault};
pub use memory::MemoryNodes;
pub use node::{Items, Node, Subtree, id_offsets, node_position};
pub use tree::{Tree, UnitPosition};
