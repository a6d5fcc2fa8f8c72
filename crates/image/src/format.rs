//! The interface of a format's folder to the rest of the crate.

use crate::read::ReadAt;
use crate::report::{CheckReport, Container, Found};
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::wire::to_usize;
use freestone_core::{Id, NodeSource, Plan, Result};
use freestone_manifest::Tree;
use std::fmt;

/// The length of the head, the bytes that say what an image is. Every image has at least as many.
pub const HEAD_BYTES: usize = 4096;
const _: () = assert!(HEAD_BYTES as u64 == BLOCK_BYTES);

/// The beginning of every image's name: the program, and the version of the formats.
const PREFIX: &str = "freestone 1 ";

/// The options of a format, and by them everything that the crate needs of the format's folder. The
/// text that [`fmt::Display`] writes is part of the image's name.
pub trait FormatOptions: Copy + Eq + Default + fmt::Display {
    /// The format's name on the command line and in images' names.
    const NAME: &'static str;
    /// The words with which [`identify`](crate::identify) describes such images of other programs.
    const LOOKS_LIKE: &'static str;

    /// Returns the options with which images are attached, each with the ending of the image's
    /// file name.
    fn attached() -> Vec<(&'static str, Self)> {
        vec![(Self::NAME, Self::default())]
    }

    /// Returns the bytes of the image's sectors; `None` if the format has none.
    fn sector_bytes(&self) -> Option<u32> {
        None
    }

    /// Reads the text that [`fmt::Display`] writes, and no other spelling.
    fn parse(text: &str) -> Option<Self>;

    /// Returns the name of the image of the manifest `root`: `freestone 1 FORMAT OPTIONS ROOT`.
    fn image_name(&self, root: &Id) -> String {
        format!("{PREFIX}{} {self} {root}", Self::NAME)
    }

    /// Reads the text that [`Self::image_name`] returns, and no other spelling.
    fn parse_image_name(text: &str) -> Option<(Self, Id)> {
        let (format, root) = text.strip_prefix(PREFIX)?.rsplit_once(' ')?;
        let options = format.strip_prefix(Self::NAME)?.strip_prefix(' ')?;
        let (options, root) = (Self::parse(options)?, Id::parse(root).ok()?);
        (options.image_name(&root) == text).then_some((options, root))
    }

    /// Lays out the image of a manifest.
    ///
    /// # Errors
    /// The manifest cannot be read, or holds paths that the format cannot hold. Then every such
    /// path is listed.
    fn plan<S: NodeSource + 'static>(self, manifest: Tree<S>) -> Result<Box<dyn Plan>>;

    /// Returns the options and the manifest's root that are named in a head of [`HEAD_BYTES`], if
    /// it is exactly the head of an image of this format that freestone wrote.
    fn name_in(head: &[u8]) -> Option<(Self, Id)>;

    /// Checks an image against the rules of the format's readers, and calls `each` for what is in
    /// it.
    ///
    /// # Errors
    /// The image cannot be read, or `each` fails. A broken rule is not an error.
    fn check<R: ReadAt + ?Sized>(
        image: &R,
        container: Container,
        each: &mut dyn FnMut(Found) -> Result<()>,
    ) -> Result<CheckReport>;
}

/// Reads the first bytes of an image, [`HEAD_BYTES`] or all of a shorter one.
///
/// # Errors
/// The image cannot be read.
pub(crate) fn read_head<R: ReadAt + ?Sized>(image: &R) -> Result<Vec<u8>> {
    let mut head = vec![0; to_usize(image.length()).min(HEAD_BYTES)];
    image.read_at(0, &mut head)?;
    Ok(head)
}
