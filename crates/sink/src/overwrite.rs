//! The permission to overwrite a target.

use crate::head::HEAD_BYTES;

/// The permission to overwrite a target.
#[derive(Clone, Copy)]
pub struct Overwrite {
    /// Permits to overwrite anything that is not in use.
    pub force: bool,
    /// Returns true if a file or device that begins with these bytes holds a freestone image,
    /// finished or not. Such a target may be overwritten.
    pub is_ours: fn(&[u8; HEAD_BYTES]) -> bool,
}
