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

#[cfg(test)]
pub(crate) use header::head;
pub use options::{Align, Options};
pub use plan::TarPlan;

use crate::report::{Container, Found, Report};
use crate::{FormatOptions, ImageName, ReadAt};
use freestone_core::{Id, NodeSource, Plan, Result};

impl FormatOptions for Options {
    const NAME: &'static str = "tar";
    const LOOKS_LIKE: &'static str = "a tar archive";

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn plan<S: NodeSource + 'static>(self, nodes: S, root: &Id) -> Result<Box<dyn Plan>> {
        Ok(Box::new(TarPlan::open(nodes, root, self)?))
    }

    /// The name in the `g` header that a tar image begins with, if it is exactly such a header.
    fn name_in(head: &[u8]) -> Option<ImageName> {
        let payload = head.get(512..1024)?;
        let record = payload.split(|byte| *byte == b'\n').next()?;
        let (_, text) = std::str::from_utf8(record).ok()?.split_once(" comment=")?;
        let name = ImageName::parse(text)?;
        (head[..1024] == header::head(text)).then_some(name)
    }

    fn check<R: ReadAt + ?Sized>(
        image: &R,
        container: Container,
        each: &mut dyn FnMut(Found) -> Result<()>,
    ) -> Result<Report> {
        strict::report(image, container, each)
    }
}
