//! Forgetting a revision: whatever says that the entries of its refs are kept, it is not.

use crate::why::{NamedBy, named};
use freestone_core::{Error, Id, Result};
use freestone_format::ref_entry::PINS;
use freestone_store::Store;

/// Has the next collection remove what only the revision `id` needs. Returns the entries of refs
/// that name it. A dry run changes nothing.
///
/// # Errors
/// [`ErrorKind::Refused`](freestone_core::ErrorKind::Refused) if it is what a ref or a pin names now;
/// or the store cannot be read or written to.
pub fn forget(store: &Store, id: &Id, dry_run: bool) -> Result<Vec<NamedBy>> {
    let named = named(store)?.remove(id).unwrap_or_default();
    if let Some(of) = named.iter().find(|of| of.is_newest) {
        let name = &of.name;
        let error = Error::refused(format!("revision {id} is what {name} names now"));
        return Err(match name.starts_with(PINS) {
            true => error.hint("remove the pin on its host: freestone pin remove"),
            false => error.hint(format!(
                "set the ref to another revision, or delete it: freestone ref delete {name}"
            )),
        });
    }
    if !dry_run {
        store.check_writable()?;
        // The ref may be set to it at this very moment: then it is kept, as the newest entry.
        store.set_forgotten(id)?;
    }
    Ok(named)
}
