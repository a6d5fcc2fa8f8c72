//! The store: contents kept once across all revisions, proven when they are read.
//!
//! A [`Store`] is a directory (or whatever else a [`backend::Backend`] keeps) of immutable
//! objects. Packs hold the records and are the truth; index segments are derived from them;
//! revisions and refs name what they hold. [`Store::push`] writes; [`Records`] reads.

pub mod backend;
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
mod working;

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

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness names could clash, which every use of them notices; the clock keeps them
    // apart until the system has some.
    if getrandom::fill(&mut bytes).is_err() {
        let clock = now_ns().to_le_bytes();
        bytes.iter_mut().zip(clock.iter().cycle()).for_each(|(byte, clock)| *byte = *clock);
    }
    bytes
}

/// Nanoseconds since 1970, 0 before.
pub(crate) fn now_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(now_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}
