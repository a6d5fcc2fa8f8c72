//! Where freestone images go.
//!
//! An [`Image`] is a [`Plan`](freestone_core::Plan), which says where every byte comes from, and a
//! [`ChunkSource`](freestone_core::ChunkSource), which has the content. Nothing else of freestone
//! is known here. There are two ways to take an image:
//!
//! - **A part at a time, in any order**: [`ImageReader`], for what serves an image without writing
//!   it.
//! - **The whole, once**: [`write()`] to a file ([`mod@file`]) or a block device ([`device`]),
//!   [`update()`](update::update) of what an older image is in, [`stream::write`] to a pipe, [`digest()`] to nowhere, [`compare()`] against what was written.
//!   All of these are consumers of one engine, which produces the image in parallel, a window at
//!   a time, in memory that [`Control`] bounds.

mod base;
mod compare;
mod control;
pub mod device;
mod digest;
mod digesting;
mod faults;
pub mod file;
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
pub use head::HEAD_BYTES;
pub use image::{Image, extents};
pub use overwrite::Overwrite;
pub use reader::{ImageReader, ReadPart, read_at};
pub use report::{Digests, SinkReport};
pub use target::{Target, check, write};
