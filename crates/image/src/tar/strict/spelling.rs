//! The paths that the names of members spell.

use freestone_core::path;

/// Returns the path that a name spells, and whether it is a directory's. One leading `./` or `/`
/// and one trailing `/` do not belong to the path. Returns `None` for `./` alone, which no reader
/// shows.
pub(super) fn path(name: &[u8]) -> Option<(&[u8], bool)> {
    let name = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")).unwrap_or(name);
    match name.strip_suffix(b"/") {
        Some(directory) => Some((directory, true)),
        None if name.is_empty() => None,
        None => Some((name, false)),
    }
}

/// Returns true if the name is that of a filler.
pub(super) fn is_filler(name: &[u8]) -> bool {
    name == b"./"
}

/// Returns what is wrong with a name that is not a filler's.
pub(super) fn fault(name: &[u8]) -> Option<String> {
    match path(name) {
        None => Some("its name is empty".into()),
        Some((path, _)) => path::fault(path).map(|fault| format!("its path {fault}")),
    }
}
