//! Removing packs whose records lie in others now.
//!
//! Who has listed the index before may still read them, or push what leans on them. So they stay
//! for a grace period; and what the index names by then is left where it is.

use freestone_backend::Backend;
use freestone_core::{Id, Result};
use freestone_format::{pack, retired};
use freestone_store::Index;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The longest list that is read.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// Leaves `ids` to be removed.
pub(crate) fn retire(backend: &dyn Backend, ids: &[Id]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    backend
        .create(&retired::object_name(freestone_backend::clock::now_ns()), &retired::encode(ids))?;
    Ok(())
}

/// The packs that are on lists. A list that is damaged has none.
pub(crate) fn retired(backend: &dyn Backend) -> Result<HashSet<Id>> {
    let mut ids = HashSet::new();
    for listed in backend.list("gc")? {
        if retired::time_of_object(&listed.name).is_some()
            && let Some(bytes) = backend.get(&listed.name, LIST_BYTES_MAX)?
        {
            ids.extend(retired::decode(&bytes).unwrap_or_default());
        }
    }
    Ok(ids)
}

/// Packs that were retired: how many, and their bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Swept {
    pub(crate) removed: (u64, u64),
    pub(crate) waiting: (u64, u64),
}

/// Removes what was retired longer ago than `grace`, or says what would be.
pub(crate) fn sweep(backend: &dyn Backend, grace: Duration, dry_run: bool) -> Result<Swept> {
    let mut swept = Swept::default();
    let listed = backend.list("gc")?;
    let lists: Vec<(&str, u64)> = listed
        .iter()
        .filter_map(|listed| Some((&*listed.name, retired::time_of_object(&listed.name)?)))
        .collect();
    if lists.is_empty() {
        return Ok(swept);
    }
    let index = Index::open(backend)?;
    let live: HashSet<Id> = index.packs()?.into_iter().map(|(id, _)| id).collect();
    if !dry_run {
        // What is listed in the place of old packs may come from one that died before it was durable.
        backend.settle("index")?;
    }
    let grace = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
    let mut read = Vec::new();
    // A pack that is on several lists was live until the newest of them at least: those who wrote the
    // others died before they took it out of the index.
    let mut newest: BTreeMap<Id, u64> = BTreeMap::new();
    for (name, time) in lists {
        let Some(bytes) = backend.get(name, LIST_BYTES_MAX)? else { continue };
        let ids = retired::decode(&bytes).map_err(|error| {
            error.context(name).hint("remove it: its packs stay then, and only take room")
        })?;
        for id in &ids {
            let known = newest.entry(*id).or_default();
            *known = time.max(*known);
        }
        read.push((name, ids));
    }
    let now = freestone_backend::clock::now_ns();
    let mut staying: HashSet<Id> = HashSet::new();
    for (id, time) in newest {
        let object = pack::object_name(&id);
        let Some(length) = backend.open(&object)?.map(|object| object.length()) else { continue };
        if live.contains(&id) {
            staying.insert(id);
        } else if time.saturating_add(grace) <= now {
            swept.removed = (swept.removed.0 + 1, swept.removed.1 + length);
            if !dry_run {
                backend.remove(&object)?;
            }
        } else {
            swept.waiting = (swept.waiting.0 + 1, swept.waiting.1 + length);
            staying.insert(id);
        }
    }
    for (name, ids) in read {
        if !dry_run && !ids.iter().any(|id| staying.contains(id)) {
            backend.remove(name)?;
        }
    }
    Ok(swept)
}
