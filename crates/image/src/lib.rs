//! Image formats of freestone: a manifest in, a plan out; and strict models of the programs that
//! read the images.
//!
//! An image is a pure function of manifest root, format and options, and that function is frozen
//! once it is released: golden digests in the tests hold it. What an image is stands in its own
//! first 4096 bytes as an [`ImageName`], so that [`identify`] can tell it from anything else.
//!
//! # Adding a format
//!
//! A format lives in one folder beside [`tar`] and [`fat`], and consists of
//! 1. `options.rs`: what can be chosen; parsed strictly, printed in one canonical way, because
//!    the text is part of the image's name. It implements [`FormatOptions`], the one thing that
//!    the rest of the crate asks of the folder;
//! 2. `plan.rs`: a [`Plan`](freestone_core::Plan) over a manifest's
//!    [`Tree`](freestone_manifest::Tree), which says the image's length when it is opened, refuses
//!    what the format cannot hold with every path listed, and gives the extents of any range
//!    without holding the others; what is measured and what is written come from the same code;
//! 3. `strict.rs`: a model of what its readers accept, used by `inspect` and as the oracle of the
//!    tests, which shares no more with the writer than the measure and the head.
//!
//! Then it gets a line in the list of formats (`formats.rs`), from which [`Format`], [`identify`] and
//! [`check()`] are made. Sinks and servers need no change, nor do commands: `--format` and
//! `inspect` know all formats of the list. Options of its own are offered where the command line
//! makes its options of flags.

mod check;
mod extents;
pub mod fat;
mod format;
mod formats;
mod hash;
mod head;
mod length;
mod marks;
mod read;
mod report;
mod rule;
pub mod tar;
mod violation;

pub use check::check;
pub use format::{FormatOptions, HEAD_BYTES};
pub use formats::{Format, ImageName};
pub use head::{Identity, identify};
pub use read::ReadAt;
pub use report::{CheckReport, Container, Found};
pub use violation::{Violation, Violations};
