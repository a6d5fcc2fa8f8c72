//! Removing packs whose records lie in others now.
//!
//! Readers that listed the index before may still read them, and pushes may use their records as
//! bases. So they stay for a grace period. A pack that the index names after that is kept.

use freestone_backend::Backend;
use freestone_core::{Error, Id, Result};
use freestone_format::{pack, retired};
use freestone_store::Index;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// Leaves `ids` to be removed.
pub(crate) fn retire(backend: &dyn Backend, ids: &[Id]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    backend
        .create(&retired::object_name(freestone_backend::clock::now_ns()), &retired::encode(ids))?;
    Ok(())
}

/// A list of retired packs.
struct List {
    /// The name of its object.
    name: String,
    /// When it was written: nanoseconds since 1970.
    time: u64,
    /// Those of its packs that the store still has.
    packs: BTreeSet<Id>,
}

/// Lists that are damaged: their names, and what is wrong.
pub(crate) type DamagedLists = Vec<(String, Error)>;

/// Reads all lists, as far as they name packs of `present`; and says which lists are damaged.
fn lists(backend: &dyn Backend, present: &HashMap<Id, u64>) -> Result<(Vec<List>, DamagedLists)> {
    let (mut lists, mut damaged) = (Vec::new(), Vec::new());
    for listed in backend.list("gc")? {
        let Some(time) = retired::time_of_object(&listed.name) else { continue };
        // A compaction beside this one may have removed it.
        let Some(object) = backend.open(&listed.name)? else { continue };
        let mut packs = BTreeSet::new();
        let read = retired::decode_in_pieces(
            object.length(),
            &mut |at, out| object.read_at(at, out),
            &mut |id| {
                if present.contains_key(&id) {
                    packs.insert(id);
                }
            },
        );
        match read {
            Ok(()) => lists.push(List { name: listed.name, time, packs }),
            Err(error) if error.is_damage() => damaged.push((listed.name, error)),
            Err(error) => return Err(error.context(listed.name)),
        }
    }
    Ok((lists, damaged))
}

/// Returns the packs of a store with their lengths.
pub(crate) fn present(backend: &dyn Backend) -> Result<HashMap<Id, u64>> {
    let listed = backend.list("packs")?;
    let packs = listed.iter();
    Ok(packs.filter_map(|l| Some((pack::id_of_object(&l.name)?, l.length))).collect())
}

/// Returns the packs that are on lists, of those that are `present`; and the lists that are
/// damaged.
pub(crate) fn retired(
    backend: &dyn Backend,
    present: &HashMap<Id, u64>,
) -> Result<(HashSet<Id>, DamagedLists)> {
    let (lists, damaged) = lists(backend, present)?;
    Ok((lists.into_iter().flat_map(|list| list.packs).collect(), damaged))
}

/// Removes lists that are damaged. Their packs must have been listed in the index again: nothing
/// else says that they are there.
pub(crate) fn remove_damaged(backend: &dyn Backend) -> Result<()> {
    let (_, damaged) = lists(backend, &HashMap::new())?;
    damaged.iter().try_for_each(|(name, _)| backend.remove(name))
}

/// Packs that were retired: how many, and their bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Swept {
    pub(crate) removed: (u64, u64),
    pub(crate) waiting: (u64, u64),
}

/// Removes what was retired longer ago than `grace`, or says what would be.
///
/// # Errors
/// A list is damaged, the index cannot be read, or a pack cannot be removed.
pub(crate) fn sweep(backend: &dyn Backend, grace: Duration, dry_run: bool) -> Result<Swept> {
    let mut swept = Swept::default();
    if !backend.list("gc")?.iter().any(|l| retired::time_of_object(&l.name).is_some()) {
        return Ok(swept);
    }
    let present = present(backend)?;
    let (lists, damaged) = lists(backend, &present)?;
    // It may say that a pack was retired later than other lists say.
    if let Some((name, error)) = damaged.into_iter().next() {
        return Err(error.context(name));
    }
    let index = Index::open(backend)?;
    let live: HashSet<Id> = index.packs()?.into_iter().map(|(id, _)| id).collect();
    if !dry_run {
        // A segment that lists the new packs may not be durable yet, if a compaction died.
        backend.settle("index")?;
    }
    let grace = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
    // A pack that is on several lists was live until the newest of them at least: the compactions
    // that wrote the others died before they took it out of the index.
    let mut newest: BTreeMap<Id, u64> = BTreeMap::new();
    for list in &lists {
        for id in &list.packs {
            let known = newest.entry(*id).or_default();
            *known = list.time.max(*known);
        }
    }
    let now = freestone_backend::clock::now_ns();
    let mut staying: HashSet<Id> = HashSet::new();
    for (id, time) in newest {
        let length = present.get(&id).copied().unwrap_or(0);
        if live.contains(&id) {
            staying.insert(id);
        } else if time.saturating_add(grace) <= now {
            swept.removed = (swept.removed.0 + 1, swept.removed.1 + length);
            if !dry_run {
                backend.remove(&pack::object_name(&id))?;
            }
        } else {
            swept.waiting = (swept.waiting.0 + 1, swept.waiting.1 + length);
            staying.insert(id);
        }
    }
    for list in lists {
        if !dry_run && !list.packs.iter().any(|id| staying.contains(id)) {
            backend.remove(&list.name)?;
        }
    }
    Ok(swept)
}
