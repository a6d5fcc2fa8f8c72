//! Bases: the records that others are stored as differences to.
//!
//! Versions of one thing, such as the contents of a path, make a chain. Each is stored as a
//! difference to an earlier one, so it costs only what has changed. But reading it costs a decoding
//! for each base below it. So chains skip. With versions counted from 0, and up to d bases below a
//! record, the first d versions after version 0 have the one before as their base. After them come
//! blocks of r × r versions, where r is half of d. The first of a block has version 0 as its base.
//! Of the others, each r-th has the one r before as its base, and the rest have the one before. So
//! no chain is deeper than d, and a version is near its base however long the chain is.
//!
//! A base in another pack has no base itself, so that the packs which a pack depends on are known
//! from its table alone. A new version of a record that has a base is stored as a difference to the
//! first record of that chain.

use crate::index::Place;
use crate::read::records::Records;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::{ErrorKind, Id, Result};
use freestone_format::record::{Codec, RecordKind};

/// The maximum of bases below a content. Each costs a decoding of its size.
pub const CONTENT_DEPTH_MAX: usize = 16;
/// The same for contents that a compaction writes: it begins with the newest, which is read most.
pub const COMPACT_DEPTH_MAX: usize = 24;
/// The maximum of bases below a node or a revision, which are small.
pub const NODE_DEPTH_MAX: usize = 24;

/// The place of a base, for a record that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasePlace {
    /// In the same lane: the lane, the base's number there, and the version in the chain of the
    /// record that will have this base.
    Lane { lane: u64, number: usize, version: u64 },
    /// In another pack, without a base itself.
    Pack { pack: Id, offset: u64, stored: u64, plain: u64, codec: Codec },
}

/// A base, with its plain bytes.
pub struct Basis {
    pub place: BasePlace,
    pub bytes: Vec<u8>,
}

/// Returns how many versions before version `version` its base is. `version` is not 0, and a record
/// has up to `depth_max` bases below it.
pub fn skip(version: u64, depth_max: usize) -> u64 {
    let depth_max = depth_max as u64;
    let Some(in_blocks) = version.checked_sub(depth_max + 1) else { return 1 };
    // The first of a block is one deep, and r - 1 steps of each size come after it.
    let radix = depth_max.div_ceil(2).max(1);
    match in_blocks {
        first if first.is_multiple_of(radix * radix) => version,
        next if next.is_multiple_of(radix) => radix,
        _ => 1,
    }
}

/// Returns the base that the next version of the listed record `id` may have: the record, or the
/// first of its chain. It is proven, since a record with a wrong base would be lost. A damaged or
/// missing record is not a base.
pub fn listed(records: &Records, kind: RecordKind, id: &Id) -> Result<Option<Basis>> {
    let mut found = None;
    let searched = records.index.find_to_rely(kind, id, &mut |place| {
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
    fn chains_are_shallow_and_near_however_long_they_are() {
        for (depth_max, mean_max) in [(1, 10_000), (4, 2700), (16, 340), (24, 260)] {
            let mut depth = vec![0];
            let mut distance = 0;
            for version in 1..20_000 {
                let step = skip(version, depth_max);
                // What is further away than this differs as much as any other version.
                distance += step.min(100);
                depth.push(depth[usize::try_from(version - step).unwrap()] + 1);
            }
            assert!(depth.iter().all(|depth| *depth <= depth_max), "{depth_max}");
            assert!(distance / 200 <= mean_max, "{depth_max}: {distance}");
        }
    }
}
