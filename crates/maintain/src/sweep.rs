//! Removing packs beside pushes and readers: intents, barriers, verdicts.
//!
//! `docs/format.md`, *Collection*, says what each step is and why nothing is lost. Every step can be
//! done again, and by another process: a sweeper that stops anywhere is taken up by the next.

use crate::replacement::Replacement;
use freestone_backend::{Backend, Created};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::condemned::{self, Stage};
use freestone_format::pack;
use freestone_store::fence::{Collections, read_list};
use freestone_store::{Index, Records, Store, read_table};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How often a number is chosen that others take first.
const TRIES_MAX: usize = 100;

/// What is judged.
pub(crate) struct Case<'a> {
    /// The packs that are condemned.
    pub(crate) condemned: &'a HashSet<Id>,
    /// The packs that other collections condemn which are not over. A copy of a record there does
    /// not count: each of two collections could rely on the copy that the other one removes. An
    /// intent is created after those of all lower numbers, so of two at least the later sees this.
    pub(crate) others: &'a HashSet<Id>,
}

/// Says which of the packs that are condemned are needed, by what is listed after the barriers.
pub(crate) type Judge<'a> = &'a mut dyn FnMut(&Case<'_>) -> Result<HashSet<Id>>;

/// Lists that are damaged: their names, and what is wrong.
pub(crate) type DamagedLists = Vec<(String, Error)>;

/// Packs that were removed, or are to be: how many, and their bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Swept {
    pub(crate) removed: (u64, u64),
    pub(crate) waiting: (u64, u64),
}

/// What is done about a verdict that is damaged, so that nobody knows what it removes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// The sweep fails.
    Refused,
    /// It is ended: all packs that it may name were [rewritten](suspects) before.
    Rewritten,
}

/// Packs that a damaged verdict may remove at any time.
pub(crate) enum Suspects {
    /// These.
    Packs(HashSet<Id>),
    /// Any that are there.
    All,
}

impl Suspects {
    /// Returns true if it may remove `pack`.
    pub(crate) fn has(&self, pack: &Id) -> bool {
        match self {
            Self::Packs(packs) => packs.contains(pack),
            Self::All => true,
        }
    }
}

/// Returns the packs that damaged verdicts may remove.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn suspects(backend: &dyn Backend) -> Result<Suspects> {
    let mut all = HashSet::new();
    for (n, stages) in Collections::list(backend)?.open {
        if !stages.contains(&Stage::Verdict) || !is_damaged(backend, n, Stage::Verdict)? {
            continue;
        }
        match read_list(backend, n, Stage::Intent, &mut |_| true) {
            Ok(Some(packs)) => all.extend(packs),
            Ok(None) => return Ok(Suspects::All),
            Err(error) if error.is_damage() => return Ok(Suspects::All),
            Err(error) => return Err(error),
        }
    }
    Ok(Suspects::Packs(all))
}

fn is_damaged(backend: &dyn Backend, n: u64, stage: Stage) -> Result<bool> {
    match read_list(backend, n, stage, &mut |_| false) {
        Ok(_) => Ok(false),
        Err(error) if error.is_damage() => Ok(true),
        Err(error) => Err(error),
    }
}

/// Returns the packs of a store with their lengths.
pub(crate) fn present(backend: &dyn Backend) -> Result<HashMap<Id, u64>> {
    let listed = backend.list("packs")?;
    let packs = listed.iter();
    Ok(packs.filter_map(|l| Some((pack::id_of_object(&l.name)?, l.length))).collect())
}

/// Returns which condemned packs are needed, where all that is needed of the others was copied into
/// packs that are listed: those that a segment names, such as for a base, and those with a record
/// of which there is no other copy.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn without_copy(store: &Store, case: &Case<'_>) -> Result<HashSet<Id>> {
    let gone = case.condemned | case.others;
    let index = Index::open(&**store.backend())?.without(&gone);
    let named: HashSet<Id> = index.packs()?.into_iter().map(|(id, _)| id).collect();
    let records = Records { index: Arc::new(index), packs: store.packs().clone() };
    let mut needed = HashSet::new();
    for pack in case.condemned {
        let is_copied = || -> Result<bool> {
            // One that is gone already is not needed.
            let Some(object) = store.backend().open(&pack::object_name(pack))? else {
                return Ok(true);
            };
            for row in read_table(&*object, pack)? {
                if !records.has(row.kind, &row.id)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let is_copied = match is_copied() {
            // What is damaged is left to `verify`.
            Err(error) if error.is_damage() => false,
            outcome => outcome?,
        };
        if named.contains(pack) || !is_copied {
            needed.insert(*pack);
        }
    }
    Ok(needed)
}

/// Condemns packs: creates the intent of a collection, and returns its number.
///
/// # Errors
/// The store cannot be written to, or others are always first.
pub(crate) fn condemn(backend: &dyn Backend, packs: &[Id]) -> Result<u64> {
    for _ in 0..TRIES_MAX {
        let before = Collections::list(backend)?;
        let newest = before.open.keys().copied().max().unwrap_or(0).max(before.closed);
        let n = newest.saturating_add(1);
        let name = condemned::object_name(n, Stage::Intent);
        match backend.create(&name, &condemned::encode(Stage::Intent, packs))? {
            Created::New => {}
            Created::Existed => continue,
        }
        // A number that is over may have become free since the listing.
        if Collections::list(backend)?.closed < n {
            return Ok(n);
        }
        backend.remove(&name)?;
    }
    Err(Error::new(ErrorKind::Conflict, "other collections were always first")
        .hint("run the command again when fewer run at once"))
}

/// Finds out which packs of collection `n` are removed, unless that is known: puts a barrier on
/// every ref, asks `judge`, and creates the verdict. Returns false if the collection is over.
///
/// # Errors
/// The store cannot be read or written to, or the intent is damaged.
fn pass_verdict(store: &Store, n: u64, judge: Judge<'_>) -> Result<bool> {
    let backend = &**store.backend();
    let packs = match read_list(backend, n, Stage::Intent, &mut |_| true) {
        Ok(Some(packs)) => packs,
        Ok(None) => return Ok(false),
        // Nothing says what was condemned, and nothing was removed: so nothing is.
        Err(error) if error.is_damage() => Vec::new(),
        Err(error) => return Err(error),
    };
    let refs = store.refs();
    for name in refs.names()? {
        refs.put_barrier(&name, n)?;
    }
    // What is listed may not be durable yet, if the one that wrote it died.
    backend.settle("index")?;
    let condemned: HashSet<Id> = packs.into_iter().collect();
    let mut others = Collections::list(backend)?;
    others.open.remove(&n);
    let others = others.condemned(backend, &mut |_| true)?;
    let needed = judge(&Case { condemned: &condemned, others: &others })?;
    let removed: Vec<Id> = condemned.difference(&needed).copied().collect();
    let name = condemned::object_name(n, Stage::Verdict);
    if backend.create(&name, &condemned::encode(Stage::Verdict, &removed))? == Created::New
        && Collections::list(backend)?.closed >= n
    {
        // Another sweeper has ended it, and the room of its verdict was free again.
        backend.remove(&name)?;
        return Ok(false);
    }
    Ok(true)
}

/// Passes the verdicts of the collections that have none.
///
/// # Errors
/// As [`sweep`].
pub(crate) fn pass_verdicts(store: &Store, judge: Judge<'_>) -> Result<()> {
    for (n, stages) in Collections::list(&**store.backend())?.open {
        if !stages.contains(&Stage::Verdict) {
            pass_verdict(store, n, judge)?;
        }
    }
    Ok(())
}

/// Takes up all collections that are not over: passes their verdicts, and removes the packs of
/// those that are older than `grace`. In a dry run, only says what is waiting.
///
/// # Errors
/// The store cannot be read or written to, or a verdict is damaged.
pub(crate) fn sweep(
    store: &Store,
    grace: Duration,
    dry_run: bool,
    damaged: Damaged,
    judge: Judge<'_>,
) -> Result<Swept> {
    let backend = &**store.backend();
    let mut swept = Swept::default();
    let collections = Collections::list(backend)?;
    if collections.open.is_empty() {
        if !dry_run && collections.closed > 0 {
            forget_missing(store)?;
            clear(backend, &collections)?;
        }
        return Ok(swept);
    }
    let present = present(backend)?;
    let bytes = |packs: &[Id]| {
        let lengths = packs.iter().filter_map(|id| present.get(id));
        (lengths.clone().count() as u64, lengths.fold(0u64, |sum, n| sum.saturating_add(*n)))
    };
    let add = |sum: (u64, u64), more: (u64, u64)| (sum.0 + more.0, sum.1.saturating_add(more.1));
    let mut all_over = true;
    for (n, stages) in &collections.open {
        if dry_run {
            let stage =
                if stages.contains(&Stage::Verdict) { Stage::Verdict } else { Stage::Intent };
            let packs = read_list(backend, *n, stage, &mut |_| true)?.unwrap_or_default();
            swept.waiting = add(swept.waiting, bytes(&packs));
            continue;
        }
        if !stages.contains(&Stage::Verdict) && !pass_verdict(store, *n, judge)? {
            continue;
        }
        let packs = match read_list(backend, *n, Stage::Verdict, &mut |_| true) {
            Ok(Some(packs)) => packs,
            Ok(None) => continue,
            // What was not needed before it was damaged need not be known any more.
            Err(error) if error.is_damage() && damaged == Damaged::Rewritten => {
                let intent = read_list(backend, *n, Stage::Intent, &mut |_| true);
                intent.ok().flatten().unwrap_or_default()
            }
            Err(error) => return Err(error),
        };
        if !is_over(backend, *n, grace)? {
            all_over = false;
            swept.waiting = add(swept.waiting, bytes(&packs));
            continue;
        }
        remove(store, &packs)?;
        swept.removed = add(swept.removed, bytes(&packs));
        if all_over {
            backend.create(&condemned::object_name(*n, Stage::Closed), b"")?;
        }
    }
    if !dry_run {
        forget_missing(store)?;
        clear(backend, &Collections::list(backend)?)?;
    }
    Ok(swept)
}

/// Returns true if the verdict of collection `n` is older than `grace`.
fn is_over(backend: &dyn Backend, n: u64, grace: Duration) -> Result<bool> {
    if grace.is_zero() {
        return Ok(true);
    }
    let name = condemned::object_name(n, Stage::Verdict);
    let listed = backend.list("gc")?;
    let Some(verdict) = listed.iter().find(|listed| listed.name == name) else { return Ok(true) };
    let now = freestone_backend::clock::now_ns() / 1_000_000_000;
    // A clock that was wrong makes it wait longer, or less long; nothing depends on it.
    Ok(verdict.modified.saturating_add(grace.as_secs()) <= now)
}

/// Removes packs, after what the index says of them.
fn remove(store: &Store, packs: &[Id]) -> Result<()> {
    let backend = &**store.backend();
    let gone: HashSet<Id> = packs.iter().copied().collect();
    let index = Index::open(backend)?;
    Replacement::without(&index, gone)?.write(backend)?;
    for id in packs {
        backend.remove(&pack::object_name(id))?;
    }
    store.refresh();
    Ok(())
}

/// Takes out of the index what it says of packs that collections have removed.
///
/// # Errors
/// The store cannot be read or written to.
pub(crate) fn forget_collected(store: &Store) -> Result<()> {
    let collections = Collections::list(&**store.backend())?;
    match collections.are_none() {
        true => Ok(()),
        false => forget_missing(store),
    }
}

/// Takes out of the index what it says of packs that are gone: a merge that ran beside an earlier
/// sweep may have listed them again. If such a pack was lost, and not removed, what needs it is found
/// to be missing all the same.
fn forget_missing(store: &Store) -> Result<()> {
    let backend = &**store.backend();
    let index = Index::open(backend)?;
    let there = present(backend)?;
    let named = index.packs()?.into_iter().map(|(id, _)| id);
    let missing: HashSet<Id> = named.filter(|id| !there.contains_key(id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Replacement::without(&index, missing)?.write(backend)?;
    store.refresh();
    Ok(())
}

/// Removes the objects of collections that are over.
fn clear(backend: &dyn Backend, collections: &Collections) -> Result<()> {
    collections.left_over.iter().try_for_each(|name| backend.remove(name))
}

/// Returns the packs that a collection may remove, of those that are `present`; and what is damaged.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn condemned(
    backend: &dyn Backend,
    present: &HashMap<Id, u64>,
) -> Result<(HashSet<Id>, DamagedLists)> {
    let (mut packs, mut damaged) = (HashSet::new(), Vec::new());
    for (n, stages) in Collections::list(backend)?.open {
        // A verdict says more than its intent.
        for stage in stages.into_iter().rev() {
            match read_list(backend, n, stage, &mut |id| present.contains_key(id)) {
                Ok(found) => {
                    packs.extend(found.unwrap_or_default());
                    break;
                }
                Err(error) if error.is_damage() => {
                    damaged.push((condemned::object_name(n, stage), error));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok((packs, damaged))
}
