//! Where revisions are: in files of their own, and as records that the index lists.
//!
//! [`Store::revision`](crate::Store::revision) reads a revision from wherever it is. These
//! functions are for crates that write revisions, or look after a store.

use crate::index::{Index, Place};
use crate::read::Packs;
use freestone_backend::{Backend, get_decoded};
use freestone_core::limits::REVISION_BYTES_MAX;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::record::RecordKind;
use freestone_format::revision::{self, PackRange, Revision};
use freestone_format::segment::{PREFIX_BYTES, prefix};
use std::collections::HashMap;

/// The longest file of a revision that is read: a revision with its locator.
const FILE_BYTES_MAX: u64 = REVISION_BYTES_MAX as u64 + revision::LOCATOR_BYTES_MAX;

fn object_name(id: &Id) -> String {
    format!("revisions/{id}")
}

/// Reads the revision `id` and where its nodes are from its own file; `None` if it has none.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn read_file(backend: &dyn Backend, id: &Id) -> Result<Option<(Revision, Vec<PackRange>)>> {
    let decode = |file: &[u8]| {
        revision::decode_file(id, file).map_err(|error| error.context(format!("revision {id}")))
    };
    get_decoded(backend, &object_name(id), FILE_BYTES_MAX, decode)
}

/// Creates the file of a revision, unless it exists. `locator` says where its nodes are.
///
/// # Errors
/// The backend failed.
pub fn write_file(backend: &dyn Backend, revision: &Revision, locator: &[PackRange]) -> Result<()> {
    let file = revision::encode_file(&revision.encode(), locator);
    backend.create(&object_name(&revision.id()), &file)?;
    Ok(())
}

/// Removes the file of a revision.
///
/// # Errors
/// The backend failed.
pub fn remove_file(backend: &dyn Backend, id: &Id) -> Result<()> {
    backend.remove(&object_name(id))
}

/// Lists the ids of the revisions that have files of their own, sorted.
///
/// # Errors
/// The store cannot be listed.
pub fn with_files(backend: &dyn Backend) -> Result<Vec<Id>> {
    let listed = backend.list("revisions")?;
    let id = |name: &str| Id::parse(name.strip_prefix("revisions/")?).ok();
    Ok(listed.iter().filter_map(|listed| id(&listed.name)).collect())
}

/// Lists the ids of the revisions that `index` lists. Those whose first bytes are in `known` are
/// taken from there. For the others the tables of `packs` are read; a revision whose id cannot be
/// found out, since a pack or a segment is damaged or missing, is left out.
///
/// # Errors
/// The index cannot be read.
pub fn in_packs(
    index: &Index,
    packs: &Packs,
    known: &HashMap<[u8; PREFIX_BYTES], Id>,
) -> Result<Vec<Id>> {
    let mut ids = Vec::new();
    for live in index.segments().iter() {
        for at in live.segment.rows_of(RecordKind::Revision) {
            let place = match at.and_then(|at| Place::of(live, at)) {
                Ok(place) => place,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error.context(&live.name)),
            };
            if let Some(id) = known.get(&place.row.prefix) {
                ids.push(*id);
                continue;
            }
            match packs.starts(&place) {
                Ok(starts) => {
                    let first = starts.partition_point(|(at, _)| *at < place.row.offset);
                    let here = starts[first..].iter();
                    let here = here.take_while(|(at, _)| *at == place.row.offset);
                    let is_it = |id: &&Id| prefix(&id.0) == place.row.prefix;
                    ids.extend(here.map(|(_, id)| id).find(is_it));
                }
                Err(error) if error.is_damage() => {}
                // Of a cache: the table is not here.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ids)
}

/// Decodes `bytes`, which were read at `place`, as a revision, and returns it with its id.
///
/// # Errors
/// They are not a revision of that pack.
pub(crate) fn decode_at(place: &Place, bytes: &[u8], packs: &Packs) -> Result<(Id, Revision)> {
    let id = RecordKind::Revision.id_of(bytes).unwrap_or(Id([0; 32]));
    let is_it = place.row.kind == RecordKind::Revision && packs.holds(place, &id)?;
    let revision = Revision::decode(bytes).ok().filter(|_| is_it);
    let revision = revision.ok_or_else(|| {
        let place = format!("pack {} at {}", place.pack, place.row.offset);
        Error::corrupt(format!("{place} holds no revision, though the index says so"))
            .hint("`freestone verify` lists what is damaged")
    })?;
    Ok((id, revision))
}
