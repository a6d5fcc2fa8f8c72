//! The store: contents kept once across all revisions, proven when they are read.
//!
//! A [`Store`] is a directory (or whatever else a [`Backend`](freestone_backend::Backend) keeps) of immutable
//! objects. Packs hold the records and are the truth; index segments are derived from them;
//! revisions and refs name what they hold. [`Store::push`] writes; [`Records`] reads.

mod bases;
mod codec;
pub mod compact;
mod content;
pub mod copy;
mod hints;
mod index;
mod lane;
mod listing;
mod merge;
mod packs;
mod proofs;
mod proven;
pub mod push;
mod raw;
mod records;
mod refs;
mod reindex;
mod resolve;
mod session;
mod similar;
pub mod spool;
mod stats;
mod store;
mod table;
pub mod upstream;
pub mod verify;

pub use content::FoundContent;
pub use index::{Index, LiveSegment, Place};
pub use packs::Packs;
pub use raw::{RawRun, RunPart};
pub use records::Records;
pub use refs::{Expect, Refs};
pub use reindex::Reindexed;
pub use resolve::Resolved;
pub use stats::{RecordSum, Stats};
pub use store::Store;
pub use table::read_table;
