//! Looks after a store: finds what is damaged or missing, and rewrites what grew untidy.
//!
//! | function | what it does |
//! |---|---|
//! | [`verify`] | checks every byte that a store has, and that all that is named is there |
//! | [`compact`] | rewrites small and badly filled packs, and removes what it replaced after a delay |
//! | [`gc`] | removes what no ref needs |
//! | [`forget`] | has a revision not kept any more |
//! | [`take_down`] | removes a content from all revisions, for good |
//! | [`reindex`] | makes the index again from the packs alone |
//! | [`stats`] | sums up what a store holds |
//! | [`why`] | finds which refs keep a revision or a content |
//!
//! All of them work beside pushes and readers, take a [`Watch`](freestone_core::Watch) for their
//! progress, and can be interrupted at any point without a loss. Only `sweep` removes packs: by
//! intents, barriers and verdicts, so that nothing is lost that a push beside it depends on.

mod compact;
mod forget;
mod gc;
mod kept;
mod reindex;
mod replacement;
mod sorted;
mod stats;
mod sweep;
mod takedown;
mod verify;
mod why;

pub use compact::{CompactOptions, Compacted, compact};
pub use forget::forget;
pub use gc::{Collected, GcOptions, Keep, KeptRef, Policy, Why, gc};
pub use reindex::{Reindexed, reindex};
pub use stats::{Growth, RecordSum, Stats, stats, stored_bytes};
pub use takedown::{Takedown, take_down};
pub use verify::{Finding, VerifyOptions, VerifyReport, verify};
pub use why::{Asked, Holder, NamedBy, why};
