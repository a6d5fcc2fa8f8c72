//! The rules, and what breaks with each.

use crate::violation::{Violation, Violations};

/// A rule of FAT's readers, or of freestone's own layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// The boot sector has its signature, and numbers that make sense.
    Boot,
    /// The file system lies inside the image.
    Inside,
    /// The tables have an entry for each cluster.
    TableLength,
    /// The tables are equal.
    TablesEqual,
    /// The first two entries of the table hold medium and end.
    TableStart,
    /// FAT32's FSInfo is right, and so is the copy of the boot sector.
    Info,
    /// Chains go from cluster to cluster to an end, and no cluster is in two.
    Chain,
    /// A chain is as long as its file.
    ChainLength,
    /// Every used cluster belongs to something.
    Lost,
    /// Short names are made of what they may be, and come once in a directory.
    ShortName,
    /// Long names are whole, and belong to the short name behind them.
    LongName,
    /// Names are what FAT can hold, and do not differ by case alone.
    Name,
    /// Directories begin with `.` and `..`, except the root.
    Dots,
    /// Directories have at most 65,536 slots, paths at most 4,095 bytes.
    Limit,
    /// Dates are dates.
    Time,
    /// The image's length is a multiple of 4096.
    Length,
    /// MirageOS: FAT16, of a number of clusters that it tells as such.
    MirageType,
    /// MirageOS: a long name ends with a NUL, a name that is short has none, and there is no label.
    MirageName,
    /// The head says what the image is, and its parts are as large as its options say.
    Head,
    /// Clusters are given out in manifest order.
    Placement,
    /// Entries come in manifest order, with the short names and fields that freestone writes.
    Slots,
    /// What is nothing else is zero.
    Padding,
    /// The image is as long as its options say.
    Size,
}

impl Rule {
    /// All rules; those of the readers before those of freestone's layout.
    pub const ALL: [Self; 23] = {
        use Rule::*;
        [
            Boot,
            Inside,
            TableLength,
            TablesEqual,
            TableStart,
            Info,
            Chain,
            ChainLength,
            Lost,
            ShortName,
            LongName,
            Name,
            Dots,
            Limit,
            Time,
            Length,
            MirageType,
            MirageName,
            Head,
            Placement,
            Slots,
            Padding,
            Size,
        ]
    };

    /// Whether the rule is one of freestone's layout, which other programs' file systems need not
    /// keep.
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
            Self::Boot => ("boot", "readers do not take it for a FAT file system"),
            Self::Inside => ("inside", "reading beyond the device fails"),
            Self::TableLength => ("table-length", "some clusters cannot be reached"),
            Self::TablesEqual => ("tables-equal", "readers differ in which table they follow"),
            Self::TableStart => ("table-start", "checkers take the file system for damaged"),
            Self::Info => ("info", "Linux counts free clusters by it, checkers complain"),
            Self::Chain => ("chain", "files are cut short, or show each other's content"),
            Self::ChainLength => ("chain-length", "the file is cut short, or space is lost"),
            Self::Lost => ("lost", "checkers complain, and the space cannot be used"),
            Self::ShortName => ("short-name", "readers without long names find another file"),
            Self::LongName => ("long-name", "readers show the short name instead"),
            Self::Name => ("name", "some readers cannot find the file, or find another"),
            Self::Dots => ("dots", "checkers complain, and paths with .. lead elsewhere"),
            Self::Limit => ("limit", "readers stop before the end"),
            Self::Time => ("time", "readers show odd times"),
            Self::Length => ("length", "Xen drops a trailing part of a 4096-byte sector"),
            Self::MirageType => {
                ("mirage-type", "MirageOS's reader fails on FAT12 and shows an empty FAT32")
            }
            Self::MirageName => ("mirage-name", "MirageOS's reader does not find the file"),
            Self::Head => ("head", "the image is not what its head says"),
            Self::Placement => ("placement", "freestone puts it elsewhere"),
            Self::Slots => ("slots", "freestone writes other bytes here"),
            Self::Padding => ("padding", "freestone writes zeros here"),
            Self::Size => ("size", "the options say another length"),
        }
    }
}

/// Notes a broken rule.
pub(super) fn broken(
    violations: &mut Violations,
    rule: Rule,
    offset: u64,
    path: Option<&[u8]>,
    what: impl Into<String>,
) {
    violations.add(Violation {
        rule: rule.name(),
        why: rule.why(),
        offset,
        path: path.map(<[u8]>::to_vec),
        what: what.into(),
    });
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
        assert!(Rule::Head.is_own() && !Rule::MirageName.is_own());
    }
}
