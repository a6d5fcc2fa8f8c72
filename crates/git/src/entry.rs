//! Decodes the entries of one git tree.

use crate::repository::Repository;
use freestone_core::{Error, Result, path};
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

/// Reads the entries of the tree `id`, and sorts them by name as in a manifest.
pub(crate) fn entries(repository: &Repository, id: ObjectId) -> Result<Vec<TreeEntry>> {
    let bytes = repository.need(id, Kind::Tree)?;
    parse(&bytes).map_err(|error| error.context(format!("git tree {id}")))
}

fn mode_of(digits: &[u8]) -> Option<Mode> {
    let number =
        std::str::from_utf8(digits).ok().and_then(|text| u32::from_str_radix(text, 8).ok())?;
    match number & 0o170_000 {
        0o040_000 => Some(Mode::Tree),
        0o100_000 => Some(Mode::File { executable: number & 0o100 != 0 }),
        0o120_000 => Some(Mode::Link),
        0o160_000 => Some(Mode::Submodule),
        _ => None,
    }
}

fn parse(mut bytes: &[u8]) -> Result<Vec<TreeEntry>> {
    let malformed = || Error::corrupt("malformed").hint("run `git fsck` for details");
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let (digits, rest) = (&bytes[..space], &bytes[space + 1..]);
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let (id, rest) = rest.split_at_checked(ID_BYTES).ok_or_else(malformed)?;
        bytes = rest;
        let fault = match path::fault(name) {
            None if name.contains(&b'/') => Some("holds a /"),
            // A name that is too long makes a path that is too long, which is reported with its
            // path.
            Some(fault) if name.len() <= freestone_core::limits::PATH_BYTES_MAX => Some(fault),
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(Error::refused(format!("the name {:?} {fault}", path::display(name)))
                .hint("git cannot check out such a tree either; run `git fsck` for details"));
        }
        let mode = mode_of(digits).ok_or_else(malformed)?;
        let id = ObjectId::from_bytes_or_panic(id);
        entries.push(TreeEntry { name: name.to_vec(), mode, id });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let name = path::display(&pair[0].name);
        return Err(Error::refused(format!("the name {name:?} occurs twice"))
            .hint("git cannot check out such a tree either; run `git fsck` for details"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let names: Vec<&[u8]> = found.iter().map(|entry| &entry.name[..]).collect();
        assert_eq!(names, [&b"a"[..], b"a.txt", b"l", b"s", b"x", b"y"]);
        assert_eq!(found[0].mode, Mode::Tree);
        assert_eq!(found[4].mode, Mode::File { executable: true });
        assert_eq!(found[5].mode, Mode::File { executable: false });
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
