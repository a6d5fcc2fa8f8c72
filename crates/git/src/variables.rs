//! The environment variables by which git tells a hook where objects are.
//!
//! While a push is received, its objects are in quarantine: a directory of their own, which git
//! names to the hooks that look at them. They become part of the repository when the hooks agree.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The variables of a hook, as they are set.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    directory: Option<PathBuf>,
    alternates: Vec<PathBuf>,
    repository: Option<PathBuf>,
    quarantine: Option<PathBuf>,
}

impl Variables {
    /// Takes the variables that `value` returns by their names. Empty ones count as not set.
    pub fn new(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| value(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let alternates = value("GIT_ALTERNATE_OBJECT_DIRECTORIES").unwrap_or_default();
        Self {
            directory: path("GIT_OBJECT_DIRECTORY"),
            alternates: paths(alternates.as_bytes()),
            repository: path("GIT_DIR"),
            quarantine: path("GIT_QUARANTINE_PATH"),
        }
    }

    /// Returns the directories of objects that the variables name, if they are about the repository
    /// in `own` and `common`.
    pub(crate) fn folders_for(&self, own: &Path, common: &Path) -> Vec<PathBuf> {
        if !self.are_about(own, common) {
            return Vec::new();
        }
        let named = self.directory.iter().chain(&self.alternates);
        named.filter(|folder| folder.is_dir()).cloned().collect()
    }

    /// Returns true if the variables are about the repository in `own` and `common`.
    pub(crate) fn are_about(&self, own: &Path, common: &Path) -> bool {
        let canonical = |path: &Path| path.canonicalize().ok();
        let is_same = |path: &Path, other: &Path| {
            canonical(path).is_some_and(|path| Some(path) == canonical(other))
        };
        let objects = common.join("objects");
        let is_here = self
            .repository
            .as_deref()
            .is_some_and(|repository| is_same(repository, own) || is_same(repository, common));
        let is_inside = self
            .quarantine
            .as_deref()
            .and_then(Path::parent)
            .is_some_and(|folder| is_same(folder, &objects));
        is_here || is_inside
    }
}

/// Splits a list of paths at its colons. A path in double quotes has escapes as in C.
fn paths(mut list: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    while !list.is_empty() {
        let (path, rest) = match quoted(list) {
            Some((path, rest)) => (path, rest),
            None => {
                let end = list.iter().position(|byte| *byte == b':').unwrap_or(list.len());
                (list[..end].to_vec(), &list[end..])
            }
        };
        if !path.is_empty() {
            found.push(PathBuf::from(OsStr::from_bytes(&path)));
        }
        list = rest.strip_prefix(b":").unwrap_or(rest);
        if list.len() == rest.len() && !rest.is_empty() {
            // Something follows a quoted path that is not a colon: git ignores it.
            let end = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
            list = &rest[end..];
        }
    }
    found
}

/// Takes a path in quotes from the start of `list`; `None` if there is none, or it does not end.
fn quoted(list: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = list.strip_prefix(b"\"")?;
    let mut path = Vec::new();
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            b'"' => return Some((path, rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                rest = after;
                path.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'v' => 11,
                    b'0'..=b'3' => {
                        let digits = str::from_utf8(rest.get(..2)?).ok()?;
                        let low = u8::from_str_radix(digits, 8).ok()?;
                        rest = &rest[2..];
                        (escaped - b'0') << 6 | low
                    }
                    other => *other,
                });
            }
            other => path.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_paths_are_split_as_git_does() {
        let split = |list: &str| -> Vec<String> {
            paths(list.as_bytes()).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(split("/a:/b c:::d"), ["/a", "/b c", "d"]);
        assert_eq!(split("\"/a:\\\"b\\303\\251\":/c"), ["/a:\"bé", "/c"]);
        assert_eq!(split("\"/a:/b"), ["\"/a", "/b"]);
        assert!(split("").is_empty());
    }

    #[test]
    fn the_variables_of_another_repository_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a/objects/incoming", "b/objects"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let folders = |set: &[(&str, PathBuf)], repository: &str| {
            let value = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.clone().into_os_string())
            };
            Variables::new(value).folders_for(&at(repository), &at(repository))
        };
        let incoming = ("GIT_OBJECT_DIRECTORY", at("a/objects/incoming"));
        let main = ("GIT_ALTERNATE_OBJECT_DIRECTORIES", at("a/objects"));
        let both = [at("a/objects/incoming"), at("a/objects")];
        let hook = ("GIT_DIR", at("b/../a"));
        let quarantine = ("GIT_QUARANTINE_PATH", at("a/objects/incoming"));
        assert_eq!(folders(&[incoming.clone(), main.clone(), hook.clone()], "a"), both);
        assert_eq!(folders(&[incoming.clone(), main.clone(), quarantine.clone()], "a"), both);
        assert!(folders(&[incoming.clone(), main.clone(), hook, quarantine], "b").is_empty());
        assert!(folders(&[incoming, main], "a").is_empty());
    }
}
