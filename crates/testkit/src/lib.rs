//! What freestone's tests share: sources in memory, and backends that record, fail and crash.

mod crash;
mod memory;
mod recording;

pub use crash::{CrashingDisk, Survival};
pub use memory::{MemorySource, noise, push_tree, text};
pub use recording::{Recorded, Recording};
