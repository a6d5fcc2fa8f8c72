//! Which record another one is stored against.
//!
//! Versions of one thing, a path's contents or a node's, make a chain. Each is stored against an
//! earlier one, so that it costs what has changed; but reading it costs a decoding for each base
//! below it, so chains skip: with versions counted from 0, version v is stored against v − 5ᵏ,
//! the largest power of five that divides v. Then version v lies above as many bases as the sum of its
//! digits to base five, at most 16 for 625 versions, and the mean distance of the versions
//! between which a difference is stored is 0.8 for each digit.
//!
//! Across packs a base has none itself, so that what a pack leans on is known from its table
//! alone: who goes on from a record that has a base leans on the first of its chain.

use crate::format::record::{Codec, RecordKind};
use crate::index::Place;
use crate::records::Records;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::{ErrorKind, Id, Result};

/// Bases below a content at most: each costs a decoding of its size.
pub(crate) const CONTENT_DEPTH_MAX: usize = 8;
/// Bases below a node or a revision at most: they are small.
pub(crate) const NODE_DEPTH_MAX: usize = 16;
/// What the distances of versions are powers of.
const RADIX: u64 = 5;

/// Where a base is, for a record that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BasePlace {
    /// In the same lane: the lane, the record's number there, and which version of its chain the
    /// record is that has it as base.
    Lane { lane: u64, number: usize, version: u64 },
    /// In another pack, without a base itself.
    Pack { pack: Id, offset: u64, stored: u64, plain: u64, codec: Codec },
}

/// A base, with its plain bytes.
pub(crate) struct Basis {
    pub(crate) place: BasePlace,
    pub(crate) bytes: Vec<u8>,
}

/// How far back the base of version `version` (not 0) lies.
pub(crate) fn skip(version: u64) -> u64 {
    let mut step = 1;
    while version.is_multiple_of(step * RADIX) {
        step *= RADIX;
    }
    step
}

/// What the next version of the listed record `id` may have as its base: the record, or the first
/// of its chain. It is proven, since whatever leans on a wrong one would be lost. What is damaged
/// or missing is no base.
pub(crate) fn listed(records: &Records, kind: RecordKind, id: &Id) -> Result<Option<Basis>> {
    let mut found = None;
    let searched = records.index.find(kind, id, &mut |place| {
        found = of_place(records, &place, id)?;
        Ok(found.is_some())
    });
    match searched {
        Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
        _ => Ok(found),
    }
}

fn of_place(records: &Records, place: &Place, id: &Id) -> Result<Option<Basis>> {
    let mut first = place.clone();
    while let Some(below) = first.base()? {
        first = below;
    }
    if first.row.codec == Codec::Zeros || first.row.plain > CONTENT_WHOLE_BYTES_MAX {
        return Ok(None);
    }
    let starts = records.packs.starts(&first)?;
    let at = starts.partition_point(|(start, _)| *start < first.row.offset);
    let same_place = starts[at..].iter().take_while(|(start, _)| *start == first.row.offset);
    if !records.packs.holds(place, id)? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    records.decode(&first, &mut bytes, 0)?;
    let own = first.row.kind.id_of(&bytes);
    if !same_place.map(|(_, id)| Some(*id)).any(|id| id == own) {
        return Ok(None);
    }
    let (pack, row) = (first.pack, first.row);
    let (offset, stored, plain, codec) = (row.offset, row.stored, row.plain, row.codec);
    Ok(Some(Basis { place: BasePlace::Pack { pack, offset, stored, plain, codec }, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_shallow_and_near() {
        let mut depth = vec![0];
        let mut distance = 0;
        for version in 1..625 {
            let base = version - skip(version);
            distance += skip(version);
            let base = usize::try_from(base).unwrap();
            depth.push(depth[base] + 1);
        }
        assert_eq!(depth.iter().max(), Some(&16));
        assert_eq!(distance, 2000);
    }
}
