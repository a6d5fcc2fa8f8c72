//! The words that all of freestone shares: ids and digests, how contents are cut into chunks,
//! how entries measure in a tar image, and the plan that stands between a format and a sink.
//!
//! Nothing here does I/O or reads a clock; everything is a function of its arguments.

pub mod chunker;
pub mod digest;
mod error;
mod id;
pub mod item;
pub mod limits;
mod lock;
pub mod measure;
pub mod path;
pub mod pax;
pub mod plan;
pub mod tar1;
mod unreadable;
pub mod watch;
pub mod wire;
pub mod working;

pub use error::{Error, ErrorKind, Result, Subject};
pub use id::{Id, Sha1};
pub use lock::lock;
pub use measure::Measure;
pub use plan::{ChunkSource, Extent, ExtentSource, NodeSource, Plan, RawChunks};
pub use unreadable::{UNREADABLE_LISTED_MAX, Unreadable};
pub use watch::Watch;
