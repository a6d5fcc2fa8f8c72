//! Which revisions have to be whole.

use freestone_core::{Id, Result};
use freestone_store::Store;
use freestone_store::fence::Collections;
use std::collections::HashSet;

/// Returns the revisions that the refs of a store keep, from which something was collected; `None`
/// if nothing ever was.
pub(crate) fn kept(store: &Store) -> Result<Option<HashSet<Id>>> {
    let backend = &**store.backend();
    let collections = Collections::list(backend)?;
    if collections.are_none() {
        return Ok(None);
    }
    let (refs, forgotten, mut kept) = (store.refs(), store.forgotten()?, HashSet::new());
    for name in refs.names()? {
        // What is damaged is a finding of its own.
        let collected = refs.collected(&name).unwrap_or_default();
        let log = refs.log(&name).unwrap_or_default().into_iter().enumerate();
        kept.extend(log.filter_map(|(at, entry)| {
            let id = entry.revision()?;
            let is_kept = at == 0 || (!collected.may_lack(entry.n) && !forgotten.contains(&id));
            is_kept.then_some(id)
        }));
    }
    Ok(Some(kept))
}
