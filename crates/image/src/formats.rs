//! The list of all formats, and the names of images.

use crate::fat::FatOptions;
use crate::format::FormatOptions;
use crate::read::ReadAt;
use crate::report::{CheckReport, Container, Found};
use crate::tar::TarOptions;
use freestone_core::{Id, NodeSource, Plan, Result};
use freestone_manifest::Tree;
use std::fmt;

/// Defines [`Format`] from a list of formats and the types of their options.
macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident($options:ty),)*) => {
        /// An image format with its options.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Format {
            $($(#[$doc])* $variant($options),)*
        }

        impl Format {
            /// The formats' names on the command line.
            pub const NAMES: &[&str] = &[$(<$options as FormatOptions>::NAME),*];

            /// Returns the format's name on the command line.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$options as FormatOptions>::NAME,)*
                }
            }

            /// Returns the format of this name, with its default options.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $(<$options as FormatOptions>::NAME => Some(Self::$variant(Default::default())),)*
                    _ => None,
                }
            }

            /// Returns the formats in which images are attached without being written, each with
            /// the ending of the image's file name, without the dot. The first is that of names
            /// without an ending.
            pub fn attached() -> Vec<(&'static str, Self)> {
                let mut all = Vec::new();
                $(
                    let its = <$options as FormatOptions>::attached();
                    all.extend(its.into_iter().map(|(name, options)| (name, Self::$variant(options))));
                )*
                all
            }

            /// Returns the bytes of the image's sectors; `None` if the format has none.
            pub fn sector_bytes(&self) -> Option<u32> {
                match self {
                    $(Self::$variant(options) => FormatOptions::sector_bytes(options),)*
                }
            }

            /// Lays out the image of a manifest.
            ///
            /// # Errors
            /// The manifest cannot be read, or holds paths that the format cannot hold. Then every
            /// such path is listed.
            pub fn plan<S: NodeSource + 'static>(
                &self,
                manifest: Tree<S>,
            ) -> Result<Box<dyn Plan>> {
                match self {
                    $(Self::$variant(options) => FormatOptions::plan(*options, manifest),)*
                }
            }

            /// Returns the name of the image of the manifest `root`.
            fn image_name(&self, root: &Id) -> String {
                match self {
                    $(Self::$variant(options) => options.image_name(root),)*
                }
            }

            /// Reads the name of an image of any format.
            fn parse_image_name(text: &str) -> Option<(Self, Id)> {
                None$(.or_else(|| {
                    let (options, root) = <$options as FormatOptions>::parse_image_name(text)?;
                    Some((Self::$variant(options), root))
                }))*
            }

            /// Returns the format and the manifest's root that are named in the head of an image
            /// of any format.
            pub(crate) fn name_in(head: &[u8]) -> Option<(Self, Id)> {
                None$(.or_else(|| {
                    let (options, root) = <$options as FormatOptions>::name_in(head)?;
                    Some((Self::$variant(options), root))
                }))*
            }

            /// Returns the name of the format whose images of other programs are described as
            /// `looks_like`.
            pub(crate) fn looking_like(looks_like: &str) -> Option<&'static str> {
                match looks_like {
                    $(<$options as FormatOptions>::LOOKS_LIKE => {
                        Some(<$options as FormatOptions>::NAME)
                    })*
                    _ => None,
                }
            }

            /// Checks an image of the format of this name. Returns `None` if there is no such
            /// format.
            pub(crate) fn check<R: ReadAt + ?Sized>(
                name: &str,
                image: &R,
                container: Container,
                each: &mut dyn FnMut(Found) -> Result<()>,
            ) -> Result<Option<CheckReport>> {
                match name {
                    $(<$options as FormatOptions>::NAME => {
                        <$options as FormatOptions>::check(image, container, each).map(Some)
                    })*
                    _ => Ok(None),
                }
            }
        }
    };
}

formats! {
    /// A tar archive that strict readers take.
    Tar(TarOptions),
    /// A FAT file system.
    Fat(FatOptions),
}

/// The name of an image: everything that determines its bytes. Every image has it in its own head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// The format and its options.
    pub format: Format,
    /// The manifest's root.
    pub root: Id,
}

impl ImageName {
    /// Reads the text that [`fmt::Display`] writes, and no other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Format::parse_image_name(text).map(|(format, root)| Self { format, root })
    }
}

/// `freestone 1 FORMAT OPTIONS ROOT`.
impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format.image_name(&self.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Align;

    #[test]
    fn a_name_has_one_spelling() {
        let root = Id([0xab; 32]);
        let options = TarOptions::new(Align::None, None, Some(8192)).unwrap();
        let name = ImageName { format: Format::Tar(options), root };
        let text = name.to_string();
        assert_eq!(text, format!("freestone 1 tar align=none;pad=0;size=8192 {root}"));
        assert_eq!(ImageName::parse(&text), Some(name));
        for wrong in [
            text.replace("freestone 1", "freestone 2"),
            text.replace("tar", "rat"),
            text.replace("ab", "AB"),
            text.replace("pad=0", "pad=00"),
            text.replace("pad=0;size=8192", "size=8192;pad=0"),
            text.replace("size=8192", "size=+8192"),
            text.replace("size=8192", "size=8193"),
            format!("{text} "),
            format!(" {text}"),
            String::new(),
        ] {
            assert_eq!(ImageName::parse(&wrong), None, "{wrong}");
        }
    }
}
