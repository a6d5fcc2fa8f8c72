//! Checking an image, whatever its format: what is in it, and which rules of its readers it breaks.
//!
//! Each format has rules of its own and a model that checks them; what they find is told alike.

use crate::report::{Container, Found, Report};
use crate::{Format, Identity, ReadAt};
use freestone_core::Result;

/// Checks an image whose head is `identity`, and gives `each` what is in it; `None` if it is of no
/// format that is known here.
///
/// # Errors
/// The image cannot be read, or what `each` returns. Broken rules are no errors.
pub fn check<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    identity: &Identity,
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<Option<Report>> {
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
