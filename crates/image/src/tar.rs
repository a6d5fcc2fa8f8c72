//! Tar images: what MirageOS's readers, GNU tar, bsdtar, busybox and Python's `tarfile` all take.
//!
//! ```text
//! unit 0   pax `g` header, whose comment is the image's name
//! unit 1   its payload
//! unit 2   the entries in manifest order, each of them:
//!            fillers   `./` directory headers, as many as align the data   (large files only)
//!            `x`       pax header and one block of payload                 (where ustar is too small)
//!            header    ustar
//!            data      padded with zeros to whole units
//! L        zeros up to the image's end, at least roundup(L, 4096) + 4096
//! ```
//! A unit is 512 bytes. Directories have headers of their own, before what is in them.

mod header;
mod layout;
mod marks;
pub mod mirage;
mod options;
mod plan;
pub mod strict;

pub(crate) use header::head;
pub use options::{Align, Options};
pub use plan::TarPlan;

/// What [`identify`](crate::identify) calls other programs' archives.
pub(crate) const LOOKS_LIKE: &str = "a tar archive";
