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
    let (refs, mut kept) = (store.refs(), HashSet::new());
    for name in refs.names()? {
        let collected = refs.collected(&name)?;
        // A log that is damaged is a finding of its own.
        let log = refs.log(&name).unwrap_or_default().into_iter();
        kept.extend(log.filter(|entry| entry.n >= collected).filter_map(|e| e.revision()));
    }
    Ok(Some(kept))
}
