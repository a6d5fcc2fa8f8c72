//! Where the records are that a revision needs, and which of their bytes are not here.

use crate::cache::sparse::{PackRanges, SparsePack};
use freestone_core::{Id, Result};
use freestone_format::record::RecordKind;
use freestone_store::Records;
use freestone_store::read::records;
use std::ops::Range;
use std::sync::Arc;

/// A record that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) kind: RecordKind,
    pub(crate) id: Id,
}

/// A record that is not completely here.
pub(crate) struct Absent {
    pub(crate) need: Need,
    /// The ranges of packs that make it and are not here.
    pub(crate) ranges: Vec<(Id, Range<u64>)>,
}

/// Returns the stored ranges that make a record: its own, and those of its bases.
///
/// # Errors
/// The index does not list it, or is damaged.
pub(crate) fn locate(records: &Records, need: &Need) -> Result<Vec<(Id, Range<u64>)>> {
    let places = records.places(need.kind, &need.id)?;
    let place = places.first().ok_or_else(|| records::missing(need.kind, &need.id))?;
    let mut chain = Vec::new();
    records.chain(place, &mut chain)?;
    let ranges = chain.iter().flat_map(records::ranges);
    Ok(ranges.map(|(place, range)| (place.pack, range)).collect())
}

/// Returns what of a record is not here; `None` if all of it is. `pack` returns what is here of a
/// pack, and ranges of `overlay` count as here. What is here is noted as used if `is_use` is true.
///
/// # Errors
/// As [`locate`], or as `pack`.
pub(crate) fn absent(
    pack: impl Fn(&Id) -> Result<Arc<SparsePack>>,
    records: &Records,
    need: &Need,
    overlay: Option<&PackRanges>,
    is_use: bool,
) -> Result<Option<Absent>> {
    let mut ranges = Vec::new();
    for (id, range) in locate(records, need)? {
        let overlay = overlay.and_then(|overlay| overlay.get(&id));
        let known = pack(&id)?;
        let is_here = known.contains(&range);
        if is_here && is_use {
            known.touch(&range);
        }
        if !is_here && !overlay.is_some_and(|runs| runs.contains(&range)) {
            ranges.push((id, range));
        }
    }
    Ok((!ranges.is_empty()).then_some(Absent { need: *need, ranges }))
}
