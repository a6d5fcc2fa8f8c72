//! Checking an image of any format.

use crate::formats::Format;
use crate::head::Identity;
use crate::read::ReadAt;
use crate::report::{CheckReport, Container, Found};
use freestone_core::Result;

/// Checks an image whose head is `identity` against the rules of its format, and calls `each` for
/// what is in it. Returns `None` if it is not of a known format.
///
/// # Errors
/// The image cannot be read, or `each` fails. A broken rule is not an error.
pub fn check<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    identity: &Identity,
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<Option<CheckReport>> {
    let name = match identity {
        Identity::Image(name) => Some(name.format.name()),
        Identity::Other(looks_like) => Format::looking_like(looks_like),
        _ => None,
    };
    match name {
        Some(name) => Format::check(name, image, container, each),
        None => Ok(None),
    }
}
