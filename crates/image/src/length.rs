//! The length of an image: `--pad-to` and `--size`, and the text that names them.

use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, ErrorKind, Result};
use std::fmt;

/// The longest image: the largest file offset on any system.
pub(crate) const IMAGE_BYTES_MAX: u64 = i64::MAX as u64;

/// The requested length of an image: a multiple of some length, an exact length, or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Length {
    pad_to: Option<u64>,
    size: Option<u64>,
}

impl Length {
    /// Creates a request for a multiple of `pad_to` bytes, or for exactly `size` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a length is not a multiple of 4096 or is 0, or both are given.
    pub(crate) fn new(pad_to: Option<u64>, size: Option<u64>) -> Result<Self> {
        let usage = |what: String| Error::new(ErrorKind::Usage, what);
        if pad_to.is_some() && size.is_some() {
            return Err(usage("an image cannot have both an exact size and padding".into())
                .hint("give one of --size and --pad-to"));
        }
        for (what, length) in [("padding", pad_to), ("size", size)] {
            let Some(length) = length else { continue };
            if length == 0 || !length.is_multiple_of(BLOCK_BYTES) {
                return Err(usage(format!(
                    "a {what} of {length} bytes is not a multiple of {BLOCK_BYTES}"
                ))
                .hint("Xen's sectors are 4096 bytes, and a trailing part of one is dropped"));
            }
            if length > IMAGE_BYTES_MAX {
                return Err(usage(format!("a {what} of {length} bytes is longer than any file")));
            }
        }
        Ok(Self { pad_to, size })
    }

    /// Returns the length of which the image's length is a multiple, in bytes.
    pub(crate) fn pad_to(&self) -> Option<u64> {
        self.pad_to
    }

    /// Returns the exact length in bytes.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads the two numbers of an image's name, of which 0 means not given.
    pub(crate) fn parse(pad_to: &str, size: &str) -> Option<Self> {
        let given = |text: &str| text.parse().ok().map(|number| Some(number).filter(|n| *n != 0));
        Self::new(given(pad_to)?, given(size)?).ok()
    }

    /// Returns the shortest length of an image whose parts end at `end`, padded as requested;
    /// `None` if files cannot be that long.
    pub(crate) fn shortest(&self, end: u64) -> Option<u64> {
        let length = end.checked_next_multiple_of(self.pad_to.unwrap_or(BLOCK_BYTES))?;
        (length <= IMAGE_BYTES_MAX).then_some(length)
    }
}

/// `pad=N;size=N`; 0 means not given.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pad={};size={}", self.pad_to.unwrap_or(0), self.size.unwrap_or(0))
    }
}

/// Creates the error of an image that is longer than files can be.
pub(crate) fn too_long() -> Error {
    Error::refused("the image would be longer than any file")
}

/// Creates the error of an image that needs `shortest` bytes, more than the requested `size`.
pub(crate) fn does_not_fit(shortest: u64, size: u64) -> Error {
    let what = format!("the image needs {shortest} bytes and does not fit a size of {size}");
    Error::refused(what).hint(format!("give --size {shortest} or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_make_no_sense_are_usage_errors() {
        for (pad_to, size) in [
            (Some(0), None),
            (None, Some(0)),
            (Some(512), None),
            (None, Some(4097)),
            (Some(4096), Some(4096)),
            (None, Some(1 << 63)),
        ] {
            let error = Length::new(pad_to, size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{pad_to:?} {size:?}");
        }
    }
}
