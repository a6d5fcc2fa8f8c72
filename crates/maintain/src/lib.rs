//! Looks after a store: finds what is damaged or missing, and rewrites what grew untidy.
//!
//! | function | what it does |
//! |---|---|
//! | [`verify`] | checks every byte that a store has, and that all that is named is there |
//! | [`compact`] | rewrites small and badly filled packs, and removes what it replaced after a delay |
//! | [`reindex`] | makes the index again from the packs alone |
//! | [`stats`] | sums up what a store holds |
//!
//! All of them work beside pushes and readers, take a [`Watch`](freestone_core::Watch) for their
//! progress, and can be interrupted at any point without a loss. Only `retire` removes packs: a pack
//! that was replaced is listed first, and goes after the grace period.

mod compact;
mod reindex;
mod retire;
mod sorted;
mod stats;
mod verify;

pub use compact::{CompactOptions, Compacted, compact};
pub use reindex::{Reindexed, reindex};
pub use stats::{Growth, RecordSum, Stats, stats, stored_bytes};
pub use verify::{Finding, VerifyOptions, VerifyReport, verify};
