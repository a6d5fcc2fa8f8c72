//! The rules, each with what breaks otherwise, and the list of what broke them.

use freestone_core::path;
use std::fmt;

/// Violations that are kept; beyond, they are counted.
const KEPT_MAX: usize = 100;

/// A rule of the tar readers, or of freestone's own layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// Headers sum up to their checksum.
    Checksum,
    /// Numbers of headers are octal.
    Octal,
    /// Members are files and directories.
    MemberKind,
    /// Payloads of `x`, `g`, `L` and `K` headers have 1 to 512 bytes.
    Payload,
    /// Payloads of `x` and `g` are pax records.
    PaxRecords,
    /// A pax key stands once in a payload.
    PaxRepeated,
    /// A member's own header comes right behind its `x`.
    PaxFollower,
    /// A `g` header holds comments only.
    GlobalComment,
    /// Headers of kind `L` and `K` are named `././@LongLink`.
    LongName,
    /// Directories' names, and no others, end in `/`.
    DirectorySlash,
    /// Directories have no data.
    DirectoryData,
    /// Directories come before what is in them.
    DirectoryFirst,
    /// Directories come once.
    DirectoryOnce,
    /// Files come once.
    FileOnce,
    /// A path is not both a file and a directory.
    OneKind,
    /// Names have no empty part, no `.` and no `..`.
    Name,
    /// Everything lies inside the image.
    Inside,
    /// No lone zero block stands between members.
    LoneZeroBlock,
    /// Two zero blocks end the archive.
    End,
    /// A whole zero block of 4096 bytes stands behind the last member.
    Tail,
    /// The image's length is a multiple of 4096.
    Length,
    /// The image begins with its name, and has no other `g` header.
    Head,
    /// Owners, modes, times and all that is the same in all headers are as freestone writes them.
    Fields,
    /// Pax stands where ustar is too small, and says just what does not fit.
    PaxNeed,
    /// As many fillers as align the data, in front of everything else of the member.
    Fillers,
    /// Contents of 64 KiB and more start at multiples of 4096.
    Alignment,
    /// Members come in manifest order.
    Order,
    /// Every directory has a header of its own.
    Parents,
    /// What is no header and no content is zero.
    Padding,
    /// The image is as long as its options say.
    Size,
}

impl Rule {
    /// All rules; those of the readers before those of freestone's layout.
    pub const ALL: [Self; 30] = {
        use Rule::*;
        [
            Checksum,
            Octal,
            MemberKind,
            Payload,
            PaxRecords,
            PaxRepeated,
            PaxFollower,
            GlobalComment,
            LongName,
            DirectorySlash,
            DirectoryData,
            DirectoryFirst,
            DirectoryOnce,
            FileOnce,
            OneKind,
            Name,
            Inside,
            LoneZeroBlock,
            End,
            Tail,
            Length,
            Head,
            Fields,
            PaxNeed,
            Fillers,
            Alignment,
            Order,
            Parents,
            Padding,
            Size,
        ]
    };

    /// Whether the rule is one of freestone's layout, which other programs' archives need not keep.
    pub fn is_own(self) -> bool {
        self >= Self::Head
    }

    /// The rule's short name, for programs.
    pub fn name(self) -> &'static str {
        self.texts().0
    }

    /// What breaks where the rule is broken, for people.
    pub fn why(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Checksum => ("checksum", "a header with a wrong checksum stops every reader"),
            Self::Octal => ("octal", "MirageOS's reader crashes on numbers that are not octal"),
            Self::MemberKind => {
                ("member-kind", "MirageOS's reader takes links and devices for empty files")
            }
            Self::Payload => {
                ("payload", "MirageOS's reader crashes on a payload of 0 or over 512 bytes")
            }
            Self::PaxRecords => ("pax-records", "readers stop at malformed pax records"),
            Self::PaxRepeated => {
                ("pax-repeated", "of a repeated key some readers take the first, some the last")
            }
            Self::PaxFollower => {
                ("pax-follower", "MirageOS's reader takes what follows an x for the member itself")
            }
            Self::GlobalComment => {
                ("global-comment", "other keys of a g header change every later member")
            }
            Self::LongName => {
                ("long-name", "MirageOS's reader takes L and K of other names for files")
            }
            Self::DirectorySlash => {
                ("directory-slash", "MirageOS's reader tells directories by the / alone")
            }
            Self::DirectoryData => ("directory-data", "readers disagree about skipping such data"),
            Self::DirectoryFirst => {
                ("directory-first", "MirageOS's reader forgets what came before the directory")
            }
            Self::DirectoryOnce => {
                ("directory-once", "MirageOS's reader forgets what came before the second header")
            }
            Self::FileOnce => ("file-once", "the last one hides the others"),
            Self::OneKind => ("one-kind", "MirageOS's reader crashes, or forgets the directory"),
            Self::Name => ("name", "such parts are literal for MirageOS and dropped by others"),
            Self::Inside => ("inside", "reading beyond the device ends a unikernel"),
            Self::LoneZeroBlock => {
                ("lone-zero-block", "it ends the archive for GNU tar, but not for MirageOS")
            }
            Self::End => ("end", "MirageOS's reader reads on beyond the device"),
            Self::Tail => {
                ("tail", "MirageOS reads a sector more behind data that ends with a sector")
            }
            Self::Length => ("length", "Xen drops a trailing part of a 4096-byte sector"),
            Self::Head => ("head", "the image does not say what it is"),
            Self::Fields => ("fields", "freestone writes other bytes here"),
            Self::PaxNeed => ("pax-need", "freestone writes other pax records here"),
            Self::Fillers => ("fillers", "freestone writes another number of ./ headers here"),
            Self::Alignment => ("alignment", "the content cannot be shared by reflink"),
            Self::Order => ("order", "freestone writes members in manifest order"),
            Self::Parents => ("parents", "HTTP servers show such a directory as of 1970"),
            Self::Padding => ("padding", "freestone writes zeros here"),
            Self::Size => ("size", "the options say another length"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place where an image breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// Where, in bytes from the image's start.
    pub offset: u64,
    /// The member that it is about.
    pub path: Option<Vec<u8>>,
    /// What stands there.
    pub what: String,
}

/// The violation and why it matters, on one line.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.rule, self.offset)?;
        if let Some(path) = &self.path {
            write!(f, " ({})", path::display(path))?;
        }
        write!(f, ": {}; {}", self.what, self.rule.why())
    }
}

/// The first violations, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    kept: Vec<Violation>,
    count: u64,
}

impl Violations {
    pub(super) fn add(
        &mut self,
        rule: Rule,
        offset: u64,
        path: Option<&[u8]>,
        what: impl Into<String>,
    ) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            let path = path.map(<[u8]>::to_vec);
            self.kept.push(Violation { rule, offset, path, what: what.into() });
        }
    }

    /// The first hundred, in the order of the image.
    pub fn kept(&self) -> &[Violation] {
        &self.kept
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rules_have_names_of_their_own_and_stand_in_order() {
        let names: HashSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        assert!(Rule::ALL.is_sorted());
        assert!(Rule::Head.is_own() && !Rule::Length.is_own());
    }

    #[test]
    fn violations_are_bounded_and_counted() {
        let mut violations = Violations::default();
        for offset in 0..1000 {
            violations.add(Rule::Name, offset, Some(b"a\n"), "it is odd");
        }
        assert_eq!((violations.kept().len(), violations.count()), (100, 1000));
        assert_eq!(
            violations.kept()[7].to_string(),
            "name at byte 7 (a\\x0a): it is odd; such parts are literal for MirageOS and dropped \
             by others"
        );
    }
}
