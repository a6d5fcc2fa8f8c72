//! Looking after a store of freestone.

mod compact;
mod reindex;
mod retire;
mod stats;
mod verify;

pub use compact::{CompactOptions, CompactProgress, Compacted, compact};
pub use reindex::{Reindexed, reindex};
pub use stats::{Growth, RecordSum, Stats, stats, stats_watched, stored_bytes};
pub use verify::{Finding, VerifyOptions, VerifyProgress, VerifyReport, verify, verify_watched};
