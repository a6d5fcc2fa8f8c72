//! Sinks: what takes freestone images, and readers for those who serve them.
//!
//! An [`Image`] is a [`Plan`](freestone_core::Plan), which names the source of every byte, and a
//! [`ChunkSource`](freestone_core::ChunkSource), which has the content. This crate knows nothing
//! else of freestone: no format and no store. There are two ways to take an image:
//!
//! - **A part at a time, in any order**: [`ImageReader`], for servers that do not write the image
//!   anywhere.
//! - **The whole, once**: [`write()`] to a file ([`mod@file`]) or a block device ([`device`]),
//!   [`update()`](update::update) of a file or device that holds an older image,
//!   [`stream::write`] to a pipe, [`digest()`] without writing, and [`compare()`] with what was
//!   written. All of these are consumers of one engine, which produces the image in parallel, a
//!   window at a time, with the number of threads and so the memory that [`Control`] sets.
//!
//! # Example
//!
//! A plan of two extents is read, written to a stream, and hashed:
//!
//! ```
//! use freestone_core::{ChunkSource, Error, Extent, Id, Plan, Result, ExtentSource, digest};
//! use freestone_sink::{Control, Image, ImageReader, stream};
//! use std::ops::Range;
//!
//! /// A chunk, and 4096 zeros after it.
//! struct Padded(Vec<u8>);
//!
//! impl Plan for Padded {
//!     fn length(&self) -> u64 {
//!         self.0.len() as u64 + 4096
//!     }
//!
//!     fn extents(
//!         &self,
//!         range: Range<u64>,
//!         each: &mut dyn FnMut(Extent) -> Result<()>,
//!     ) -> Result<()> {
//!         let length = self.0.len() as u64;
//!         if range.start < length {
//!             each(Extent { offset: 0, length, source: ExtentSource::Chunk(digest::plain(&self.0)) })?;
//!         }
//!         if range.end > length {
//!             each(Extent { offset: length, length: 4096, source: ExtentSource::Zeros })?;
//!         }
//!         Ok(())
//!     }
//!
//!     fn identity(&self) -> String {
//!         "padded".into()
//!     }
//! }
//!
//! impl ChunkSource for Padded {
//!     fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
//!         if *id != digest::plain(&self.0) || out.len() != self.0.len() {
//!             return Err(Error::missing(format!("chunk {id}")));
//!         }
//!         out.copy_from_slice(&self.0);
//!         Ok(())
//!     }
//! }
//!
//! let padded = Padded(b"hello".to_vec());
//! let image = Image::new(&padded, &padded);
//!
//! // Any part, in any order.
//! let mut part = [0; 4];
//! ImageReader::new(&padded, &padded).read_at(3, &mut part)?;
//! assert_eq!(&part, b"lo\0\0");
//!
//! // The whole, and its digests on the way.
//! let control = Control { digest: true, ..Control::default() };
//! let mut out = Vec::new();
//! let report = stream::write(&image, &mut out, "memory", &control)?;
//! assert_eq!(out.len(), 4101);
//! assert!(out.starts_with(b"hello"));
//! assert_eq!(report.digests.map(|digests| digests.blake3), Some(digest::plain(&out)));
//! # Ok::<(), Error>(())
//! ```

mod base;
mod compare;
mod control;
pub mod device;
mod digest;
mod digesting;
mod faults;
pub mod file;
mod file_target;
mod head;
mod holes;
mod image;
mod overwrite;
mod piece;
mod produce;
mod reader;
mod report;
mod sharing;
pub mod stream;
mod target;
mod turns;
pub mod update;
mod windows;
mod writeback;
mod zeros;

pub use compare::{Difference, compare, read_back};
pub use control::Control;
pub use digest::digest;
pub use file_target::FileTarget;
pub use head::HEAD_BYTES;
pub use image::{Image, extents};
pub use overwrite::Overwrite;
pub use reader::{ImageReader, ReadPart, read_at};
pub use report::{Digests, SinkReport};
pub use target::{Target, check, write};
