//! Tar images, which MirageOS's readers, GNU tar, bsdtar, busybox and Python's `tarfile` all take.
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
//! A unit is 512 bytes. A directory has a header of its own, before what is in it.

mod header;
mod layout;
mod marks;
pub mod mirage;
mod options;
mod plan;
pub mod strict;

#[cfg(test)]
pub(crate) use header::head;
pub use options::{Align, TarOptions};
pub use plan::TarPlan;

use crate::format::FormatOptions;
use crate::read::ReadAt;
use crate::report::{CheckReport, Container, Found};
use freestone_core::limits::TAR_BLOCK_BYTES;
use freestone_core::{Id, NodeSource, Plan, Result};
use freestone_manifest::Tree;
use layout::FIRST_UNIT;

impl FormatOptions for TarOptions {
    const NAME: &'static str = "tar";
    const LOOKS_LIKE: &'static str = "a tar archive";

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn plan<S: NodeSource + 'static>(self, manifest: Tree<S>) -> Result<Box<dyn Plan>> {
        Ok(Box::new(TarPlan::new(manifest, self)?))
    }

    fn name_in(head: &[u8]) -> Option<(Self, Id)> {
        header::name_in(head)
    }

    fn check<R: ReadAt + ?Sized>(
        image: &R,
        container: Container,
        each: &mut dyn FnMut(Found) -> Result<()>,
    ) -> Result<CheckReport> {
        // A byte belongs to the first member that ends after it, or to its headers. The head
        // belongs to no member.
        let head = FIRST_UNIT * TAR_BLOCK_BYTES;
        strict::check(image, container, &mut |member| {
            each(Found { path: member.path.clone(), bytes: head..member.data + member.size })
        })
    }
}
