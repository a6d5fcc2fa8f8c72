//! What can be chosen about a FAT image. The choice is part of the image's name.

use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, ErrorKind, Result};
use std::fmt;

/// The longest image: what a file offset of any system can say.
const IMAGE_BYTES_MAX: u64 = i64::MAX as u64;

/// For whom the image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Everybody who reads FAT with long names.
    #[default]
    Any,
    /// MirageOS's reader: FAT16 only, ASCII names, long names always ended by a NUL.
    Mirage,
}

impl Profile {
    /// Reads `any` or `mirage`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "any" => Some(Self::Any),
            "mirage" => Some(Self::Mirage),
            _ => None,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Mirage => "mirage",
        })
    }
}

/// How wide the entries of the allocation table are. Readers tell it from the number of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FatType {
    /// 12 bits: up to 4,084 clusters.
    Fat12,
    /// 16 bits: 4,085 to 65,524 clusters.
    Fat16,
    /// 32 bits, of which 28 count: 65,525 clusters and more.
    Fat32,
}

impl FatType {
    /// All, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Fat12, Self::Fat16, Self::Fat32];

    /// Reads `12`, `16` or `32`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fat_type| fat_type.to_string() == text)
    }

    /// Bits of an entry.
    pub fn bits(self) -> u32 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// Its number alone.
impl fmt::Display for FatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(f)
    }
}

/// The options of a FAT image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    profile: Profile,
    fat_type: Option<FatType>,
    block_bytes: u32,
    free: u64,
    pad_to: Option<u64>,
    size: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::Any,
            fat_type: None,
            block_bytes: 512,
            free: 0,
            pad_to: None,
            size: None,
        }
    }
}

fn usage(what: String) -> Error {
    Error::new(ErrorKind::Usage, what)
}

impl Options {
    /// Those of an image for MirageOS's reader.
    pub fn for_mirage() -> Self {
        Self { profile: Profile::Mirage, fat_type: Some(FatType::Fat16), ..Self::default() }
    }

    /// For whom the image is.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a type was chosen that the profile's readers do not take.
    pub fn with_profile(mut self, profile: Profile) -> Result<Self> {
        self.profile = profile;
        self.checked()
    }

    /// FAT12, 16 or 32, whatever the size; `None` for what fits.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the profile's readers do not take it.
    pub fn with_type(mut self, fat_type: Option<FatType>) -> Result<Self> {
        self.fat_type = fat_type;
        self.checked()
    }

    fn checked(mut self) -> Result<Self> {
        if self.profile == Profile::Mirage {
            if let Some(fat_type) = self.fat_type.filter(|fat_type| *fat_type != FatType::Fat16) {
                return Err(usage(format!("MirageOS's reader does not take FAT{fat_type}"))
                    .hint("leave the type out: the profile mirage is FAT16"));
            }
            self.fat_type = Some(FatType::Fat16);
        }
        Ok(self)
    }

    /// The sectors' length in bytes, the device's: 512 or 4096.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is anything else.
    pub fn with_block_bytes(mut self, block_bytes: u64) -> Result<Self> {
        self.block_bytes = match block_bytes {
            512 => 512,
            4096 => 4096,
            _ => {
                return Err(usage(format!("a block size of {block_bytes} bytes"))
                    .hint("give 512 (most devices) or 4096 (Xen, disks with large sectors)"));
            }
        };
        Ok(self)
    }

    /// How many bytes of clusters are left free, at least.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if no image can be as long.
    pub fn with_free(mut self, free: u64) -> Result<Self> {
        if free > IMAGE_BYTES_MAX {
            return Err(usage(format!("{free} bytes of free space are beyond any file")));
        }
        self.free = free;
        Ok(self)
    }

    /// What the image's length is a multiple of, or its exact length, both in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a length is 0 or no multiple of 4096, or both are given.
    pub fn with_length(mut self, pad_to: Option<u64>, size: Option<u64>) -> Result<Self> {
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
        (self.pad_to, self.size) = (pad_to, size);
        Ok(self)
    }

    /// For whom the image is.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The type that was asked for.
    pub fn fat_type(&self) -> Option<FatType> {
        self.fat_type
    }

    /// The sectors' length in bytes.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// How many bytes of clusters are left free, at least.
    pub fn free(&self) -> u64 {
        self.free
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
        let number = |text: &str| text.parse::<u64>().ok();
        let given = |text: &str| number(text).map(|number| Some(number).filter(|n| *n != 0));
        let profile = Profile::parse(field("profile=")?)?;
        let fat_type = match field("type=")? {
            "auto" => None,
            text => Some(FatType::parse(text)?),
        };
        let block_bytes = number(field("block=")?)?;
        let free = number(field("free=")?)?;
        let (pad_to, size) = (given(field("pad=")?)?, given(field("size=")?)?);
        let options = Self::default()
            .with_type(fat_type)
            .and_then(|options| options.with_profile(profile))
            .and_then(|options| options.with_block_bytes(block_bytes))
            .and_then(|options| options.with_free(free))
            .and_then(|options| options.with_length(pad_to, size))
            .ok()?;
        (options.to_string() == text).then_some(options)
    }
}

/// `profile=any|mirage;type=auto|12|16|32;block=512|4096;free=N;pad=N;size=N`; 0 means not given.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile={};type=", self.profile)?;
        match self.fat_type {
            None => f.write_str("auto")?,
            Some(fat_type) => fat_type.fmt(f)?,
        }
        let (pad, size) = (self.pad_to.unwrap_or(0), self.size.unwrap_or(0));
        write!(f, ";block={};free={};pad={pad};size={size}", self.block_bytes, self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_round_trips_and_has_one_spelling() {
        let any = Options::default();
        let text = "profile=any;type=auto;block=512;free=0;pad=0;size=0";
        assert_eq!(any.to_string(), text);
        let mirage = any.with_profile(Profile::Mirage).unwrap();
        for options in [
            any,
            mirage,
            any.with_type(Some(FatType::Fat32)).unwrap().with_free(1 << 40).unwrap(),
            mirage.with_block_bytes(4096).unwrap().with_length(None, Some(1 << 24)).unwrap(),
            any.with_length(Some(1 << 20), None).unwrap(),
        ] {
            assert_eq!(Options::parse(&options.to_string()), Some(options));
        }
        // The profile has a type, which is always said.
        assert_eq!(mirage, mirage.with_type(Some(FatType::Fat16)).unwrap());
        for wrong in [
            "",
            "profile=any",
            "profile=mirage;type=auto;block=512;free=0;pad=0;size=0",
            "profile=mirage;type=32;block=512;free=0;pad=0;size=0",
            "profile=any;type=16;block=1024;free=0;pad=0;size=0",
            "profile=any;type=16;block=512;free=00;pad=0;size=0",
            "profile=any;type=16;block=512;free=0;pad=1;size=0",
            "profile=any;type=16;block=512;free=0;pad=4096;size=4096",
            "type=16;profile=any;block=512;free=0;pad=0;size=0",
            "profile=any;type=16;block=512;free=0;pad=0;size=0;",
        ] {
            assert_eq!(Options::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        let any = Options::default();
        let mirage = any.with_profile(Profile::Mirage).unwrap();
        for error in [
            any.with_block_bytes(1024),
            any.with_free(u64::MAX),
            any.with_length(Some(4096), Some(4096)),
            any.with_length(Some(0), None),
            any.with_length(None, Some(4097)),
            mirage.with_type(Some(FatType::Fat12)),
            any.with_type(Some(FatType::Fat32)).unwrap().with_profile(Profile::Mirage),
        ] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Usage);
        }
    }
}
