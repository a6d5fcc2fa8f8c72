//! The encoding of all small structures: little-endian numbers, varints, byte strings, and
//! extension fields.
//!
//! A varint is unsigned LEB128, at most ten bytes, in its shortest form: longer forms are refused,
//! so that a structure has one encoding only. Extension fields are (tag, length, bytes) with tags
//! that strictly ascend; an odd tag is critical: a reader that does not know it refuses the whole
//! structure.

use crate::limits::EXTENSION_BYTES_MAX;
use crate::{Error, Id, Result, Sha1};
use std::sync::Arc;

/// Immutable bytes that are read in parts: a file, or a buffer.
pub trait ByteSource: Send + Sync {
    /// Returns the number of bytes.
    fn length(&self) -> u64;

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Reading failed, or the bytes end before `out` is full.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

impl<T: AsRef<[u8]> + Send + Sync> ByteSource for T {
    fn length(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let part = self.as_ref().get(to_usize(offset)..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(part.ok_or_else(|| Error::corrupt("the bytes end too early"))?);
        Ok(())
    }
}

/// Shared bytes.
pub type Bytes = Arc<dyn ByteSource>;

const _: () = assert!(usize::BITS >= 64, "freestone needs a 64-bit machine");

/// Returns `number`, a length or an index, as a `usize` for use with slices.
#[allow(clippy::cast_possible_truncation, reason = "asserted above: usize has 64 bits")]
pub const fn to_usize(number: u64) -> usize {
    number as usize
}

/// Returns the sum of lengths that others claim, at most the largest number.
pub fn total(lengths: impl IntoIterator<Item = u64>) -> u64 {
    lengths.into_iter().fold(0, u64::saturating_add)
}

/// A writer that appends the parts of a structure to a buffer.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Returns the bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Drops the bytes written, but keeps the memory for the next structure.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Writes four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes eight bytes, little-endian, two's complement.
    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a varint of one to ten bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    /// Writes the bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes the length as a varint, then the bytes.
    pub fn string(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// Writes the 32 bytes of an id.
    pub fn id(&mut self, id: &Id) {
        self.raw(&id.0);
    }

    /// Writes the 20 bytes of a SHA-1.
    pub fn sha1(&mut self, sha1: &Sha1) {
        self.raw(&sha1.0);
    }
}

/// A reader that takes a structure apart. Every method fails if the input is too short.
#[derive(Clone)]
pub struct Reader<'a>(&'a [u8]);

fn too_short() -> Error {
    Error::corrupt("the structure ends too early")
}

impl<'a> Reader<'a> {
    /// Returns a reader of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns true if everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of bytes left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Reads all bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Reads the next `count` bytes.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(too_short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// No byte is left.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads the version byte of `what`, which must be `known`.
    ///
    /// # Errors
    /// No byte is left; the version is later than `known`, which is [newer](Error::newer); or it is
    /// 0, which no version has.
    pub fn version(&mut self, known: u8, what: &str) -> Result<()> {
        match self.u8()? {
            version if version == known => Ok(()),
            0 => Err(Error::corrupt(format!("{what} of version 0"))),
            version => Err(Error::newer(format!("{what} of version {version}"))),
        }
    }

    /// Reads four bytes, little-endian.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads eight bytes, little-endian.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads eight bytes, little-endian, two's complement.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Reads a varint.
    ///
    /// # Errors
    /// The input ends too early, or the number has more than 64 bits or is not in its shortest
    /// form.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(Error::corrupt("a number is not in its shortest form"))
    }

    /// Reads a varint length of at most `max`, and that many bytes.
    ///
    /// # Errors
    /// The input ends too early, or the length is more than `max`.
    pub fn string(&mut self, max: usize) -> Result<&'a [u8]> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(length) if length <= max => self.raw(length),
            _ => Err(Error::corrupt(format!("a length of {length} bytes is more than {max}"))),
        }
    }

    /// Reads the 32 bytes of an id.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn id(&mut self) -> Result<Id> {
        self.array().map(Id)
    }

    /// Reads the 20 bytes of a SHA-1.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn sha1(&mut self) -> Result<Sha1> {
        self.array().map(Sha1)
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// Some bytes are left.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::corrupt("bytes are left after the end of the structure"))
        }
    }

    /// Reads and checks extension fields with the length before them. Returns the encoded fields,
    /// so that the caller can keep unknown ones. Version 1 knows no critical tag.
    ///
    /// # Errors
    /// The input ends too early, the fields are too long or out of order, or one is critical, which
    /// is [newer](Error::newer).
    pub fn extensions(&mut self) -> Result<&'a [u8]> {
        let bytes = self.string(EXTENSION_BYTES_MAX)?;
        let mut fields = Self::new(bytes);
        let mut previous = None;
        while !fields.is_empty() {
            let tag = fields.varint()?;
            fields.string(EXTENSION_BYTES_MAX)?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(Error::corrupt("extension fields are out of order"));
            }
            if tag % 2 == 1 {
                return Err(Error::newer(format!(
                    "critical extension {tag} is not known to this version"
                )));
            }
            previous = Some(tag);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<u64>(), shift in 0..64u32) {
            let value = value >> shift;
            let mut out = Writer::default();
            out.varint(value);
            let mut input = Reader::new(out.bytes());
            prop_assert_eq!(input.varint().unwrap(), value);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn a_varint_that_decodes_is_the_only_encoding(
            bytes in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut input = Reader::new(&bytes);
            if let Ok(value) = input.varint() {
                let mut out = Writer::default();
                out.varint(value);
                prop_assert_eq!(out.bytes(), &bytes[..bytes.len() - input.remaining()]);
            }
        }
    }

    #[test]
    fn a_length_field_alone_allocates_nothing() {
        let mut out = Writer::default();
        out.varint(u64::MAX);
        assert!(Reader::new(out.bytes()).string(usize::MAX).is_err());
        assert!(Reader::new(out.bytes()).string(10).is_err());
    }

    #[test]
    fn unknown_critical_extensions_are_refused_and_others_kept() {
        let field = |tag: u64| {
            let mut field = Writer::default();
            field.varint(tag);
            field.string(b"value");
            let mut out = Writer::default();
            out.string(field.bytes());
            out.into_bytes()
        };
        assert_eq!(Reader::new(&field(4)).extensions().unwrap().len(), 7);
        assert!(Reader::new(&field(5)).extensions().is_err());
    }
}
