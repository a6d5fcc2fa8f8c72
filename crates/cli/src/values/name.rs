//! Arguments that name something: `REV`, `REV:PATH`, `sha1:HEX`, or a directory.
//!
//! A `REV` is a revision id or a unique prefix of one (8 hex digits or more), a ref, `REF@N`,
//! `REV~N` or `commit:HEX`; the store resolves it. A ref's name contains no `:`, so `REV:PATH` is
//! split at the first one (after `commit:`).

use freestone_core::{Error, ErrorKind, Result, Sha1, path};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The text about names in the help.
pub const TEXT: &str = "\
REV is a revision: its id or a unique prefix of it (8 hex digits or more), a ref, REF@N (entry N of
the ref's log), REV~N (the N-th ancestor), or commit:HEX (the label git.commit). REV:PATH is a path
in it.";

/// `REV[:PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The part that the store resolves.
    pub revision: String,
    /// The path; `None` for the whole revision.
    pub path: Option<Vec<u8>>,
}

fn usage(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, what)
}

impl Name {
    /// Parses `REV[:PATH]`. Slashes at the end of the path are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if `argument` is not such a name.
    pub fn parse(argument: &OsStr) -> Result<Self> {
        let bytes = argument.as_bytes();
        let shown = path::display(bytes);
        let skipped = if bytes.starts_with(b"commit:") { b"commit:".len() } else { 0 };
        let colon = bytes[skipped..].iter().position(|byte| *byte == b':');
        let (revision, path) = match colon {
            None => (bytes, None),
            Some(at) => (&bytes[..skipped + at], Some(&bytes[skipped + at + 1..])),
        };
        if revision.len() == skipped {
            return Err(usage(format!("\"{shown}\" does not name a revision"))
                .hint("give a revision, as in main or main:some/path"));
        }
        let revision = std::str::from_utf8(revision)
            .map_err(|_| usage(format!("\"{shown}\" does not name a revision: it is not UTF-8")))?;
        Ok(Self {
            revision: revision.to_owned(),
            path: path.map(entry_path).transpose()?.flatten(),
        })
    }

    /// Parses a name of a whole revision, without a path.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if `argument` has a path, or is not a name.
    pub fn parse_revision(argument: &OsStr) -> Result<String> {
        let name = Self::parse(argument)?;
        if name.path.is_some() || argument.as_bytes().ends_with(b":") {
            let shown = path::display(argument.as_bytes());
            let what = format!("\"{shown}\" has a path, but a whole revision is needed");
            return Err(usage(what).hint(format!("write {}", name.revision)));
        }
        Ok(name.revision)
    }
}

/// Parses the path of an entry. Returns `None` if it is empty, which means the whole revision.
fn entry_path(path: &[u8]) -> Result<Option<Vec<u8>>> {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let trimmed = &path[..end];
    if trimmed.is_empty() {
        return Ok(None);
    }
    if let Some(fault) = path::fault(trimmed) {
        let shown = path::display(path);
        return Err(usage(format!("path \"{shown}\" {fault}"))
            .hint("a path is relative to the top of the revision, without . and .. in it"));
    }
    Ok(Some(trimmed.to_vec()))
}

/// Returns true if `argument` names a local directory and not a revision.
pub fn is_directory(argument: &OsStr) -> bool {
    matches!(argument.as_bytes().first(), Some(b'.' | b'/'))
}

/// Parses `sha1:HEX`. Returns `None` if the argument does not begin with `sha1:`.
///
/// # Errors
/// [`ErrorKind::Usage`] if what follows is not a SHA-1.
pub fn sha1(argument: &OsStr) -> Result<Option<Sha1>> {
    let Some(hex) = argument.as_bytes().strip_prefix(b"sha1:") else { return Ok(None) };
    Sha1::parse(&String::from_utf8_lossy(hex)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Name> {
        Name::parse(OsStr::from_bytes(text))
    }

    #[test]
    fn a_name_is_split_at_its_first_colon() {
        for (text, revision, path) in [
            (&b"main"[..], "main", None),
            (b"main:", "main", None),
            (b"main:/", "main", None),
            (b"main:a:b", "main", Some(&b"a:b"[..])),
            (b"main~2:a/b/", "main~2", Some(b"a/b")),
            (b"main@3:\xff", "main@3", Some(b"\xff")),
            (b"commit:abc", "commit:abc", None),
            (b"commit:abc:x", "commit:abc", Some(b"x")),
        ] {
            let name = parse(text).unwrap();
            assert_eq!((&*name.revision, name.path.as_deref()), (revision, path));
        }
        for wrong in [&b""[..], b":a", b"commit:", b"commit::a", b"\xff", b"a:/b", b"a:../b"] {
            assert_eq!(parse(wrong).unwrap_err().kind(), ErrorKind::Usage, "{wrong:?}");
        }
        assert!(Name::parse_revision(OsStr::new("main:x")).is_err());
        assert!(Name::parse_revision(OsStr::new("main:")).is_err());
    }

    #[test]
    fn directories_begin_with_a_dot_or_slash() {
        for (text, expected) in [("./a", true), (".", true), ("/", true), ("a", false), ("", false)]
        {
            assert_eq!(is_directory(OsStr::new(text)), expected);
        }
    }
}
