//! Errors of reading a repository.

use freestone_core::Error;
use gix_hash::ObjectId;

/// Returns an error of gitoxide as a cause for [`Error::because`].
pub(crate) fn cause(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(freestone_core::path::display(error.to_string().as_bytes()))
}

/// Returns the error of an object whose bytes do not hash to its id.
pub(crate) fn forged(id: ObjectId) -> Error {
    Error::corrupt(format!("git object {id} holds other bytes than its id says")).hint(
        "run `git fsck` for a list of damaged objects; fetch them from a repository that you trust",
    )
}
