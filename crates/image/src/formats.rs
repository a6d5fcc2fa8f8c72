//! The formats, and the name that an image carries in its head.

use crate::format::FormatOptions;
use crate::report::{Container, Found, Report};
use crate::{ReadAt, fat, tar};
use freestone_core::{Id, NodeSource, Plan, Result};
use std::fmt;

/// Makes [`Format`] of a list of folders.
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

            /// The format's name on the command line.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$options as FormatOptions>::NAME,)*
                }
            }

            /// The format of this name, with the options that are the default.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $(<$options as FormatOptions>::NAME => Some(Self::$variant(Default::default())),)*
                    _ => None,
                }
            }

            /// As what images are attached without being written, each with what the image's name
            /// ends in, without the dot; the first is that of names that say none.
            pub fn attached() -> Vec<(&'static str, Self)> {
                let mut all = Vec::new();
                $(
                    let its = <$options as FormatOptions>::attached();
                    all.extend(its.into_iter().map(|(name, options)| (name, Self::$variant(options))));
                )*
                all
            }

            /// Reads what [`fmt::Display`] writes, and nothing else.
            pub fn parse(text: &str) -> Option<Self> {
                let (name, options) = text.split_once(' ')?;
                match name {
                    $(<$options as FormatOptions>::NAME => {
                        <$options as FormatOptions>::parse(options).map(Self::$variant)
                    })*
                    _ => None,
                }
            }

            /// The layout of the image of the manifest `root`.
            ///
            /// # Errors
            /// The manifest cannot be read, or holds what the format cannot; every offending path
            /// is listed then.
            pub fn plan<S: NodeSource + 'static>(
                &self,
                nodes: S,
                root: &Id,
            ) -> Result<Box<dyn Plan>> {
                match self {
                    $(Self::$variant(options) => FormatOptions::plan(*options, nodes, root),)*
                }
            }

            /// The name in the head of an image of any format.
            pub(crate) fn name_in(head: &[u8]) -> Option<ImageName> {
                None$(.or_else(|| <$options as FormatOptions>::name_in(head)))*
            }

            /// The format's name whose images of other programs are called `looks_like`.
            pub(crate) fn looking_like(looks_like: &str) -> Option<&'static str> {
                match looks_like {
                    $(<$options as FormatOptions>::LOOKS_LIKE => {
                        Some(<$options as FormatOptions>::NAME)
                    })*
                    _ => None,
                }
            }

            /// Checks an image of the format of this name; `None` if there is no such format.
            pub(crate) fn check<R: ReadAt + ?Sized>(
                name: &str,
                image: &R,
                container: Container,
                each: &mut dyn FnMut(Found) -> Result<()>,
            ) -> Result<Option<Report>> {
                match name {
                    $(<$options as FormatOptions>::NAME => {
                        <$options as FormatOptions>::check(image, container, each).map(Some)
                    })*
                    _ => Ok(None),
                }
            }
        }

        /// Name and options, in the one canonical way.
        impl fmt::Display for Format {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(options) => write!(f, "{} {options}", self.name()),)*
                }
            }
        }
    };
}

formats! {
    /// A tar archive that the strict readers take.
    Tar(tar::Options),
    /// A FAT file system.
    Fat(fat::Options),
}

/// What an image is: all that its bytes are a function of. It stands in the image's own head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Format and options.
    pub format: Format,
    /// The manifest's root.
    pub root: Id,
}

/// What every name begins with: the program, and the version of the formats.
const PREFIX: &str = "freestone 1 ";

impl ImageName {
    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (format, root) = text.strip_prefix(PREFIX)?.rsplit_once(' ')?;
        let name = Self { format: Format::parse(format)?, root: Id::parse(root).ok()? };
        (name.to_string() == text).then_some(name)
    }
}

/// `freestone 1 FORMAT OPTIONS ROOT`.
impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{} {}", self.format, self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Align, Options};

    #[test]
    fn a_name_has_one_spelling() {
        let root = Id([0xab; 32]);
        let options = Options::new(Align::None, None, Some(8192)).unwrap();
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
