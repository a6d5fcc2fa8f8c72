//! FAT images, 12, 16 and 32, which Linux, firmware, mtools and Windows take; and a strict FAT16
//! for MirageOS's reader.
//!
//! ```text
//! 0        boot sector; FAT32 also: FSInfo in sector 1, copies of both in sectors 6 and 7
//! 1024     the image's name, as text
//! R        two equal FATs, each padded to a multiple of 4096
//!          FAT12, FAT16: the root directory, as long as it is needed
//! D        clusters: FAT32's root directory; then, in manifest order, each directory's own
//!          clusters and each file's, contiguous
//! ```
//! R is 4096, or 32,768 for FAT32 with sectors of 4096 bytes. D is a multiple of 4096. Contents of
//! 64 KiB and more start at multiples of 4096, so that they can be shared with the store by
//! reflink.
//!
//! The layout follows from a walk over the manifest. Of the walk, marks are kept: at most 1 MiB,
//! and 16 bytes for each directory of more than 16 slots. The FAT and the directories are made when
//! they are asked for, one directory (2 MiB at most) at a time.

mod alias;
mod clusters;
mod directory;
mod geometry;
mod head;
mod layout;
mod name;
mod options;
mod plan;
mod refusal;
mod reserved;
mod scan;
pub mod strict;
mod table;
mod time;

pub use options::{FatOptions, FatType, Profile};
pub use plan::FatPlan;

use crate::format::FormatOptions;
use crate::read::ReadAt;
use crate::report::{CheckReport, Container, Found};
use freestone_core::{Id, NodeSource, Plan, Result};
use freestone_manifest::Tree;

impl FormatOptions for FatOptions {
    const NAME: &'static str = "fat";
    const LOOKS_LIKE: &'static str = "a FAT file system";

    fn attached() -> Vec<(&'static str, Self)> {
        vec![(Self::NAME, Self::default()), ("mirage.fat", Self::for_mirage())]
    }

    fn sector_bytes(&self) -> Option<u32> {
        Some(self.block_bytes())
    }

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn plan<S: NodeSource + 'static>(self, manifest: Tree<S>) -> Result<Box<dyn Plan>> {
        Ok(Box::new(FatPlan::new(manifest, self)?))
    }

    fn name_in(head: &[u8]) -> Option<(Self, Id)> {
        head::decode(head).map(|(options, root, _)| (options, root))
    }

    fn check<R: ReadAt + ?Sized>(
        image: &R,
        container: Container,
        each: &mut dyn FnMut(Found) -> Result<()>,
    ) -> Result<CheckReport> {
        strict::check(image, container, &mut |member| {
            for (offset, length) in &member.runs {
                each(Found { path: member.path.clone(), bytes: *offset..offset + length })?;
            }
            Ok(())
        })
    }
}
