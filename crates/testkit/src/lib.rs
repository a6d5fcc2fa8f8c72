//! What freestone's tests share: sources in memory, reading back what was pushed, and backends that
//! record, fail and crash.

mod crash;
mod memory;
mod reading;
mod recording;

pub use crash::{CrashingDisk, Survival, fsync, synced};
pub use memory::{MemorySource, noise, push_tree, text};
pub use reading::{ReadBack, Reading, findings};
pub use recording::{Recorded, Recording};
