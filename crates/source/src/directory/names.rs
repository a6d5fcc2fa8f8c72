//! The names of a directory in memory: one arena of records, and the offset of each record.
//!
//! ```text
//! kind u8 | length u16, little-endian | name
//! ```
//!
//! That is 7 bytes per name, and the name; a run on disk ([`super::spill`]) holds the same records.

use freestone_core::wire::to_usize;
use rustix::fs::FileType;

/// The bytes of a record before its name.
const HEAD_BYTES: usize = 3;

/// The kind of a name as its directory reports it, before the file itself is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// The file system does not report kinds.
    Unknown,
    Directory,
    Other,
}

impl NameKind {
    /// Converts the type that a directory, or a file itself, reports.
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::Unknown => Self::Unknown,
            FileType::Directory => Self::Directory,
            _ => Self::Other,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Directory => 1,
            Self::Other => 2,
        }
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Directory,
            2 => Self::Other,
            _ => Self::Unknown,
        }
    }
}

/// Decodes the record at the beginning of `bytes`: its length, kind and name. Returns `None` if the
/// record is incomplete.
pub(super) fn decode(bytes: &[u8]) -> Option<(usize, NameKind, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
    Some((HEAD_BYTES + length, NameKind::from_byte(head[0]), rest.get(..length)?))
}

/// Appends a record. A name has at most 65,535 bytes, because the kernel's records have no more.
pub(super) fn encode(kind: NameKind, name: &[u8], into: &mut Vec<u8>) {
    let length = u16::try_from(name.len()).expect("getdents gives at most 65,535 bytes a record");
    into.push(kind.to_byte());
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(name);
}

/// A list of names, in the order in which they were added until it is sorted.
#[derive(Default)]
pub(super) struct Names {
    records: Vec<u8>,
    starts: Vec<u32>,
}

impl Names {
    /// Returns the memory that the names take together, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.records.len() + size_of::<u32>() * self.starts.len()
    }

    /// Adds a name. Returns false, and adds nothing, if the names would take more than `bytes_max`
    /// or have offsets of more than 32 bits. The first name always fits.
    #[must_use]
    pub(super) fn add(&mut self, kind: NameKind, name: &[u8], bytes_max: usize) -> bool {
        let more = HEAD_BYTES + name.len() + size_of::<u32>();
        let start = match u32::try_from(self.records.len()) {
            Ok(start) if self.starts.is_empty() || self.bytes() + more <= bytes_max => start,
            _ => return false,
        };
        self.starts.push(start);
        encode(kind, name, &mut self.records);
        true
    }

    /// Returns the name at `index`.
    pub(super) fn get(&self, index: usize) -> Option<(NameKind, &[u8])> {
        self.starts.get(index).map(|start| at(&self.records, *start))
    }

    /// Sorts the names bytewise and removes repeated ones: a directory that changes while it is
    /// read may list a name twice.
    pub(super) fn sort(&mut self) {
        let Self { records, starts } = self;
        starts.sort_unstable_by(|a, b| at(records, *a).1.cmp(at(records, *b).1));
        starts.dedup_by(|a, b| at(records, *a).1 == at(records, *b).1);
    }

    /// Removes all names, but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.starts.clear();
    }

    /// Frees memory that is not used.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.starts.shrink_to_fit();
    }
}

fn at(records: &[u8], start: u32) -> (NameKind, &[u8]) {
    let start = to_usize(start.into());
    let (_, kind, name) = decode(&records[start..]).expect("each start is that of a whole record");
    (kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_sorted_once_and_with_their_kind() {
        let mut names = Names::default();
        for (name, kind) in [
            (&b"b"[..], NameKind::Other),
            (b"a\xff", NameKind::Unknown),
            (b"a", NameKind::Directory),
            (b"b", NameKind::Other),
            (&[b'c'; 65_535], NameKind::Other),
        ] {
            assert!(names.add(kind, name, usize::MAX));
        }
        names.sort();
        assert_eq!(names.get(0), Some((NameKind::Directory, &b"a"[..])));
        assert_eq!(names.get(1), Some((NameKind::Unknown, &b"a\xff"[..])));
        assert_eq!(names.get(2), Some((NameKind::Other, &b"b"[..])));
        assert_eq!(names.get(3), Some((NameKind::Other, &[b'c'; 65_535][..])));
        assert_eq!(names.get(4), None);
    }

    #[test]
    fn a_million_names_of_12_bytes_take_19_bytes_each() {
        let mut names = Names::default();
        for number in 0..1_000_000 {
            assert!(names.add(NameKind::Other, format!("{number:012}").as_bytes(), 32 << 20));
        }
        assert_eq!(names.bytes(), 19_000_000);
        assert!(names.records.capacity() + 4 * names.starts.capacity() <= 32 << 20);
    }

    #[test]
    fn no_more_is_taken_than_allowed_but_one_name_always() {
        let mut names = Names::default();
        assert!(names.add(NameKind::Other, b"longer than allowed", 10));
        assert!(!names.add(NameKind::Other, b"", 32));
        assert!(names.add(NameKind::Other, b"", 33));
        assert_eq!(names.get(1), Some((NameKind::Other, &b""[..])));
        assert_eq!(names.get(2), None);
    }

    #[test]
    fn cut_records_are_not_decoded() {
        let mut record = Vec::new();
        encode(NameKind::Directory, b"name", &mut record);
        assert_eq!(decode(&record), Some((7, NameKind::Directory, &b"name"[..])));
        for length in 0..record.len() {
            assert_eq!(decode(&record[..length]), None);
        }
    }
}
