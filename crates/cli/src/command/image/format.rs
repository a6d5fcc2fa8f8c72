//! The format of an image, as options say it.

use crate::values::size;
use clap::Args;
use clap::builder::PossibleValuesParser;
use freestone_core::{Error, ErrorKind, Result};
use freestone_image::Format;
use freestone_image::fat::{FatType, Profile};
use freestone_image::tar::{self, Align};

/// Which format, and what can be chosen about it.
#[derive(Args)]
pub(super) struct FormatOptions {
    /// The format
    #[arg(long, value_name = "FORMAT", default_value = "tar",
          value_parser = PossibleValuesParser::new(Format::NAMES))]
    format: String,

    /// Make the image's length a multiple of N, itself a multiple of 4096
    #[arg(long, value_name = "N", value_parser = size::argument, conflicts_with = "size")]
    pad_to: Option<u64>,

    /// Make the image exactly N long, a multiple of 4096; refused if it does not fit
    #[arg(long, value_name = "N", value_parser = size::argument)]
    size: Option<u64>,

    /// tar: where contents of 64 KiB and more start: at multiples of 4096 bytes (which is the
    /// default), or anywhere (for archives that are unpacked as root)
    #[arg(long, value_name = "4096|none", value_parser = align)]
    align: Option<Align>,

    /// fat: for whom: any reader (the default), or MirageOS's, which takes strict FAT16 alone
    #[arg(long, value_name = "any|mirage", value_parser = profile)]
    profile: Option<Profile>,

    /// fat: FAT12, FAT16 or FAT32, instead of what fits
    #[arg(long, value_name = "12|16|32", value_parser = fat_type)]
    fat_type: Option<FatType>,

    /// fat: leave at least N bytes free, for whoever writes to the image
    #[arg(long, value_name = "N", value_parser = size::argument)]
    free: Option<u64>,

    /// fat: the length of the device's sectors: 512 (the default) or 4096 bytes
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
    /// The format that was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if an option is another format's, or makes no sense.
    pub(super) fn format(&self) -> Result<Format> {
        for (option, is_given, its) in [
            ("--align", self.align.is_some(), "tar"),
            ("--profile", self.profile.is_some(), "fat"),
            ("--fat-type", self.fat_type.is_some(), "fat"),
            ("--free", self.free.is_some(), "fat"),
            ("--block-size", self.block_size.is_some(), "fat"),
        ] {
            if is_given && its != self.format {
                let what = format!("{option} is an option of --format {its}");
                return Err(Error::new(ErrorKind::Usage, what)
                    .hint(format!("say --format {its}, or leave {option} out")));
            }
        }
        let unknown = || Error::new(ErrorKind::Usage, format!("no format {}", self.format));
        match Format::named(&self.format).ok_or_else(unknown)? {
            Format::Tar(_) => {
                let align = self.align.unwrap_or_default();
                Ok(Format::Tar(tar::Options::new(align, self.pad_to, self.size)?))
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
            // One without options of its own.
            other if self.pad_to.or(self.size).is_none() => Ok(other),
            other => {
                let what =
                    format!("--pad-to and --size are no options of --format {}", other.name());
                Err(Error::new(ErrorKind::Usage, what))
            }
        }
    }
}
