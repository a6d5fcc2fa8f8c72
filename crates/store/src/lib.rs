//! The store: contents kept once across all revisions, proven when they are read.
//!
//! A [`Store`] is a directory (or whatever else a [`Backend`](freestone_backend::Backend) keeps) of immutable
//! objects. Packs hold the records and are the truth; index segments are derived from them;
//! revisions and refs name what they hold. [`Records`] reads. The crate `freestone-push` writes
//! revisions, and `freestone-maintain` looks after a store.

#[doc(hidden)]
pub mod bases;
#[doc(hidden)]
pub mod codec;
mod content;
pub mod hints;
pub mod index;
#[doc(hidden)]
pub mod lane;
#[doc(hidden)]
pub mod listing;
#[doc(hidden)]
pub mod merge;
mod packs;
#[doc(hidden)]
pub mod proofs;
mod proven;
mod raw;
#[doc(hidden)]
pub mod records;
mod refs;
mod resolve;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod similar;
pub mod spool;
mod store;
pub mod table;
pub mod upstream;

pub use content::FoundContent;
pub use index::{Index, LiveSegment, Place};
pub use packs::Packs;
pub use raw::{RawRun, RunPart};
pub use records::Records;
pub use refs::{Expect, Refs};
pub use resolve::Resolved;
pub use store::Store;
pub use table::read_table;

/// Writing records, for freestone's own crates.
pub mod write {
    pub use crate::{bases, codec as encoding, lane, merge, session, similar};
}

/// Reading records, for freestone's own crates.
pub mod read {
    pub use crate::{proofs, records};
}
