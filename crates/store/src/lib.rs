//! The store: contents kept once across all revisions, proven when they are read.
//!
//! A [`Store`] is a directory (or whatever else a [`Backend`](freestone_backend::Backend) keeps) of immutable
//! objects. Packs hold the records and are the truth; index segments are derived from them;
//! revisions and refs name what they hold. [`Records`] reads. The crate `freestone-push` writes
//! revisions, and `freestone-maintain` looks after a store.

pub mod hints;
pub mod index;
mod proven;
pub mod read;
mod refs;
mod resolve;
pub mod revisions;
pub mod spool;
mod store;
pub mod table;
pub mod upstream;
#[doc(hidden)]
pub mod write;

pub use index::{Index, LiveSegment, Place};
pub use read::{FoundContent, Packs, RawRun, Records, RunPart};
pub use refs::{Expect, Refs};
pub use resolve::Resolved;
pub use store::Store;
pub use table::read_table;
