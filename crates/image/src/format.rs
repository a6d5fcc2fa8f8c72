//! What a format gives to the rest of the crate.

use crate::report::{Container, Found, Report};
use crate::{ImageName, ReadAt};
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Id, NodeSource, Plan, Result};
use std::fmt;

/// How many bytes at its start say what an image is; all of them belong to every image.
pub const HEAD_BYTES: usize = 4096;
const _: () = assert!(HEAD_BYTES as u64 == BLOCK_BYTES);

/// What a format's folder gives: its options, and by them everything else. The text that
/// [`fmt::Display`] writes is part of the image's name.
pub trait FormatOptions: Copy + Eq + Default + fmt::Display {
    /// The format's name on the command line and in images' names.
    const NAME: &'static str;
    /// What [`identify`](crate::identify) calls such images of other programs.
    const LOOKS_LIKE: &'static str;

    /// The options that images are attached with, each with what the image's name ends in.
    fn attached() -> Vec<(&'static str, Self)> {
        vec![(Self::NAME, Self::default())]
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    fn parse(text: &str) -> Option<Self>;

    /// The layout of the image of the manifest `root`.
    ///
    /// # Errors
    /// The manifest cannot be read, or holds what the format cannot; every offending path is
    /// listed then.
    fn plan<S: NodeSource + 'static>(self, nodes: S, root: &Id) -> Result<Box<dyn Plan>>;

    /// The name in the first [`HEAD_BYTES`](crate::HEAD_BYTES) of an image, if they are exactly
    /// those of an image of this format that freestone wrote.
    fn name_in(head: &[u8]) -> Option<ImageName>;

    /// Checks an image against the rules of the format's readers, and gives `each` what is in it.
    ///
    /// # Errors
    /// The image cannot be read, or what `each` returns. Broken rules are no errors.
    fn check<R: ReadAt + ?Sized>(
        image: &R,
        container: Container,
        each: &mut dyn FnMut(Found) -> Result<()>,
    ) -> Result<Report>;
}
