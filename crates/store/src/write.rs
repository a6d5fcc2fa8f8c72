//! Writing records.
//!
//! | question | decided in |
//! |---|---|
//! | how a record is stored: its codec, and whether it has a base | `encoding` |
//! | which bases a small content may have | `content`, `likeness`, `similar`, `bases` |
//! | which bases a node may have | `writer`, `predecessors`, `bases` |
//! | which chunks of a larger content are written where | `large` |
//! | where a record is placed in its pack | `lane` |
//! | when a pack is full, durable and listed | `writer`, `sealer` |
//! | how a chunk of another store is written | `copied` |
//!
//! A push uses a [`Writer`]. A compaction uses the modules below it, since it decides itself what
//! comes after what.

pub mod bases;
mod content;
mod copied;
pub mod encoding;
mod fresh;
pub mod lane;
mod large;
pub mod likeness;
pub mod new_record;
mod own_lane;
mod predecessors;
pub mod sample;
mod sealer;
pub mod similar;
mod writer;

pub use copied::ChunkOf;
pub use large::LargeContent;
pub use own_lane::OwnLane;
pub use writer::{Writer, WriterOptions, live_set};
