//! How names of members spell paths.

use freestone_core::path;

/// The path that a name spells, and whether it is a directory's: one leading `./` or `/` and one
/// trailing `/` are no part of it. `None` for `./` alone, which no reader shows.
pub(super) fn path(name: &[u8]) -> Option<(&[u8], bool)> {
    let name = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")).unwrap_or(name);
    match name.strip_suffix(b"/") {
        Some(directory) => Some((directory, true)),
        None if name.is_empty() => None,
        None => Some((name, false)),
    }
}

/// Whether the name is that of a filler.
pub(super) fn is_filler(name: &[u8]) -> bool {
    name == b"./"
}

/// What is wrong with a name that is no filler's.
pub(super) fn fault(name: &[u8]) -> Option<String> {
    match path(name) {
        None => Some("its name is empty".into()),
        Some((path, _)) => path::fault(path).map(|fault| format!("its path {fault}")),
    }
}
