//! Which record another one is stored against.
//!
//! Versions of one thing, a path's contents or a node's, make a chain. Each is stored over an
//! earlier one, so that it costs what has changed; but reading it costs a decoding for each base
//! below it, so chains skip: with versions counted from 0, version v is stored over v − rᵏ, the
//! largest power of r that divides v, r being one more than the bases that may lie below. So r − 1
//! of r versions are stored over the one before, the first of each r over the first of the r
//! before, and version v lies above as many bases as its digits to base r add up to. Where
//! that is too many, the nearest base below is taken that is not.
//!
//! Across packs a base has none itself, so that what a pack leans on is known from its table
//! alone: who goes on from a record that has a base leans on the first of its chain.

use crate::index::Place;
use crate::read::records::Records;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::{ErrorKind, Id, Result};
use freestone_format::record::{Codec, RecordKind};

/// Bases below a content at most: each costs a decoding of its size.
pub const CONTENT_DEPTH_MAX: usize = 16;
/// The same for what a compaction writes: it begins with the newest, which is read most.
pub const COMPACT_DEPTH_MAX: usize = 24;
/// Bases below a node or a revision at most: they are small.
pub const NODE_DEPTH_MAX: usize = 24;

/// Where a base is, for a record that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasePlace {
    /// In the same lane: the lane, the record's number there, and which version of its chain the
    /// record is that has it as base.
    Lane { lane: u64, number: usize, version: u64 },
    /// In another pack, without a base itself.
    Pack { pack: Id, offset: u64, stored: u64, plain: u64, codec: Codec },
}

/// A base, with its plain bytes.
pub struct Basis {
    pub place: BasePlace,
    pub bytes: Vec<u8>,
}

/// How far back the base of version `version` (not 0) lies in a chain of at most so many bases.
pub fn skip(version: u64, depth_max: usize) -> u64 {
    let radix = depth_max as u64 + 1;
    let mut step = 1;
    while version.is_multiple_of(step * radix) {
        step *= radix;
    }
    step
}

/// What the next version of the listed record `id` may have as its base: the record, or the first
/// of its chain. It is proven, since whatever leans on a wrong one would be lost. What is damaged
/// or missing is no base.
pub fn listed(records: &Records, kind: RecordKind, id: &Id) -> Result<Option<Basis>> {
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
    let bytes = records.decode(&first)?;
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
        for (depth_max, count) in [(4, 25), (16, 289), (24, 625)] {
            let mut depth = vec![0];
            let mut near = 0;
            for version in 1..count {
                let step = skip(version, depth_max);
                near += usize::from(step == 1);
                depth.push(depth[usize::try_from(version - step).unwrap()] + 1);
            }
            assert_eq!(depth.iter().max(), Some(&(2 * depth_max)));
            assert!(near * (depth_max + 1) >= depth_max * (depth.len() - 1));
        }
    }
}
