//! The options of a tar image, which are part of its name.

use crate::length::{Length, does_not_fit, too_long};
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, ErrorKind, Result};
use std::fmt;

/// The alignment of large contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// They start at multiples of 4096 bytes, by `./` headers before them. So they can be shared
    /// with the store by reflink, and are read by whole pages.
    #[default]
    Blocks,
    /// They start anywhere, without fillers. This is for archives that people unpack: a `./` header
    /// sets the mode and the time of the directory that is unpacked into, and makes GNU tar set the
    /// times of other directories before they are filled.
    None,
}

impl Align {
    /// Reads `4096` or `none`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if `text` is anything else.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "4096" => Ok(Self::Blocks),
            "none" => Ok(Self::None),
            _ => Err(Error::new(ErrorKind::Usage, format!("{text:?} is not a known alignment"))
                .hint("give 4096 or none")),
        }
    }
}

impl fmt::Display for Align {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocks => "4096",
            Self::None => "none",
        })
    }
}

/// The options of a tar image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TarOptions {
    align: Align,
    length: Length,
}

impl TarOptions {
    /// Creates options: the alignment of large contents; the length of which the image's length is
    /// a multiple, in bytes; and the image's exact length in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a length is not a multiple of 4096 or is 0, or both are given.
    pub fn new(align: Align, pad_to: Option<u64>, size: Option<u64>) -> Result<Self> {
        Ok(Self { align, length: Length::new(pad_to, size)? })
    }

    /// Returns the alignment of large contents.
    pub fn align(&self) -> Align {
        self.align
    }

    /// Returns the length of which the image's length is a multiple, in bytes.
    pub fn pad_to(&self) -> Option<u64> {
        self.length.pad_to()
    }

    /// Returns the image's exact length in bytes.
    pub fn size(&self) -> Option<u64> {
        self.length.size()
    }

    /// Reads the text that [`fmt::Display`] writes, and no other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(';');
        let mut field = |key: &str| fields.next()?.strip_prefix(key);
        let align = Align::parse(field("align=")?).ok()?;
        let length = Length::parse(field("pad=")?, field("size=")?)?;
        let options = Self { align, length };
        (options.to_string() == text).then_some(options)
    }

    /// Returns the length in bytes of the image whose last entry ends at `end`: a whole zero block
    /// follows it, and then the padding that the options ask for.
    ///
    /// # Errors
    /// It would be longer than the size that was asked for, or than any file.
    pub fn image_length(&self, end: u64) -> Result<u64> {
        let shortest = end
            .checked_next_multiple_of(BLOCK_BYTES)
            .and_then(|length| length.checked_add(BLOCK_BYTES))
            .and_then(|length| self.length.shortest(length))
            .ok_or_else(too_long)?;
        match self.size() {
            Some(size) if size < shortest => Err(does_not_fit(shortest, size)),
            size => Ok(size.unwrap_or(shortest)),
        }
    }
}

/// `align=4096|none;pad=N;size=N`; 0 means not given.
impl fmt::Display for TarOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "align={};{}", self.align, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alignment_is_4096_or_none() {
        assert!(Align::parse("512").unwrap_err().hint_text().is_some());
    }

    #[test]
    fn the_text_round_trips_and_has_one_spelling() {
        for (align, pad_to, size) in [
            (Align::Blocks, None, None),
            (Align::None, Some(1 << 20), None),
            (Align::Blocks, None, Some(1 << 40)),
        ] {
            let options = TarOptions::new(align, pad_to, size).unwrap();
            assert_eq!(TarOptions::parse(&options.to_string()), Some(options));
        }
        assert_eq!(TarOptions::default().to_string(), "align=4096;pad=0;size=0");
        for wrong in [
            "",
            "align=4096",
            "align=4096;pad=0;size=0;",
            "align=4096;pad=0;size=00",
            "align=4096;pad=1;size=0",
            "pad=0;size=0;align=4096",
            "align=4096;pad=99999999999999999999;size=0",
        ] {
            assert_eq!(TarOptions::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn there_is_always_a_whole_zero_block_after_the_last_entry() {
        let options = TarOptions::default();
        for (end, length) in [(1024, 8192), (4095, 8192), (4096, 8192), (4097, 12288)] {
            assert_eq!(options.image_length(end).unwrap(), length);
        }
        assert!(options.image_length(u64::MAX).is_err());
        let padded = TarOptions::new(Align::Blocks, Some(1_000_000 * 4096), None).unwrap();
        assert_eq!(padded.image_length(1024).unwrap(), 1_000_000 * 4096);
    }

    #[test]
    fn a_size_is_exact_or_refused_with_what_it_would_take() {
        let options = TarOptions::new(Align::Blocks, None, Some(8192)).unwrap();
        assert_eq!(options.image_length(4096).unwrap(), 8192);
        let error = options.image_length(4097).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("12288"), "{error}");
    }
}
