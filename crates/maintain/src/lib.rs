//! Looking after a store of freestone.

mod compact;
mod reindex;
mod retire;
mod stats;
mod verify;

pub use compact::{CompactOptions, Compacted, compact};
pub use reindex::{Reindexed, reindex};
pub use stats::{Growth, RecordSum, Stats, stats, stored_bytes};
pub use verify::{Finding, VerifyOptions, VerifyReport, verify};
