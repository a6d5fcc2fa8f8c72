//! The refs of a repository, in files and in `packed-refs`, found by the rules of git.
//!
//! The rules are those of `gitrevisions(7)`: the name itself in the repository's directory, then
//! below `refs/`, `refs/tags/`, `refs/heads/`, `refs/remotes/`, and at last
//! `refs/remotes/NAME/HEAD`. A ref that is broken or leads nowhere is passed over, as git does.

use crate::own_file::{self, shown};
use freestone_core::{Error, Result};
use gix_hash::ObjectId;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest file of a ref that is read: a path, and what git writes around it. `FETCH_HEAD` may
/// be longer; its first id counts.
const REF_BYTES_MAX: u64 = 8 << 10;
/// The longest line of `packed-refs`.
const LINE_BYTES_MAX: u64 = 8 << 10;
/// The most symbolic refs that are followed from one, as in git.
const SYMBOLIC_MAX: usize = 5;
/// The rules, in order: what is before and after the name.
const RULES: [(&str, &str); 6] = [
    ("", ""),
    ("refs/", ""),
    ("refs/tags/", ""),
    ("refs/heads/", ""),
    ("refs/remotes/", ""),
    ("refs/remotes/", "/HEAD"),
];

/// What a ref points at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RefTarget {
    Object(ObjectId),
    Symbolic(String),
    /// The file holds neither.
    Broken,
}

/// The refs of a repository.
pub(crate) struct Refs {
    /// The directory of this working tree's own refs, such as `HEAD`.
    own: PathBuf,
    /// The directory of the refs that all working trees share.
    common: PathBuf,
}

/// Returns true if git accepts `name` as that of a ref, so that it cannot lead out of the
/// repository.
pub(crate) fn is_name(name: &str) -> bool {
    let is_bad = |byte: u8| byte < 0x20 || byte == 0x7f || b" ~^:?*[\\".contains(&byte);
    let is_bad_part =
        |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name.bytes().any(is_bad)
        && !name.split('/').any(is_bad_part)
}

/// Returns true if each working tree has its own ref `name`.
fn is_own(name: &str) -> bool {
    let is_root = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
    name.bytes().all(is_root)
        || ["refs/worktree/", "refs/bisect/", "refs/rewritten/"]
            .iter()
            .any(|start| name.starts_with(start))
}

impl Refs {
    /// Returns the refs of the repository in `own`, which shares `common` with others.
    pub(crate) fn new(own: &Path, common: &Path) -> Self {
        Self { own: own.into(), common: common.into() }
    }

    /// Returns the place of a ref's file, or of its log if `folder` is `logs`.
    pub(crate) fn place(&self, folder: &str, name: &str) -> PathBuf {
        let (top, name) = match name.strip_prefix("main-worktree/") {
            Some(name) => (&self.common, name),
            None if is_own(name) => (&self.own, name),
            None => (&self.common, name),
        };
        top.join(folder).join(name)
    }

    /// Reads one ref; `None` if there is none.
    fn target(&self, name: &str) -> Result<Option<RefTarget>> {
        let place = self.place("", name);
        // Refs were links once.
        if let Ok(text) = std::fs::read_link(&place)
            && let Some(text) = text.to_str()
            && text.starts_with("refs/")
        {
            return Ok(Some(RefTarget::Symbolic(text.to_owned())));
        }
        match own_file::read_start(&place, REF_BYTES_MAX)? {
            Some(bytes) => Ok(Some(parse(&bytes))),
            None => Ok(self.packed(name)?.map(RefTarget::Object)),
        }
    }

    /// Reads a ref of `packed-refs`.
    fn packed(&self, name: &str) -> Result<Option<ObjectId>> {
        let mut found = None;
        if name.starts_with("refs/") {
            self.each_packed(&mut |other, id| {
                if other == name.as_bytes() {
                    found = Some(id);
                }
                found.is_none()
            })?;
        }
        Ok(found)
    }

    /// Calls `each` with the name and the id of each packed ref, until it returns false.
    fn each_packed(&self, each: &mut dyn FnMut(&[u8], ObjectId) -> bool) -> Result<()> {
        let place = self.common.join("packed-refs");
        let Some(file) = own_file::open(&place)? else { return Ok(()) };
        let mut file = BufReader::with_capacity(64 << 10, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut file).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let count = read
                .map_err(|error| Error::io(format!("{} cannot be read", shown(&place)), error))?;
            if count == 0 {
                return Ok(());
            }
            if line.pop_if(|byte| *byte == b'\n').is_none() && count as u64 == LINE_BYTES_MAX {
                return Err(Error::corrupt(format!("{} has a line too long", shown(&place)))
                    .hint("run `git pack-refs --all` to write it again"));
            }
            // Other lines are the comment at the top, and what tags lead to.
            if let Some((id, name)) = line.split_at_checked(41)
                && let Ok(id) = ObjectId::from_hex(&id[..40])
                && !each(name, id)
            {
                return Ok(());
            }
        }
    }

    /// Follows the ref `name` to an object. Returns the last ref on the way and the object; `None`
    /// if there is no such ref, or it is broken.
    pub(crate) fn follow(&self, name: &str) -> Result<Option<(String, ObjectId)>> {
        let mut name = name.to_owned();
        for _ in 0..=SYMBOLIC_MAX {
            if !is_name(&name) {
                return Ok(None);
            }
            match self.target(&name)? {
                Some(RefTarget::Object(id)) => return Ok(Some((name, id))),
                Some(RefTarget::Symbolic(next)) => name = next,
                Some(RefTarget::Broken) | None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Returns the names of the refs that `name` may mean, in the order in which git tries them.
    pub(crate) fn candidates(name: &str) -> impl Iterator<Item = String> {
        RULES.iter().map(move |(before, after)| format!("{before}{name}{after}"))
    }

    /// Finds the ref that `name` means. Returns the last ref on the way, and the object.
    pub(crate) fn find(&self, name: &str) -> Result<Option<(String, ObjectId)>> {
        for full in Self::candidates(name) {
            if let Some(found) = self.follow(&full)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the object that the ref with the full name `name` holds itself, without following
    /// symbolic refs.
    pub(crate) fn exact(&self, name: &str) -> Result<Option<ObjectId>> {
        Ok(match self.target(name)? {
            Some(RefTarget::Object(id)) => Some(id),
            _ => None,
        })
    }

    /// Returns true if there is a ref with the full name `name`, even a broken one.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.target(name)?.is_some())
    }

    /// Returns the full name of a ref below `name`; `None` if there is none.
    pub(crate) fn below(&self, name: &str) -> Result<Option<String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(found) = file_below(&self.place("", name), name.as_bytes())? {
            return Ok(Some(text(&found)));
        }
        let start = [name.as_bytes(), b"/"].concat();
        let mut found = None;
        self.each_packed(&mut |other, _| {
            if other.starts_with(&start) {
                found = Some(text(other));
            }
            found.is_none()
        })?;
        Ok(found)
    }
}

/// Returns the name of a file in `folder` or below, where `name` is that of the folder.
fn file_below(folder: &Path, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let wrong = |error| Error::io(format!("{} cannot be read", shown(folder)), error);
    // A link may lead back; git has none there.
    if !folder.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(None);
    }
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let is_folder = entry.file_type().map_err(wrong)?.is_dir();
        let inside = [name, b"/", OsStr::as_bytes(&entry.file_name())].concat();
        if !is_folder && !inside.ends_with(b".lock") {
            return Ok(Some(inside));
        }
        if is_folder && let Some(found) = file_below(&entry.path(), &inside)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Parses the file of a ref.
fn parse(bytes: &[u8]) -> RefTarget {
    let bytes = bytes.trim_ascii_end();
    if let Some(name) = bytes.strip_prefix(b"ref:") {
        return match str::from_utf8(name.trim_ascii_start()) {
            Ok(name) if bytes.len() as u64 != REF_BYTES_MAX => RefTarget::Symbolic(name.to_owned()),
            _ => RefTarget::Broken,
        };
    }
    let (id, rest) = bytes.split_at_checked(40).unwrap_or_default();
    match ObjectId::from_hex(id) {
        // `FETCH_HEAD` has more after the id.
        Ok(id) if rest.first().is_none_or(u8::is_ascii_whitespace) => RefTarget::Object(id),
        _ => RefTarget::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_refs_are_those_of_git_and_stay_inside() {
        for good in ["HEAD", "refs/heads/main", "a", "a/b", "a.b", "@a", "a@", "é", "x.locks"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "@", "..", "../x", "a/../b", ".a", "a/.b", "/a", "a/", "a//b", "a.", "a.lock",
            "a.lock/b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\", "a@{b", "a\n",
            "a\u{7f}",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_file_of_a_ref_holds_an_id_or_a_name() {
        let hex = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let id = RefTarget::Object(ObjectId::from_hex(hex.as_bytes()).unwrap());
        assert_eq!(parse(format!("{hex}\n").as_bytes()), id);
        assert_eq!(parse(format!("{hex}\t\tbranch 'x'\n{hex}\n").as_bytes()), id);
        assert_eq!(parse(b"ref: refs/heads/a\n"), RefTarget::Symbolic("refs/heads/a".into()));
        for broken in ["", "x", &hex[1..], &format!("{hex}0"), "[core]\n"] {
            assert_eq!(parse(broken.as_bytes()), RefTarget::Broken, "{broken}");
        }
    }
}
