//! Reading an image at any place, whatever holds it.

use freestone_core::{Error, Result};

/// An image that can be read at any place: a file, a device, a plan with its contents, bytes.
pub trait ReadAt {
    /// The length of the image in bytes.
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
