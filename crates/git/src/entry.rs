//! Decodes the entries of one git tree.

use crate::repository::Repository;
use freestone_core::{Error, Result, path};
use freestone_source::directory::version_control;
use gix_hash::ObjectId;
use gix_object::Kind;

const ID_BYTES: usize = 20;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Tree,
    File { executable: bool },
    Link,
    Submodule,
}

/// An entry of a git tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) id: ObjectId,
}

/// An entry within the bytes of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryRef<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) mode: Mode,
    pub(crate) id: &'a [u8],
}

impl EntryRef<'_> {
    pub(crate) fn to_owned(self) -> TreeEntry {
        let id = ObjectId::from_bytes_or_panic(self.id);
        TreeEntry { name: self.name.to_vec(), mode: self.mode, id }
    }
}

/// The entries of a tree, in the order of a manifest: by name. They are kept as the tree has them,
/// with four more bytes for each, since a directory may hold millions.
#[derive(Debug, Default)]
pub(crate) struct TreeEntries {
    bytes: Vec<u8>,
    /// Where each entry starts.
    offsets: Vec<u32>,
}

/// Reads the entries of the tree `id`.
pub(crate) fn entries(repository: &Repository, id: ObjectId) -> Result<TreeEntries> {
    let bytes = repository.need(id, Kind::Tree)?;
    TreeEntries::parse(bytes).map_err(|error| error.context(format!("git tree {id}")))
}

impl Repository {
    /// Returns true if an entry of a tree belongs to version control, and is not pushed.
    ///
    /// # Errors
    /// A tree cannot be read.
    pub(crate) fn is_version_control(&self, entry: &TreeEntry) -> Result<bool> {
        version_control::owns_entry(&entry.name, entry.mode == Mode::Tree, |mark| {
            Ok(entries(self, entry.id)?.find(mark.as_bytes()).is_some())
        })
    }
}

fn mode_of(digits: &[u8]) -> Option<Mode> {
    let number = str::from_utf8(digits).ok().and_then(|text| u32::from_str_radix(text, 8).ok())?;
    match number & 0o170_000 {
        0o040_000 => Some(Mode::Tree),
        0o100_000 => Some(Mode::File { executable: number & 0o100 != 0 }),
        0o120_000 => Some(Mode::Link),
        0o160_000 => Some(Mode::Submodule),
        _ => None,
    }
}

/// Splits the first entry off the bytes of a tree; `None` if it is malformed.
fn split(bytes: &[u8]) -> Option<(EntryRef<'_>, &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let (digits, rest) = (&bytes[..space], &bytes[space + 1..]);
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    let (id, rest) = rest.split_at_checked(ID_BYTES)?;
    Some((EntryRef { name, mode: mode_of(digits)?, id }, rest))
}

/// Checks that a name can be in a path.
fn check_name(name: &[u8]) -> Result<()> {
    let fault = match path::fault(name) {
        None if name.contains(&b'/') => "holds a /",
        // A name that is too long makes a path that is too long, which is reported with its path.
        Some(fault) if name.len() <= freestone_core::limits::PATH_BYTES_MAX => fault,
        _ => return Ok(()),
    };
    Err(Error::refused(format!("the name {:?} {fault}", path::display(name)))
        .hint("git cannot check out such a tree either; run `git fsck` for details"))
}

impl TreeEntries {
    /// Parses the bytes of a tree.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self> {
        let malformed = || Error::corrupt("malformed").hint("run `git fsck` for details");
        let mut offsets = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let offset = u32::try_from(bytes.len() - rest.len()).map_err(|_| malformed())?;
            let (entry, after) = split(rest).ok_or_else(malformed)?;
            check_name(entry.name)?;
            offsets.push(offset);
            rest = after;
        }
        let mut entries = Self { bytes, offsets };
        let mut offsets = std::mem::take(&mut entries.offsets);
        offsets.sort_unstable_by(|a, b| entries.at_offset(*a).name.cmp(entries.at_offset(*b).name));
        entries.offsets = offsets;
        let twice = (1..entries.len()).find(|at| entries.get(at - 1).name == entries.get(*at).name);
        if let Some(at) = twice {
            let name = path::display(entries.get(at).name);
            return Err(Error::refused(format!("the name {name:?} occurs twice"))
                .hint("git cannot check out such a tree either; run `git fsck` for details"));
        }
        Ok(entries)
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    fn at_offset(&self, offset: u32) -> EntryRef<'_> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        split(&self.bytes[offset..]).expect("all entries were parsed before").0
    }

    /// Returns the entry with the number `at` in the order of names.
    ///
    /// # Panics
    /// The entry does not exist.
    pub(crate) fn get(&self, at: usize) -> EntryRef<'_> {
        self.at_offset(self.offsets[at])
    }

    /// Returns the entry with the name `name`.
    pub(crate) fn find(&self, name: &[u8]) -> Option<EntryRef<'_>> {
        let found =
            self.offsets.binary_search_by(|offset| self.at_offset(*offset).name.cmp(name)).ok()?;
        Some(self.get(found))
    }

    /// Returns all entries in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.offsets.iter().map(|offset| self.at_offset(*offset))
    }

    /// Returns all entries in the order in which the tree has them.
    pub(crate) fn in_tree_order(&self) -> impl Iterator<Item = EntryRef<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (entry, after) = split(rest)?;
            rest = after;
            Some(entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<TreeEntries> {
        TreeEntries::parse(bytes.to_vec())
    }

    fn entry(mode: &str, name: &[u8]) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &[7; ID_BYTES]].concat()
    }

    #[test]
    fn entries_come_in_the_order_of_manifests() {
        // Git sorts a directory as if its name ended in a slash.
        let bytes = [
            entry("100644", b"a.txt"),
            entry("40000", b"a"),
            entry("120000", b"l"),
            entry("160000", b"s"),
            entry("100755", b"x"),
            entry("100664", b"y"),
        ];
        let found = parse(&bytes.concat()).unwrap();
        let names: Vec<&[u8]> = found.iter().map(|entry| entry.name).collect();
        assert_eq!(names, [&b"a"[..], b"a.txt", b"l", b"s", b"x", b"y"]);
        assert_eq!(found.get(0).mode, Mode::Tree);
        assert_eq!(found.get(4).mode, Mode::File { executable: true });
        assert_eq!(found.get(5).mode, Mode::File { executable: false });
        assert_eq!(found.find(b"l").map(|entry| entry.mode), Some(Mode::Link));
        assert!(found.find(b"m").is_none());
        let names: Vec<&[u8]> = found.in_tree_order().map(|entry| entry.name).collect();
        assert_eq!(names[..2], [&b"a.txt"[..], b"a"]);
    }

    #[test]
    fn names_that_are_none_are_refused_and_nothing_panics() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/"] {
            assert!(parse(&entry("100644", name)).is_err(), "{name:?}");
        }
        let twice = [entry("40000", b"a"), entry("100644", b"a")].concat();
        assert!(parse(&twice).is_err());
        assert!(parse(&entry("644", b"a")).is_err());
        assert!(parse(&entry("x", b"a")).is_err());
        let whole = entry("100644", b"name");
        for cut in 1..whole.len() {
            assert!(parse(&whole[..cut]).is_err());
        }
    }
}
