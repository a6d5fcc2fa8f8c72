//! Image formats of freestone: a manifest in, a plan out; and strict models of the programs that
//! read the images.
//!
//! An image is a pure function of manifest root, format and options, and that function is frozen
//! once it is released: golden digests in the tests hold it. What an image is stands in its own
//! first 4096 bytes as an [`ImageName`], so that [`identify`] can tell it from anything else.
//!
//! # Adding a format
//!
//! A format lives in one folder beside [`tar`], and consists of
//! 1. `options.rs`: what can be chosen; parsed strictly, printed in one canonical way, because
//!    the text is part of the image's name;
//! 2. `plan.rs`: a [`Plan`](freestone_core::Plan) over a manifest's
//!    [`Tree`](freestone_manifest::Tree), which says the image's length when it is opened, refuses
//!    what the format cannot hold with every path listed, and gives the extents of any range
//!    without holding the others; the measure and the bytes come from the same code;
//! 3. `strict.rs`: a model of what its readers accept, used by `inspect` and as the oracle of the
//!    tests, which shares no more with the writer than the measure and the head.
//!
//! [`Format`] gets a variant, whose arms the compiler then asks for, and
//! [`identify`] learns where the image holds its name. Sinks need no change.

pub mod check;
pub mod fat;
mod format;
mod head;
mod read;
pub mod tar;

pub use format::{Format, ImageName};
pub use head::{HEAD_BYTES, Identity, identify};
pub use read::ReadAt;
