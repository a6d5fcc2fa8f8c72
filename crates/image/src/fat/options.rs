//! The options of a FAT image, which are part of its name.

use crate::length::{IMAGE_BYTES_MAX, Length};
use freestone_core::{Error, ErrorKind, Result};
use std::fmt;

/// The readers for which an image is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// All readers of FAT with long names.
    #[default]
    Any,
    /// MirageOS's reader: FAT16 only, ASCII names, and a NUL at the end of every long name.
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

/// The width of the allocation table's entries. Readers derive it from the number of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FatType {
    /// 12 bits: up to 4,084 clusters.
    Fat12,
    /// 16 bits: 4,096 to 65,524 clusters.
    Fat16,
    /// 32 bits, of which 28 count: 65,525 clusters and more.
    Fat32,
}

impl FatType {
    /// All types, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Fat12, Self::Fat16, Self::Fat32];

    /// Reads `12`, `16` or `32`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fat_type| fat_type.to_string() == text)
    }

    /// Returns the bits of an entry.
    pub fn bits(self) -> u32 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// The number alone.
impl fmt::Display for FatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(f)
    }
}

/// The options of a FAT image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FatOptions {
    profile: Profile,
    fat_type: Option<FatType>,
    block_bytes: u32,
    free: u64,
    length: Length,
}

impl Default for FatOptions {
    fn default() -> Self {
        Self {
            profile: Profile::Any,
            fat_type: None,
            block_bytes: 512,
            free: 0,
            length: Length::default(),
        }
    }
}

fn usage(what: String) -> Error {
    Error::new(ErrorKind::Usage, what)
}

impl FatOptions {
    /// Returns the options of an image for MirageOS's reader.
    pub fn for_mirage() -> Self {
        Self { profile: Profile::Mirage, fat_type: Some(FatType::Fat16), ..Self::default() }
    }

    /// Sets the readers for which the image is made.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a type was chosen that these readers do not take.
    pub fn with_profile(mut self, profile: Profile) -> Result<Self> {
        self.profile = profile;
        self.checked()
    }

    /// Requests FAT12, 16 or 32, for any size; `None` takes the type that fits.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the profile's readers do not take it.
    pub fn with_type(mut self, fat_type: Option<FatType>) -> Result<Self> {
        self.fat_type = fat_type;
        self.checked()
    }

    /// Checks that the profile's readers take the type, and chooses it where they take only one.
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

    /// Sets the length of the device's sectors in bytes: 512 or 4096.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is anything else.
    pub fn with_block_bytes(mut self, block_bytes: u64) -> Result<Self> {
        self.block_bytes = match block_bytes {
            512 => 512,
            4096 => 4096,
            _ => {
                return Err(usage(format!("a block size of {block_bytes} bytes is not possible"))
                    .hint("give 512 (most devices) or 4096 (Xen, disks with large sectors)"));
            }
        };
        Ok(self)
    }

    /// Sets the least number of bytes in free clusters.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if files cannot be that long.
    pub fn with_free(mut self, free: u64) -> Result<Self> {
        if free > IMAGE_BYTES_MAX {
            return Err(usage(format!("{free} bytes of free space are more than a file can have")));
        }
        self.free = free;
        Ok(self)
    }

    /// Sets the length of which the image's length is a multiple, or its exact length, both in
    /// bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a length is not a multiple of 4096 or is 0, or both are given.
    pub fn with_length(mut self, pad_to: Option<u64>, size: Option<u64>) -> Result<Self> {
        self.length = Length::new(pad_to, size)?;
        Ok(self)
    }

    /// Returns the readers for which the image is made.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Returns the type that was requested.
    pub fn fat_type(&self) -> Option<FatType> {
        self.fat_type
    }

    /// Returns the length of the sectors in bytes.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Returns the least number of bytes in free clusters.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Returns the length of which the image's length is a multiple, in bytes.
    pub fn pad_to(&self) -> Option<u64> {
        self.length.pad_to()
    }

    /// Returns the image's exact length in bytes.
    pub fn size(&self) -> Option<u64> {
        self.length.size()
    }

    /// Returns the requested length.
    pub(super) fn length(&self) -> Length {
        self.length
    }

    /// Reads the text that [`fmt::Display`] writes, and no other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(';');
        let mut field = |key: &str| fields.next()?.strip_prefix(key);
        let number = |text: &str| text.parse::<u64>().ok();
        let profile = Profile::parse(field("profile=")?)?;
        let fat_type = match field("type=")? {
            "auto" => None,
            text => Some(FatType::parse(text)?),
        };
        let block_bytes = number(field("block=")?)?;
        let free = number(field("free=")?)?;
        let length = Length::parse(field("pad=")?, field("size=")?)?;
        let options = Self::default()
            .with_type(fat_type)
            .and_then(|options| options.with_profile(profile))
            .and_then(|options| options.with_block_bytes(block_bytes))
            .and_then(|options| options.with_free(free))
            .map(|options| Self { length, ..options })
            .ok()?;
        (options.to_string() == text).then_some(options)
    }
}

/// `profile=any|mirage;type=auto|12|16|32;block=512|4096;free=N;pad=N;size=N`; 0 means not given.
impl fmt::Display for FatOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile={};type=", self.profile)?;
        match self.fat_type {
            None => f.write_str("auto")?,
            Some(fat_type) => fat_type.fmt(f)?,
        }
        write!(f, ";block={};free={};{}", self.block_bytes, self.free, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_round_trips_and_has_one_spelling() {
        let any = FatOptions::default();
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
            assert_eq!(FatOptions::parse(&options.to_string()), Some(options));
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
            assert_eq!(FatOptions::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        let any = FatOptions::default();
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
