//! The types that all crates of freestone share: ids and digests, the error, the wire encoding, the
//! chunker that cuts contents, the length of entries in a tar image, and the plan by which a sink
//! reads an image.
//!
//! Nothing here does I/O or reads a clock; everything is a function of its arguments.
//!
//! # Example
//!
//! A content is cut into chunks, each chunk gets its id, and the list is encoded and read back:
//!
//! ```
//! use freestone_core::chunker::{Chunker, ContentPiece};
//! use freestone_core::wire::{Reader, Writer};
//! use freestone_core::{Error, Id, digest};
//!
//! let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
//!
//! // Portions of any length give the same chunks.
//! let mut chunks = Vec::new();
//! let mut each = |piece: ContentPiece<'_>| {
//!     if let ContentPiece::Chunk(bytes) = piece {
//!         chunks.push((bytes.len() as u64, digest::plain(bytes)));
//!     }
//!     Ok::<(), Error>(())
//! };
//! let mut chunker = Chunker::default();
//! for portion in content.chunks(100_000) {
//!     chunker.push(portion, &mut each)?;
//! }
//! chunker.finish(&mut each)?;
//! assert_eq!(chunks.iter().map(|(length, _)| length).sum::<u64>(), 3_000_000);
//!
//! // Every number and every id has one encoding, and a reader refuses anything else.
//! let mut out = Writer::default();
//! for (length, id) in &chunks {
//!     out.varint(*length);
//!     out.id(id);
//! }
//! let mut input = Reader::new(out.bytes());
//! for (length, id) in &chunks {
//!     assert_eq!((input.varint()?, input.id()?), (*length, *id));
//! }
//! input.finish()?;
//!
//! // An id is 64 hex digits for people.
//! let id = chunks[0].1;
//! assert_eq!(Id::parse(&id.to_string())?, id);
//! # Ok::<(), Error>(())
//! ```

pub mod chunker;
pub mod digest;
mod error;
mod id;
pub mod item;
pub mod limits;
mod lock;
pub mod measure;
pub mod odd;
pub mod path;
pub mod pax;
pub mod plan;
pub mod shown;
pub mod tar1;
pub mod threads;
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
