//! Listing compacted packs in the place of those that they were made of.

use super::old::OldRecords;
use super::writer::NewPack;
use freestone_backend::Backend;
use freestone_core::{Error, Id, Result};
use freestone_format::record::RecordKind;
use freestone_format::segment::{Segment, SegmentPack, SegmentParts, SegmentRow};
use freestone_store::index::rows::{Listing, Rows};
use freestone_store::index::write_segment;
use freestone_store::{Index, LiveSegment, hints};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The tier of a segment that a compaction wrote: it is merged only with many of its kind.
const TIER: u8 = 4;

/// The segments that take the place of those that list old packs.
pub(super) struct Replacement {
    /// Lists the new packs; takes the place of segments that only list old ones.
    new: SegmentParts,
    /// Segments that list other packs, too: they are written again without what they say of old
    /// ones.
    mixed: Vec<Arc<LiveSegment>>,
    /// The names of those that are replaced.
    replaced: Vec<String>,
}

impl Replacement {
    pub(super) fn of(index: &Index, old: &OldRecords, packs: &[NewPack]) -> Result<Self> {
        let mut out = Self { new: new_rows(packs), mixed: Vec::new(), replaced: Vec::new() };
        let ids = packs.iter().flat_map(|pack| &pack.rows).map(|row| (row.kind, row.id));
        let rows: HashMap<(RecordKind, Id), u64> = ids.zip(0u64..).collect();
        for live in index.segments().iter() {
            out.replace(live, old, &rows).map_err(|error| error.context(&live.name))?;
        }
        Ok(out)
    }

    fn replace(
        &mut self,
        live: &Arc<LiveSegment>,
        old: &OldRecords,
        rows: &HashMap<(RecordKind, Id), u64>,
    ) -> Result<()> {
        let segment = &live.segment;
        let is_old = old_packs(segment, old)?;
        if !is_old.contains(&true) {
            return Ok(());
        }
        // What is copied gets a check of its own; damage must not come to look sound.
        segment.verify()?;
        self.replaced.push(live.name.clone());
        let place = |row: u64| -> Result<Option<u64>> {
            let row = segment.row(row)?;
            let record = old.find(&segment.pack(row.pack)?.id, &row);
            Ok(record.and_then(|record| rows.get(&(record.kind, record.id)).copied()))
        };
        for at in 0..segment.sha1_count() {
            let (prefix, row) = segment.sha1(at)?;
            self.new.sha1s.extend(place(row)?.map(|row| (prefix, row)));
        }
        for at in 0..segment.commit_count() {
            let (prefix, row) = segment.commit(at)?;
            self.new.commits.extend(place(row)?.map(|row| (prefix, row)));
        }
        for at in 0..segment.record_count() {
            if stays(&segment.row(at)?, &is_old) {
                self.mixed.push(live.clone());
                return Ok(());
            }
        }
        self.new.supersedes.push(segment.id());
        Ok(())
    }

    /// Writes the segments; then removes those that they take the place of.
    pub(super) fn write(self, backend: &dyn Backend, old: &OldRecords) -> Result<()> {
        write_segment(backend, TIER, self.new, Rows::LeftOut)?;
        for live in self.mixed {
            let kept = old_packs(&live.segment, old).and_then(|old| filter(&live.segment, &old));
            let kept = kept.map_err(|error| error.context(&live.name))?;
            write_segment(backend, TIER, kept, Rows::LeftOut)?;
        }
        hints::write_index(backend, &self.replaced);
        self.replaced.iter().try_for_each(|name| backend.remove(name))?;
        hints::write_index(backend, &[]);
        Ok(())
    }
}

/// Says of each pack of a segment whether it is an old one.
fn old_packs(segment: &Segment, old: &OldRecords) -> Result<Vec<bool>> {
    (0..segment.pack_count()).map(|at| Ok(old.has_pack(&segment.pack(at)?.id))).collect()
}

/// Returns true if the record of a row is in a pack that stays.
fn stays(row: &SegmentRow, is_old: &[bool]) -> bool {
    is_old.get(row.pack as usize).is_some_and(|is_old| !is_old)
}

/// Lists the new packs; their rows stand in their order.
pub(super) fn new_rows(packs: &[NewPack]) -> SegmentParts {
    let mut listing = Listing::default();
    for pack in packs {
        let named = SegmentPack { id: pack.id, length: pack.length, table: pack.table };
        listing.add_pack(named, &pack.rows, &|_, _| None);
    }
    listing.take()
}

/// Returns what a segment says of packs that stay, with the bases that their records depend on,
/// wherever these are.
fn filter(segment: &Segment, is_old: &[bool]) -> Result<SegmentParts> {
    let damaged = || Error::corrupt("an index segment is damaged");
    let mut wanted = Vec::new();
    let mut is_wanted: HashSet<u64> = HashSet::new();
    for at in 0..segment.record_count() {
        let mut next = Some(at).filter(|_| segment.row(at).is_ok_and(|row| stays(&row, is_old)));
        while let Some(at) = next.filter(|at| is_wanted.insert(*at)) {
            wanted.push(at);
            next = segment.row(at)?.base;
        }
    }
    let mut parts = SegmentParts { supersedes: vec![segment.id()], ..SegmentParts::default() };
    let mut packs: HashMap<u32, u32> = HashMap::new();
    let mut places: HashMap<u64, u64> = HashMap::new();
    for at in &wanted {
        let row = segment.row(*at)?;
        let pack = match packs.get(&row.pack) {
            Some(pack) => *pack,
            None => {
                let pack = u32::try_from(parts.packs.len()).map_err(|_| damaged())?;
                parts.packs.push(segment.pack(row.pack)?);
                packs.insert(row.pack, pack);
                pack
            }
        };
        places.insert(*at, parts.rows.len() as u64);
        parts.rows.push(SegmentRow { pack, ..row });
    }
    for row in &mut parts.rows {
        if let Some(base) = row.base {
            row.base = Some(*places.get(&base).ok_or_else(damaged)?);
        }
    }
    for at in 0..segment.sha1_count() {
        let (prefix, row) = segment.sha1(at)?;
        if let Some(place) = places.get(&row) {
            parts.sha1s.push((prefix, *place));
        }
    }
    for at in 0..segment.commit_count() {
        let (prefix, row) = segment.commit(at)?;
        parts.commits.extend(places.get(&row).map(|place| (prefix, *place)));
    }
    Ok(parts)
}
