//! What an image may overwrite.

use crate::head::HEAD_BYTES;

/// What may be lost.
#[derive(Clone, Copy)]
pub struct Overwrite {
    /// Whatever stands at the target, unless it is in use.
    pub force: bool,
    /// Whether these first bytes of a file or device are those of an image of freestone,
    /// finished or not. Such a target may be overwritten.
    pub is_ours: fn(&[u8; HEAD_BYTES]) -> bool,
}
