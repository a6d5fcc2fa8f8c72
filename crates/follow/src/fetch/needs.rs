//! Where the records lie that somebody needs, and what of their bytes is not here.

use super::Inner;
use crate::read::records::{self, Records};
use freestone_core::{Id, Result};
use freestone_format::record::RecordKind;
use freestone_format::runs::Runs;
use std::collections::HashMap;
use std::ops::Range;

/// A record that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Need {
    pub(super) kind: RecordKind,
    pub(super) id: Id,
}

/// Ranges of packs that count as being here although they are not: those of a preview.
pub(super) type Overlay = HashMap<Id, Runs>;

/// A record that is not wholly here.
pub(super) struct Absent {
    pub(super) need: Need,
    /// The ranges that make it and are not here.
    pub(super) ranges: Vec<(Id, Range<u64>)>,
}

/// The stored ranges that make a record, its own and those of its bases, where it is taken from.
///
/// # Errors
/// The index does not know it, or is damaged.
pub(super) fn locate(records: &Records, need: &Need) -> Result<Vec<(Id, Range<u64>)>> {
    let places = records.places(need.kind, &need.id)?;
    let place = places.first().ok_or_else(|| records::missing(need.kind, &need.id))?;
    let mut chain = Vec::new();
    records.chain(place, &mut chain)?;
    let ranges = chain.iter().flat_map(records::ranges);
    Ok(ranges.map(|(place, range)| (place.pack, range)).collect())
}

impl Inner {
    /// What of a record is not here; `None` if it is.
    ///
    /// # Errors
    /// As [`locate`].
    pub(super) fn absent(
        &self,
        records: &Records,
        need: &Need,
        overlay: Option<&Overlay>,
    ) -> Result<Option<Absent>> {
        let mut ranges = locate(records, need)?;
        ranges.retain(|(pack, range)| {
            let in_overlay = overlay
                .and_then(|overlay| overlay.get(pack))
                .is_some_and(|runs| runs.contains(range));
            let known = self.pack(pack);
            let is_here = known.contains(range);
            // Who only looks whether it is here uses nothing, and is offline.
            if is_here && !self.client.offline {
                known.touch(range);
            }
            !in_overlay && !is_here
        });
        Ok((!ranges.is_empty()).then_some(Absent { need: *need, ranges }))
    }

    /// Whether the bytes of a record wait in the stash to be proven.
    pub(super) fn is_stashed(&self, absent: &Absent) -> bool {
        let stash = self.stash();
        absent.ranges.iter().all(|(pack, range)| stash.find(pack, range).is_some())
    }
}
