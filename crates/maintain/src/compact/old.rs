//! The packs that a compaction rewrites.

use freestone_core::{Id, Result};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::segment::SegmentRow;
use freestone_store::{Index, Store, read_table};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A pack that is to be rewritten.
pub(super) struct OldPack {
    pub(super) id: Id,
    /// Its length.
    pub(super) bytes: u64,
    /// The bytes of its records and its table, without gaps.
    pub(super) used: u64,
    pub(super) records: u64,
}

/// Returns the packs that `index` names, the oldest first, as far as the order of its segments
/// tells: so what is rewritten together is near in time, and has the most in common.
pub(super) fn by_age(index: &Index) -> Result<Vec<Id>> {
    let mut listed = Vec::new();
    let mut only_named = Vec::new();
    for live in index.segments().iter().rev() {
        for at in 0..live.segment.pack_count() {
            let pack = live.segment.pack(at).map_err(|error| error.context(&live.name))?;
            // Without a length, the pack holds only bases of what the segment lists.
            if pack.length > 0 { listed.push(pack.id) } else { only_named.push(pack.id) }
        }
    }
    listed.append(&mut only_named);
    let mut seen = HashSet::new();
    listed.retain(|id| seen.insert(*id));
    Ok(listed)
}

/// Returns the packs in groups of at most `records_max` records, which are rewritten together: so
/// what is held of their records is bounded.
pub(super) fn groups(packs: Vec<OldPack>, records_max: u64) -> Vec<Vec<OldPack>> {
    let mut groups: Vec<Vec<OldPack>> = Vec::new();
    let mut records = u64::MAX;
    for pack in packs {
        records = records.saturating_add(pack.records);
        match groups.last_mut().filter(|_| records <= records_max) {
            Some(group) => group.push(pack),
            None => {
                records = pack.records;
                groups.push(vec![pack]);
            }
        }
    }
    groups
}

/// A record of a pack that is rewritten, as the pack's table says it.
pub(super) struct OldRecord {
    pub(super) id: Id,
    pub(super) offset: u64,
    pub(super) stored: u64,
    pub(super) plain: u64,
    pub(super) kind: RecordKind,
    pub(super) codec: Codec,
    /// The number of its pack.
    pack: u32,
}

/// The records of packs that are rewritten together.
pub(super) struct OldRecords {
    packs: Vec<Id>,
    /// The places of each pack's records in `records`, which are in the order of their offsets.
    places: HashMap<Id, Range<usize>>,
    records: Vec<OldRecord>,
}

impl OldRecords {
    /// Reads the tables of `packs`.
    ///
    /// # Errors
    /// A pack is missing or damaged.
    pub(super) fn read(store: &Store, packs: &[OldPack]) -> Result<Self> {
        let mut out = Self { packs: Vec::new(), places: HashMap::new(), records: Vec::new() };
        for OldPack { id, .. } in packs {
            let pack = u32::try_from(out.packs.len()).unwrap_or(u32::MAX);
            let first = out.records.len();
            let rows = read_table(&*store.packs().open(id)?, id)?;
            out.records.extend(rows.into_iter().map(|row| OldRecord {
                id: row.id,
                offset: row.offset,
                stored: row.stored,
                plain: row.plain,
                kind: row.kind,
                codec: row.codec,
                pack,
            }));
            out.packs.push(*id);
            out.places.insert(*id, first..out.records.len());
        }
        Ok(out)
    }

    /// Returns all records, by their packs.
    pub(super) fn all(&self) -> &[OldRecord] {
        &self.records
    }

    /// Returns the pack of a record.
    pub(super) fn pack_of(&self, record: &OldRecord) -> &Id {
        // Its number was taken from this list.
        &self.packs[record.pack as usize]
    }

    /// Returns the packs.
    pub(super) fn packs(&self) -> &[Id] {
        &self.packs
    }

    /// Returns the record that a segment's row of `pack` means.
    pub(super) fn find(&self, pack: &Id, row: &SegmentRow) -> Option<&OldRecord> {
        let records = &self.records[self.places.get(pack)?.clone()];
        let first = records.partition_point(|record| record.offset < row.offset);
        let here = records[first..].iter().take_while(|record| record.offset == row.offset);
        let place = (row.stored, row.plain, row.kind);
        here.into_iter().find(|record| (record.stored, record.plain, record.kind) == place)
    }
}
