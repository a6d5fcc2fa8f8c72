//! Reading an image at any offset.

use freestone_core::wire::to_usize;
use freestone_core::{Error, Result};
use std::ops::Range;

/// An image that can be read at any offset: a file, a device, a plan with its contents, or bytes.
pub trait ReadAt {
    /// Returns the length of the image in bytes.
    fn length(&self) -> u64;

    /// Fills `out` with the bytes at `offset`.
    ///
    /// # Errors
    /// The range is not inside the image, or cannot be read.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

impl ReadAt for [u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let bytes = from.and_then(|from| from.get(..out.len()));
        let bytes = bytes.ok_or_else(|| {
            Error::corrupt(format!("{} bytes at {offset} are beyond the image", out.len()))
        })?;
        out.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn length(&self) -> u64 {
        self[..].length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self[..].read_at(offset, out)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, out)
    }
}

/// Returns the offset of the first byte in `range` that is not zero.
///
/// # Errors
/// The range is not inside the image, or cannot be read.
pub(crate) fn first_nonzero<R: ReadAt + ?Sized>(
    image: &R,
    range: Range<u64>,
) -> Result<Option<u64>> {
    const PART_BYTES: usize = 64 << 10;
    let mut part = Vec::new();
    let mut at = range.start;
    while at < range.end {
        part.resize(to_usize(range.end - at).min(PART_BYTES), 0);
        image.read_at(at, &mut part)?;
        if let Some(index) = part.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + index as u64));
        }
        at += part.len() as u64;
    }
    Ok(None)
}
