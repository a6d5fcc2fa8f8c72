//! What can be chosen about a tar image. The choice is part of the image's name.

use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, ErrorKind, Result};
use std::fmt;

/// The longest image: what a file offset of any system can say.
const IMAGE_BYTES_MAX: u64 = i64::MAX as u64;

/// Where large contents start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// At multiples of 4096 bytes, by `./` headers in front of them: they can be shared with the
    /// store by reflink, and are read by whole pages.
    #[default]
    Blocks,
    /// Where they come, without fillers: for archives that people unpack, since a `./` header sets
    /// mode and time of the folder that is unpacked into, and makes GNU tar set the times of other
    /// directories before they are filled.
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
            _ => Err(Error::new(ErrorKind::Usage, format!("alignment {text:?} is not known"))
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
pub struct Options {
    align: Align,
    pad_to: Option<u64>,
    size: Option<u64>,
}

fn usage(what: String) -> Error {
    Error::new(ErrorKind::Usage, what)
}

impl Options {
    /// Where large contents start; what the image's length is a multiple of, in bytes; and its
    /// exact length in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a length is 0 or no multiple of 4096, or both are given.
    pub fn new(align: Align, pad_to: Option<u64>, size: Option<u64>) -> Result<Self> {
        if pad_to.is_some() && size.is_some() {
            return Err(usage("an image cannot have both an exact size and padding".into())
                .hint("give one of --size and --pad-to"));
        }
        for (what, length) in [("padding", pad_to), ("size", size)] {
            let Some(length) = length else { continue };
            if length == 0 || !length.is_multiple_of(BLOCK_BYTES) {
                return Err(usage(format!(
                    "a {what} of {length} bytes is no multiple of {BLOCK_BYTES}"
                ))
                .hint("Xen's sectors are 4096 bytes, and a trailing part of one is dropped"));
            }
            if length > IMAGE_BYTES_MAX {
                return Err(usage(format!("a {what} of {length} bytes is beyond any file")));
            }
        }
        Ok(Self { align, pad_to, size })
    }

    /// Where large contents start.
    pub fn align(&self) -> Align {
        self.align
    }

    /// What the image's length is a multiple of, in bytes.
    pub fn pad_to(&self) -> Option<u64> {
        self.pad_to
    }

    /// The image's exact length in bytes.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(';');
        let mut field = |key: &str| fields.next()?.strip_prefix(key);
        let number = |text: &str| text.parse().ok().map(|number| Some(number).filter(|n| *n != 0));
        let align = Align::parse(field("align=")?).ok()?;
        let pad_to = number(field("pad=")?)?;
        let size = number(field("size=")?)?;
        let options = Self::new(align, pad_to, size).ok()?;
        (options.to_string() == text).then_some(options)
    }

    /// How long the image is whose last entry ends at `end`, in bytes: room for a whole zero block
    /// behind it, then what the options ask for.
    ///
    /// # Errors
    /// It would be longer than the size that was asked for, or than any file.
    pub fn image_length(&self, end: u64) -> Result<u64> {
        let length = end
            .checked_next_multiple_of(BLOCK_BYTES)
            .and_then(|length| length.checked_add(BLOCK_BYTES))
            .and_then(|length| length.checked_next_multiple_of(self.pad_to.unwrap_or(1)))
            .filter(|length| *length <= IMAGE_BYTES_MAX)
            .ok_or_else(|| Error::refused("the image would be longer than any file"))?;
        match self.size {
            Some(size) if size < length => Err(Error::refused(format!(
                "the image needs {length} bytes and does not fit a size of {size}"
            ))
            .hint(format!("give --size {length} or more"))),
            size => Ok(size.unwrap_or(length)),
        }
    }
}

/// `align=4096|none;pad=N;size=N`; 0 means not given.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pad, size) = (self.pad_to.unwrap_or(0), self.size.unwrap_or(0));
        write!(f, "align={};pad={pad};size={size}", self.align)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for (pad_to, size) in [
            (Some(0), None),
            (None, Some(0)),
            (Some(512), None),
            (None, Some(4097)),
            (Some(4096), Some(4096)),
            (None, Some(1 << 63)),
        ] {
            let error = Options::new(Align::Blocks, pad_to, size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{pad_to:?} {size:?}");
        }
        assert!(Align::parse("512").unwrap_err().hint_text().is_some());
    }

    #[test]
    fn the_text_round_trips_and_has_one_spelling() {
        for (align, pad_to, size) in [
            (Align::Blocks, None, None),
            (Align::None, Some(1 << 20), None),
            (Align::Blocks, None, Some(1 << 40)),
        ] {
            let options = Options::new(align, pad_to, size).unwrap();
            assert_eq!(Options::parse(&options.to_string()), Some(options));
        }
        assert_eq!(Options::default().to_string(), "align=4096;pad=0;size=0");
        for wrong in [
            "",
            "align=4096",
            "align=4096;pad=0;size=0;",
            "align=4096;pad=0;size=00",
            "align=4096;pad=1;size=0",
            "pad=0;size=0;align=4096",
            "align=4096;pad=99999999999999999999;size=0",
        ] {
            assert_eq!(Options::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn there_is_always_a_whole_zero_block_behind_the_last_entry() {
        let options = Options::default();
        for (end, length) in [(1024, 8192), (4095, 8192), (4096, 8192), (4097, 12288)] {
            assert_eq!(options.image_length(end).unwrap(), length);
        }
        assert!(options.image_length(u64::MAX).is_err());
        let padded = Options::new(Align::Blocks, Some(1_000_000 * 4096), None).unwrap();
        assert_eq!(padded.image_length(1024).unwrap(), 1_000_000 * 4096);
    }

    #[test]
    fn a_size_is_exact_or_refused_with_what_it_would_take() {
        let options = Options::new(Align::Blocks, None, Some(8192)).unwrap();
        assert_eq!(options.image_length(4096).unwrap(), 8192);
        let error = options.image_length(4097).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("12288"), "{error}");
    }
}
