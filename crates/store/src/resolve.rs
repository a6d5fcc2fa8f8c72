//! What a REV on the command line means.

use crate::revisions;
use crate::store::Store;
use freestone_backend::Upstream;
use freestone_core::{Error, ErrorKind, Id, Result, threads};
use freestone_format::ref_entry::{PREFIX_DIGITS_MIN, check_name, is_id_or_prefix};
use freestone_format::revision::{Revision, commit_bounds};
use std::collections::HashSet;

/// Candidates that an error lists.
const LISTED_MAX: usize = 8;

/// A revision that was asked for.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its id.
    pub id: Id,
    /// The revision.
    pub revision: Revision,
    /// The ref, if one was named.
    pub ref_name: Option<String>,
}

impl Store {
    /// Finds the revision that `rev` names: a ref, an id or a unique prefix of one (8 digits or
    /// more), `REF@N`, `REV~N`, or `commit:HEX`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Usage`] if it is ambiguous or no REV
    /// at all.
    pub fn resolve(&self, rev: &str) -> Result<Resolved> {
        let offline = self.offline_upstream();
        self.resolve_online(rev).map_err(|error| match offline {
            Some(upstream) if error.kind() == ErrorKind::NotFound => error.hint(format!(
                "--offline knows only what was fetched; `freestone fetch {rev}` without it fetches \
                 from {}",
                upstream.url
            )),
            _ => error,
        })
    }

    /// As [`Self::resolve`]; where this store follows an upstream the index is fetched meanwhile.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_to_read(&self, rev: &str) -> Result<Resolved> {
        if self.backend().upstream().is_none_or(|upstream| upstream.offline) {
            return self.resolve(rev);
        }
        std::thread::scope(|scope| {
            // A failure is reported where the index is needed.
            threads::spawn(scope, || drop(self.index()));
            self.resolve(rev)
        })
    }

    /// Returns the upstream, if only its cache is read.
    fn offline_upstream(&self) -> Option<Upstream> {
        self.backend().upstream().filter(|upstream| upstream.offline)
    }

    fn resolve_online(&self, rev: &str) -> Result<Resolved> {
        let (base, generations) = match rev.split_once('~') {
            None => (rev, 0),
            Some((base, "")) => (base, 1),
            Some((base, count)) => (base, count.parse::<u64>().map_err(|_| no_rev(rev))?),
        };
        let (mut id, ref_name) = self.resolve_base(base)?;
        let mut revision = self.expect_revision(&id)?;
        for _ in 0..generations {
            id = *revision
                .parents
                .first()
                .ok_or_else(|| Error::not_found(format!("{rev}: revision {id} has no parent")))?;
            revision = self.revision(&id)?.ok_or_else(|| {
                Error::not_found(format!("{rev}: revision {id} is not in this store"))
                    .hint("a copy has no more than what was copied; `freestone log` shows it")
            })?;
        }
        Ok(Resolved { id, revision, ref_name })
    }

    fn expect_revision(&self, id: &Id) -> Result<Revision> {
        self.revision(id)?.ok_or_else(|| match self.offline_upstream() {
            Some(_) => Error::not_found(format!("revision {id} is not here")),
            None => Error::missing(format!("revision {id} is missing from the store"))
                .hint("`freestone verify` lists all that is missing"),
        })
    }

    fn resolve_base(&self, rev: &str) -> Result<(Id, Option<String>)> {
        if let Some(commit) = rev.strip_prefix("commit:") {
            return Ok((self.resolve_commit(commit)?, None));
        }
        if let Some((name, n)) = rev.split_once('@') {
            let n: u64 = n.parse().map_err(|_| no_rev(rev))?;
            let entry = self.refs().entry(name, n)?;
            let entry =
                entry.ok_or_else(|| Error::not_found(format!("ref {name} has no entry {n}")))?;
            let deleted = || Error::not_found(format!("entry {n} of ref {name} deleted the ref"));
            let id = entry.revision().ok_or_else(deleted)?;
            self.check_not_collected(name, n, &id)?;
            return Ok((id, Some(name.into())));
        }
        // No ref has such a name, so an id that was handed over is never another revision's.
        if is_id_or_prefix(rev) {
            return Ok((self.resolve_digits(&rev.to_ascii_lowercase())?, None));
        }
        check_name(rev).map_err(|_| no_rev(rev))?;
        if let Some(id) = self.refs().current(rev)? {
            return Ok((id, Some(rev.into())));
        }
        Err(Error::not_found(format!("there is no ref or revision {rev}"))
            .hint("`freestone ref list` shows the refs; a revision's id needs 8 digits or more"))
    }

    /// Checks that the revision `id` of entry `n` of ref `name` is there, or lost: not one that a
    /// collection did not keep.
    fn check_not_collected(&self, name: &str, n: u64, id: &Id) -> Result<()> {
        if self.revision(id)?.is_some() {
            return Ok(());
        }
        if self.is_forgotten(id)? {
            return Err(forgotten(id).context(format!("{name}@{n}")));
        }
        match self.refs().collected(name)?.may_lack(n) {
            true => Err(Error::not_found(format!("{name}@{n} was collected"))
                .hint(format!("`freestone ref log {name}` shows which entries are left"))),
            false => Ok(()),
        }
    }

    /// Finds the revision whose id is `prefix` or begins with it.
    fn resolve_digits(&self, prefix: &str) -> Result<Id> {
        let none = || {
            Error::not_found(format!("there is no revision {prefix}"))
                .hint("`freestone log` and `freestone ref list` show what there is")
        };
        // A whole id needs no listing, which can be long.
        if let Ok(id) = Id::parse(prefix) {
            return match self.revision(&id)? {
                Some(_) => Ok(id),
                None if self.is_forgotten(&id)? => Err(forgotten(&id)),
                None => Err(none()),
            };
        }
        let ids = self.revision_ids()?;
        let found: Vec<&Id> = ids.iter().filter(|id| id.to_string().starts_with(prefix)).collect();
        match found[..] {
            [id] => Ok(*id),
            [] => Err(none()),
            _ => Err(ambiguous(prefix, found.iter().map(ToString::to_string).collect())),
        }
    }

    fn resolve_commit(&self, commit: &str) -> Result<Id> {
        let is_hex = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || commit.len() < PREFIX_DIGITS_MIN {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("commit:{commit} is not 8 or more hex digits of a commit id"),
            ));
        }
        let start = format!("git.commit={}", commit.to_ascii_lowercase());
        let (low, high) = commit_bounds(commit);
        let mut found: Vec<(String, i64, Id)> = Vec::new();
        for place in self.index()?.find_commits(low, high)? {
            // The index only says where to look: what a revision's labels are it says itself.
            let bytes = self.records()?.decode(&place)?;
            let (id, revision) = revisions::decode_at(&place, &bytes, self.packs())?;
            let label = revision.labels.get("git.commit").map(|c| format!("git.commit={c}"));
            if let Some(label) = label.filter(|label| label.starts_with(&start)) {
                found.push((label, revision.time, id));
            }
        }
        if found.is_empty() {
            return Err(Error::not_found(format!("no revision has the label {start}…"))
                .hint("it may not have been pushed yet: `freestone log` shows what was"));
        }
        found.sort_unstable();
        found.dedup();
        let mut commits: Vec<String> = found.iter().map(|(label, ..)| label.clone()).collect();
        commits.dedup();
        if commits.len() > 1 {
            return Err(ambiguous(&format!("commit:{commit}"), commits));
        }
        // The same commit pushed more than once: the last counts, of those that a ref has named,
        // since a push that lost a race leaves a revision too.
        let named = if found.len() > 1 { self.named_by_refs()? } else { HashSet::new() };
        let newest = found.iter().max_by_key(|(_, time, id)| (named.contains(id), *time, *id));
        newest
            .map(|(_, _, id)| *id)
            .ok_or_else(|| Error::not_found(format!("the revision with the label {start} is gone")))
    }
}

impl Store {
    /// Returns the revisions that any entry of any ref names.
    fn named_by_refs(&self) -> Result<HashSet<Id>> {
        let mut named = HashSet::new();
        for newest in self.refs().list_all()? {
            let log = self.refs().log(&newest.name)?;
            named.extend(log.iter().filter_map(|entry| entry.revision()));
        }
        Ok(named)
    }
}

fn forgotten(id: &Id) -> Error {
    Error::not_found(format!("revision {id} was forgotten"))
        .hint("it comes back only if its content is pushed again")
}

fn no_rev(rev: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("{rev:?} is not a revision, ref, REF@N, REV~N or commit:HEX"),
    )
}

fn ambiguous(what: &str, mut candidates: Vec<String>) -> Error {
    let count = candidates.len();
    candidates.truncate(LISTED_MAX);
    Error::new(ErrorKind::Usage, format!("{what} is ambiguous: {count} candidates"))
        .hint(format!("give more digits: {}", candidates.join(", ")))
}
