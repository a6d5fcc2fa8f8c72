//! Segments that take the place of others: without packs that are gone, or with new packs in the
//! place of old ones.

use freestone_backend::Backend;
use freestone_core::{Error, Id, Result};
use freestone_format::segment::{Segment, SegmentParts, SegmentRow};
use freestone_store::index::rows::Rows;
use freestone_store::index::write_segment;
use freestone_store::read::records::BASE_DEPTH_MAX;
use freestone_store::{Index, LiveSegment, hints};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The tier of a segment that a compaction wrote: it is merged only with many of its kind.
const TIER: u8 = 4;

/// Returns the number of the row of the new segment that takes the place of a row, and that of its
/// pack.
pub(crate) type Find<'a> = &'a dyn Fn(&Id, &SegmentRow) -> Option<u64>;

/// What is left out of segments that are written again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeftOut {
    /// What the packs have.
    Itself,
    /// That, and the records elsewhere that have bases in them.
    WithDependents,
}

/// The segments that take the place of those that list old packs.
pub(crate) struct Replacement {
    /// The old packs.
    old: HashSet<Id>,
    left_out: LeftOut,
    /// Lists the new packs; takes the place of segments that only list old ones.
    new: SegmentParts,
    /// Segments that list other packs, too: they are written again without what they say of old
    /// ones.
    mixed: Vec<Arc<LiveSegment>>,
    /// The names of those that are replaced.
    replaced: Vec<String>,
}

impl Replacement {
    /// Returns the segments that take the place of those that name the packs `old`, which are gone.
    ///
    /// # Errors
    /// A segment is damaged.
    pub(crate) fn without(index: &Index, old: HashSet<Id>) -> Result<Self> {
        let left_out = LeftOut::WithDependents;
        let new = SegmentParts::default();
        Self { old, left_out, new, mixed: Vec::new(), replaced: Vec::new() }
            .replacing(index, &|_, _| None)
    }

    /// Returns the segments that take the place of those that list the packs `old`: `new` lists the
    /// packs that have their records.
    ///
    /// # Errors
    /// A segment is damaged.
    pub(crate) fn by(
        index: &Index,
        old: HashSet<Id>,
        new: SegmentParts,
        find: Find<'_>,
    ) -> Result<Self> {
        let left_out = LeftOut::Itself;
        Self { old, left_out, new, mixed: Vec::new(), replaced: Vec::new() }.replacing(index, find)
    }

    fn replacing(mut self, index: &Index, find: Find<'_>) -> Result<Self> {
        for live in index.segments().iter() {
            self.replace(live, find).map_err(|error| error.context(&live.name))?;
        }
        Ok(self)
    }

    fn replace(&mut self, live: &Arc<LiveSegment>, find: Find<'_>) -> Result<()> {
        let segment = &live.segment;
        let is_old = old_packs(segment, &self.old)?;
        if !is_old.contains(&true) {
            return Ok(());
        }
        // What is copied gets a check of its own; damage must not come to look sound.
        segment.verify()?;
        self.replaced.push(live.name.clone());
        let place = |row: u64| -> Result<Option<u64>> {
            let row = segment.row(row)?;
            Ok(find(&segment.pack(row.pack)?.id, &row))
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
            if stays(segment, at, &is_old, self.left_out)? {
                self.mixed.push(live.clone());
                return Ok(());
            }
        }
        self.new.supersedes.push(segment.id());
        Ok(())
    }

    /// Writes the segments; then removes those that they take the place of.
    ///
    /// # Errors
    /// The backend failed.
    pub(crate) fn write(self, backend: &dyn Backend) -> Result<()> {
        if !self.new.rows.is_empty() || !self.new.supersedes.is_empty() {
            write_segment(backend, TIER, self.new, Rows::LeftOut)?;
        }
        // Without the dependents, the rows are not all of the table.
        let rows = match self.left_out {
            LeftOut::Itself => Rows::LeftOut,
            LeftOut::WithDependents => Rows::Kept,
        };
        for live in self.mixed {
            let kept = old_packs(&live.segment, &self.old)
                .and_then(|old| filter(&live.segment, &old, self.left_out));
            let kept = kept.map_err(|error| error.context(&live.name))?;
            write_segment(backend, TIER, kept, rows)?;
        }
        hints::write_index(backend, &self.replaced);
        self.replaced.iter().try_for_each(|name| backend.remove(name))?;
        hints::write_index(backend, &[]);
        Ok(())
    }
}

/// Says of each pack of a segment whether it is an old one.
fn old_packs(segment: &Segment, old: &HashSet<Id>) -> Result<Vec<bool>> {
    (0..segment.pack_count()).map(|at| Ok(old.contains(&segment.pack(at)?.id))).collect()
}

/// Returns true if the record of row `at` of a segment is in a pack that stays, and, if dependents
/// are left out, all its bases, too.
fn stays(segment: &Segment, at: u64, is_old: &[bool], left_out: LeftOut) -> Result<bool> {
    let mut next = Some(at);
    for _ in 0..=BASE_DEPTH_MAX {
        let Some(at) = next else { return Ok(true) };
        let row = segment.row(at)?;
        if is_old.get(row.pack as usize).is_none_or(|is_old| *is_old) {
            return Ok(false);
        }
        next = row.base.filter(|_| left_out == LeftOut::WithDependents);
    }
    Ok(false)
}

/// Returns what a segment says of packs that stay, with the bases that their records depend on,
/// wherever these are, unless such records are left out.
fn filter(segment: &Segment, is_old: &[bool], left_out: LeftOut) -> Result<SegmentParts> {
    let damaged = || Error::corrupt("an index segment is damaged");
    let mut wanted = Vec::new();
    let mut is_wanted: HashSet<u64> = HashSet::new();
    for at in 0..segment.record_count() {
        let mut next = Some(at).filter(|_| stays(segment, at, is_old, left_out).unwrap_or(false));
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
