//! The options for the format of an image.

use crate::values::size;
use clap::Args;
use clap::builder::PossibleValuesParser;
use freestone_core::{Error, ErrorKind, Result};
use freestone_image::Format;
use freestone_image::fat::{FatType, Profile};
use freestone_image::tar::{Align, TarOptions};

/// The format of an image, and the options of each format.
#[derive(Args)]
pub(super) struct FormatOptions {
    /// Format of the image
    #[arg(long, value_name = "FORMAT", default_value = "tar",
          value_parser = PossibleValuesParser::new(Format::NAMES))]
    format: String,

    /// Pad the image to a multiple of N bytes; N must be a multiple of 4096
    #[arg(long, value_name = "N", value_parser = size::argument, conflicts_with = "size")]
    pad_to: Option<u64>,

    /// Make the image exactly N bytes long, a multiple of 4096; fails if the content does not fit
    #[arg(long, value_name = "N", value_parser = size::argument)]
    size: Option<u64>,

    /// tar: start contents of 64 KiB or more at multiples of 4096 bytes (the default), or anywhere
    /// (for archives that are unpacked into a directory that has other owners or contents)
    #[arg(long, value_name = "4096|none", value_parser = align)]
    align: Option<Align>,

    /// fat: for which readers: any (the default), or mirage: MirageOS reads only strict FAT16
    #[arg(long, value_name = "any|mirage", value_parser = profile)]
    profile: Option<Profile>,

    /// fat: FAT12, FAT16 or FAT32. Default: chosen by size
    #[arg(long, value_name = "12|16|32", value_parser = fat_type)]
    fat_type: Option<FatType>,

    /// fat: leave at least N bytes free, for guests that write to the image
    #[arg(long, value_name = "N", value_parser = size::argument)]
    free: Option<u64>,

    /// fat: size of the device's sectors in bytes: 512 (the default) or 4096
    #[arg(long, value_name = "512|4096", value_parser = size::argument)]
    block_size: Option<u64>,
}

fn align(text: &str) -> Result<Align, String> {
    Align::parse(text).map_err(|_| "give 4096 or none".to_owned())
}

fn profile(text: &str) -> Result<Profile, String> {
    Profile::parse(text).ok_or_else(|| "give any or mirage".to_owned())
}

fn fat_type(text: &str) -> Result<FatType, String> {
    FatType::parse(text).ok_or_else(|| "give 12, 16 or 32".to_owned())
}

impl FormatOptions {
    /// Returns the format that the options select.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if an option belongs to another format, or has an impossible value.
    pub(super) fn format(&self) -> Result<Format> {
        for (option, is_given, its) in [
            ("--align", self.align.is_some(), "tar"),
            ("--profile", self.profile.is_some(), "fat"),
            ("--fat-type", self.fat_type.is_some(), "fat"),
            ("--free", self.free.is_some(), "fat"),
            ("--block-size", self.block_size.is_some(), "fat"),
        ] {
            if is_given && its != self.format {
                let what = format!("{option} applies only to --format {its}");
                return Err(Error::new(ErrorKind::Usage, what)
                    .hint(format!("give --format {its}, or leave out {option}")));
            }
        }
        let unknown =
            || Error::new(ErrorKind::Usage, format!("there is no format {}", self.format));
        match Format::named(&self.format).ok_or_else(unknown)? {
            Format::Tar(_) => {
                let align = self.align.unwrap_or_default();
                Ok(Format::Tar(TarOptions::new(align, self.pad_to, self.size)?))
            }
            Format::Fat(options) => {
                let block_size = self.block_size.unwrap_or(options.block_bytes().into());
                let options = options
                    .with_type(self.fat_type)?
                    .with_profile(self.profile.unwrap_or_default())?
                    .with_block_bytes(block_size)?
                    .with_free(self.free.unwrap_or(0))?
                    .with_length(self.pad_to, self.size)?;
                Ok(Format::Fat(options))
            }
            // A format without options of its own.
            other if self.pad_to.or(self.size).is_none() => Ok(other),
            other => {
                let what = format!("--pad-to and --size do not apply to --format {}", other.name());
                Err(Error::new(ErrorKind::Usage, what))
            }
        }
    }
}
