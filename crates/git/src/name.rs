//! Finds a commit by its name. Names are those of git's own commands, except searches of messages
//! and reflogs.
//!
//! A name is a ref (`HEAD`, `main`, `v1.0`, `origin/main`, `refs/…`), an id or a prefix of one.
//! After it may come any of `~N`, which follows the first parent N times, and `^N`, the N-th
//! parent.

use crate::commit::Commit;
use crate::repository::{Repository, cause};
use freestone_core::{Error, ErrorKind, Result};
use gix_hash::{ObjectId, Prefix};
use gix_object::Kind;
use gix_ref::{PartialName, Target};
use std::collections::HashSet;

/// The shortest prefix of an id, as in git.
const PREFIX_DIGITS_MIN: usize = 4;
/// The most refs or tags that are followed from one name.
const STEPS_MAX: usize = 16;

impl Repository {
    /// Returns the commit with the name `name`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such commit, [`ErrorKind::Usage`] if the name is
    /// ambiguous.
    pub fn resolve(&self, name: &str) -> Result<Commit> {
        let end = name.find(['~', '^']).unwrap_or(name.len());
        let (base, mut rest) = name.split_at(end);
        let missing = || {
            Error::not_found(format!("{}: there is no commit {name}", self.path().display()))
                .hint("`git log` lists commits; a branch of a remote is called origin/NAME")
        };
        let id = match self.ref_target(base)? {
            Some(id) => id,
            None => self.by_prefix(base)?.ok_or_else(missing)?,
        };
        let mut commit = self.peel(id)?.ok_or_else(missing)?;
        while let Some(sign) = rest.chars().next() {
            rest = &rest[1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            rest = after;
            let number =
                if number.is_empty() { 1 } else { number.parse().map_err(|_| missing())? };
            if !rest.is_empty() && !rest.starts_with(['~', '^']) {
                return Err(missing());
            }
            let (steps, parent) = match sign {
                '~' => (number, 0),
                _ if number == 0 => (0, 0),
                _ => (1, number - 1),
            };
            for _ in 0..steps {
                let parent = *commit.parents.get(parent).ok_or_else(missing)?;
                commit = self.commit(parent)?.ok_or_else(missing)?;
            }
        }
        Ok(commit)
    }

    /// Returns the object that a ref points at; `None` if there is no such ref.
    fn ref_target(&self, name: &str) -> Result<Option<ObjectId>> {
        let Ok(mut name) = PartialName::try_from(name) else { return Ok(None) };
        for _ in 0..STEPS_MAX {
            let found = self.refs.try_find(name.as_ref()).map_err(|error| {
                let shown = self.path().display();
                Error::new(ErrorKind::Failed, format!("{shown}: its refs cannot be read"))
                    .because(cause(error))
            })?;
            match found.map(|found| found.target) {
                None => return Ok(None),
                Some(Target::Object(id)) => return Ok(Some(id)),
                Some(Target::Symbolic(next)) => {
                    let next = next.as_bstr().to_string();
                    let Ok(next) = PartialName::try_from(&*next) else { return Ok(None) };
                    name = next;
                }
            }
        }
        Ok(None)
    }

    /// Returns the object whose id begins with `digits`; `None` if there is no commit or tag with
    /// such an id.
    fn by_prefix(&self, digits: &str) -> Result<Option<ObjectId>> {
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !(PREFIX_DIGITS_MIN..=40).contains(&digits.len()) {
            return Ok(None);
        }
        if let Ok(id) = ObjectId::from_hex(digits.as_bytes()) {
            return Ok(Some(id));
        }
        let Ok(prefix) = Prefix::from_hex(digits) else { return Ok(None) };
        let mut found = HashSet::new();
        self.with(|objects| objects.lookup_prefix(prefix, Some(&mut found)).map(|_| ())).map_err(
            |error| {
                let shown = self.path().display();
                Error::new(ErrorKind::Failed, format!("{shown}: cannot look up {digits}"))
                    .because(cause(error))
            },
        )?;
        // Only commits and tags count, as in git, where it expects a commit.
        let mut commits = Vec::new();
        for id in found {
            if matches!(self.any_object(id)?, Some((Kind::Commit | Kind::Tag, _))) {
                commits.push(id);
            }
        }
        match commits[..] {
            [] => Ok(None),
            [id] => Ok(Some(id)),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!("{digits} is ambiguous: {} commits begin with it", commits.len()),
            )
            .hint("give more digits")),
        }
    }

    /// Returns the commit `id`, or the one that the tag `id` leads to; `None` if it is something
    /// else.
    fn peel(&self, mut id: ObjectId) -> Result<Option<Commit>> {
        for _ in 0..STEPS_MAX {
            match self.any_object(id)? {
                Some((Kind::Commit, bytes)) => return Commit::parse(id, &bytes).map(Some),
                Some((Kind::Tag, bytes)) => {
                    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    let target = line.strip_prefix(b"object ").unwrap_or_default();
                    let Ok(target) = ObjectId::from_hex(target) else { return Ok(None) };
                    id = target;
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}
