//! Finds a commit by its name, as `gitrevisions(7)` orders it.
//!
//! From the end of the name, `~N`, `^N` and `^{KIND}` are taken off. What is left is, in this order:
//!
//! 1. an id of 40 digits;
//! 2. a ref ([`crate::refs`]), `@` for `HEAD`, and after it `@{N}`, what it pointed at N changes ago;
//!    `@{-N}` is the branch that was left N checkouts ago;
//! 3. what `git describe` prints, `TAG-N-gPREFIX`, of which the prefix counts;
//! 4. a prefix of an id, of at least 4 digits.
//!
//! So a ref whose name looks like a prefix is that ref, and one whose name looks like an id is never
//! found. Searches of messages, dates and upstream branches are refused: their answer depends on more
//! than the repository.

use crate::commit::Commit;
use crate::faults::cause;
use crate::reflog::Reflog;
use crate::refs::Refs;
use crate::repository::Repository;
use freestone_core::{Error, ErrorKind, Result, path};
use gix_hash::{ObjectId, Prefix};
use gix_object::Kind;
use std::collections::HashSet;

/// The shortest prefix of an id, as in git.
const PREFIX_DIGITS_MIN: usize = 4;
/// The digits of a whole id.
const ID_DIGITS: usize = 40;
/// The most tags that are followed from one object.
const TAGS_MAX: usize = 16;
/// From this number on, git takes the N of `@{N}` as a time.
const TIMES_FROM: usize = 100_000_000;

/// Something that is taken off the end of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    /// `^N`: the N-th parent; 0 is the commit itself.
    Parent(usize),
    /// `~N`: the N-th ancestor by first parents.
    Ancestor(usize),
    /// `^{KIND}`; `None` is `^{}`, what a tag leads to in the end.
    Peel(Option<Kind>),
    /// `^{object}`: the object itself, if it exists.
    Exists,
}

/// The kinds of objects that a prefix may mean, where several begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Commit,
    /// A commit, or a tag of one.
    Committish,
    Treeish,
    Any,
}

impl Suffix {
    fn wanted(self) -> Wanted {
        match self {
            Self::Parent(_) | Self::Ancestor(_) | Self::Peel(Some(Kind::Commit)) => {
                Wanted::Committish
            }
            Self::Peel(Some(Kind::Tree)) => Wanted::Treeish,
            Self::Peel(_) | Self::Exists => Wanted::Any,
        }
    }
}

/// Takes the last suffix off `name`; `None` if it has none that is valid.
fn split_suffix(name: &str) -> Option<(&str, Suffix)> {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if let Some((sign @ ('^' | '~'), base)) =
        head.chars().next_back().map(|sign| (sign, &head[..head.len() - sign.len_utf8()]))
    {
        let digits = &name[head.len()..];
        let number = if digits.is_empty() { 1 } else { digits.parse::<i32>().ok()? };
        let number = usize::try_from(number).ok()?;
        let suffix = if sign == '^' { Suffix::Parent(number) } else { Suffix::Ancestor(number) };
        return Some((base, suffix));
    }
    let (base, kind) = name.strip_suffix('}')?.rsplit_once("^{")?;
    let suffix = match kind {
        "" => Suffix::Peel(None),
        "commit" => Suffix::Peel(Some(Kind::Commit)),
        "tree" => Suffix::Peel(Some(Kind::Tree)),
        "blob" => Suffix::Peel(Some(Kind::Blob)),
        "tag" => Suffix::Peel(Some(Kind::Tag)),
        "object" => Suffix::Exists,
        _ => return None,
    };
    Some((base, suffix))
}

/// Splits `REF@{…}`; `None` if the name has no such end.
fn split_log(name: &str) -> Option<(&str, &str)> {
    let inside = name.strip_suffix('}')?;
    // A branch that was left is a ref, and may have a log of its own.
    inside.rsplit_once("@{").filter(|(_, selector)| !selector.starts_with('-'))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns what kind of search a name is that is not supported; `None` if it is none. `base` is the
/// name without suffixes.
fn unsupported(name: &str, base: &str) -> Option<&'static str> {
    let upstream = |(_, selector): (&str, &str)| {
        ["u", "upstream", "push"].iter().any(|mark| selector.eq_ignore_ascii_case(mark))
    };
    let date = |(_, selector): (&str, &str)| {
        selector.parse::<usize>().map_or(true, |number| number >= TIMES_FROM)
    };
    match () {
        () if name.starts_with(":/") || name.contains("^{/") => Some("searches messages"),
        () if name.contains(':') => Some("names a path, not a commit"),
        () if name.contains("..") => Some("names a range of commits"),
        () if split_log(base).is_some_and(upstream) => Some("depends on the configuration"),
        () if split_log(base).is_some_and(date) => Some("depends on a date"),
        () => None,
    }
}

impl Repository {
    /// Returns the commit with the name `name`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such commit, [`ErrorKind::Usage`] if the name is
    /// ambiguous, or of a kind that is not supported.
    pub fn resolve(&self, name: &str) -> Result<Commit> {
        let (mut base, mut suffixes) = (name, Vec::new());
        while let Some((shorter, suffix)) = split_suffix(base) {
            base = shorter;
            suffixes.push(suffix);
        }
        if let Some(why) = unsupported(name, base) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{} {why}, which is not supported", path::display(name.as_bytes())),
            )
            .hint("give the id that `git rev-parse` prints for it"));
        }
        let missing = || {
            let shown = path::display(name.as_bytes());
            Error::not_found(format!("{}: there is no commit {shown}", self.shown()))
                .hint("`git log` lists commits; a branch of a remote is called origin/NAME")
        };
        let wanted = suffixes.last().map_or(Wanted::Committish, |suffix| suffix.wanted());
        let mut id = self.base(base, wanted)?.ok_or_else(missing)?;
        for suffix in suffixes.into_iter().rev() {
            id = self.follow(id, suffix)?.ok_or_else(missing)?;
        }
        let id = self.peel(id, Some(Kind::Commit))?.ok_or_else(missing)?;
        self.commit(id)?.ok_or_else(missing)
    }

    /// Returns the object that a name without suffixes means.
    fn base(&self, name: &str, wanted: Wanted) -> Result<Option<ObjectId>> {
        if name.len() == ID_DIGITS && is_hex(name) {
            return Ok(ObjectId::from_hex(name.as_bytes()).ok());
        }
        if let Some(found) = self.by_ref(name)? {
            return Ok(Some(found));
        }
        let described =
            name.rsplit_once("-g").filter(|(tag, digits)| !tag.is_empty() && is_hex(digits));
        if let Some((_, digits)) = described
            && let Some(id) = self.by_prefix(digits, Wanted::Commit)?
        {
            return Ok(Some(id));
        }
        self.by_prefix(name, wanted)
    }

    /// Returns the object that the ref `name`, perhaps with `@{N}`, means.
    fn by_ref(&self, name: &str) -> Result<Option<ObjectId>> {
        let Some((name, back)) = split_log(name) else {
            let Some(name) = self.branch_named(name)? else { return Ok(None) };
            if name.len() == ID_DIGITS && is_hex(&name) {
                return Ok(ObjectId::from_hex(name.as_bytes()).ok());
            }
            return Ok(self.refs.find(&name)?.map(|(_, id)| id));
        };
        let Ok(back) = back.parse::<usize>() else { return Ok(None) };
        let Some((log, now)) = self.logged(name)? else { return Ok(None) };
        let entries = Reflog::read(&self.refs, &log)?;
        let count = entries.as_ref().map_or(0, Reflog::count);
        if count == 0 && back == 0 {
            return Ok(Some(now));
        }
        let at = entries.and_then(|entries| entries.at(back));
        at.map(Some).ok_or_else(|| {
            let log = path::display(log.as_bytes());
            Error::not_found(format!("{}: the log of {log} has only {count} entries", self.shown()))
                .hint("`git reflog` lists them")
        })
    }

    /// Returns the full name of the ref with a log that `name` means, and its object.
    fn logged(&self, name: &str) -> Result<Option<(String, ObjectId)>> {
        if name.is_empty() {
            return self.refs.find("HEAD");
        }
        let Some(name) = self.branch_named(name)? else { return Ok(None) };
        for full in Refs::candidates(&name) {
            let Some((last, id)) = self.refs.follow(&full)? else { continue };
            for log in [full, last] {
                if Reflog::read(&self.refs, &log)?.is_some() {
                    return Ok(Some((log, id)));
                }
            }
        }
        Ok(None)
    }

    /// Returns the name of the ref that `@` or `@{-N}` stands for, and any other name as it is.
    fn branch_named(&self, name: &str) -> Result<Option<String>> {
        if name == "@" {
            return Ok(Some("HEAD".to_owned()));
        }
        let back = name.strip_prefix("@{-").and_then(|rest| rest.strip_suffix('}'));
        let Some(back) = back else { return Ok(Some(name.to_owned())) };
        let Ok(back) = back.parse() else { return Ok(None) };
        Ok(Reflog::read(&self.refs, "HEAD")?.and_then(|log| log.left(back)))
    }

    /// Returns the object that `suffix` makes of `id`.
    fn follow(&self, id: ObjectId, suffix: Suffix) -> Result<Option<ObjectId>> {
        let (steps, parent) = match suffix {
            Suffix::Peel(Some(Kind::Tag)) => {
                return Ok((self.kind(id)? == Some(Kind::Tag)).then_some(id));
            }
            Suffix::Peel(kind) => return self.peel(id, kind),
            Suffix::Exists => return Ok(self.kind(id)?.map(|_| id)),
            Suffix::Parent(0) => (0, 0),
            Suffix::Parent(number) => (1, number - 1),
            Suffix::Ancestor(steps) => (steps, 0),
        };
        let Some(mut id) = self.peel(id, Some(Kind::Commit))? else { return Ok(None) };
        for _ in 0..steps {
            let Some(commit) = self.commit(id)? else { return Ok(None) };
            let Some(next) = commit.parents.get(parent).filter(|_| !self.is_cut_at(id)) else {
                return Ok(None);
            };
            id = *next;
        }
        Ok(Some(id))
    }

    /// Returns the object whose id begins with `digits`, of those that `wanted` allows; `None` if
    /// there is none.
    fn by_prefix(&self, digits: &str, wanted: Wanted) -> Result<Option<ObjectId>> {
        if !is_hex(digits) || !(PREFIX_DIGITS_MIN..=ID_DIGITS).contains(&digits.len()) {
            return Ok(None);
        }
        if let Ok(id) = ObjectId::from_hex(digits.as_bytes()) {
            return Ok(Some(id));
        }
        let Ok(prefix) = Prefix::from_hex(digits) else { return Ok(None) };
        let mut found = HashSet::new();
        self.objects.prefixed(prefix, &mut found).map_err(|error| {
            let what = format!("{}: cannot look up {digits}", self.shown());
            Error::new(ErrorKind::Failed, what).because(cause(error))
        })?;
        if let (1, Some(id)) = (found.len(), found.iter().next()) {
            return Ok(Some(*id));
        }
        let mut allowed = Vec::new();
        for id in &found {
            if self.allows(*id, wanted)? {
                allowed.push(*id);
            }
        }
        match (&allowed[..], found.len()) {
            ([id], _) => Ok(Some(*id)),
            ([], 0) => Ok(None),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!("{digits} is ambiguous: {} objects begin with it", found.len()),
            )
            .hint("give more digits")),
        }
    }

    /// Returns true if `id` is of a kind that is wanted.
    fn allows(&self, id: ObjectId, wanted: Wanted) -> Result<bool> {
        let peeled = |kind| Ok(self.peel(id, Some(kind))?.is_some());
        match wanted {
            Wanted::Any => Ok(true),
            Wanted::Commit => Ok(self.kind(id)? == Some(Kind::Commit)),
            Wanted::Committish => peeled(Kind::Commit),
            Wanted::Treeish => peeled(Kind::Tree),
        }
    }

    /// Follows the tags at `id` to an object of the kind `wanted`, or to one that is not a tag; a
    /// commit leads to its tree. Returns `None` if that is not there, or of another kind.
    fn peel(&self, mut id: ObjectId, wanted: Option<Kind>) -> Result<Option<ObjectId>> {
        for _ in 0..TAGS_MAX {
            match self.kind(id)? {
                None => return Ok(None),
                Some(kind) if wanted.map_or(kind != Kind::Tag, |wanted| kind == wanted) => {
                    return Ok(Some(id));
                }
                Some(Kind::Tag) => {
                    let bytes = self.need(id, Kind::Tag)?;
                    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    let target = line.strip_prefix(b"object ").unwrap_or_default();
                    let Ok(target) = ObjectId::from_hex(target) else { return Ok(None) };
                    id = target;
                }
                Some(Kind::Commit) if wanted == Some(Kind::Tree) => {
                    return Ok(self.commit(id)?.map(|commit| commit.tree));
                }
                Some(_) => return Ok(None),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_taken_off_from_the_end() {
        for (name, base, suffix) in [
            ("v1^", "v1", Suffix::Parent(1)),
            ("v1^0", "v1", Suffix::Parent(0)),
            ("v1~", "v1", Suffix::Ancestor(1)),
            ("v1^2~3", "v1^2", Suffix::Ancestor(3)),
            ("v1^{}", "v1", Suffix::Peel(None)),
            ("v1^{tree}", "v1", Suffix::Peel(Some(Kind::Tree))),
            ("v1~3^{commit}", "v1~3", Suffix::Peel(Some(Kind::Commit))),
            ("~", "", Suffix::Ancestor(1)),
        ] {
            assert_eq!(split_suffix(name), Some((base, suffix)), "{name}");
        }
        for name in ["", "v1", "123", "v1@{1}", "v1^{bad}", "v1~2147483648", "é", "v1^é"] {
            assert_eq!(split_suffix(name), None, "{name}");
        }
    }

    #[test]
    fn logs_are_split_from_refs_and_searches_are_known() {
        assert_eq!(split_log("main@{1}"), Some(("main", "1")));
        assert_eq!(split_log("@{-1}@{2}"), Some(("@{-1}", "2")));
        assert_eq!(split_log("@{-1}"), None);
        assert_eq!(split_log("main}"), None);
        for bad in [
            ":/text",
            "v1^{/text}",
            "v1:README",
            ":0:f",
            "a..b",
            "a@{u}",
            "@{PUSH}",
            "a@{1 day ago}",
        ] {
            assert!(unsupported(bad, bad).is_some(), "{bad}");
        }
        for good in ["main", "main@{1}", "@{-1}", "v1-1-gabcd", "a.b"] {
            assert!(unsupported(good, good).is_none(), "{good}");
        }
    }
}
