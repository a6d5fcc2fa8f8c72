//! Merging index segments, so that many pushes do not mean many segments to search.
//!
//! A push writes a segment of tier 0. When a tier has eight segments, they become one of the
//! next tier, until they are large. So each row is copied once for each tier, and a store of n
//! small pushes has about 8 × log₈ n segments, and one for each 65,536 rows. The merged segment
//! says which segments it replaces. They are removed when it is durable; a reader that has them
//! open continues to read them.
//!
//! A compaction beside it may take the same segments out and remove packs that they name. Then the
//! merged segment names packs that are gone. It is not taken back: others may have removed by then
//! what it replaces. What is said of packs that are gone counts for nothing, and the next sweep
//! forgets it.

use super::place::LiveSegment;
use super::rows::Rows;
use super::writing::write_segment;
use crate::index::Index;
use freestone_backend::Backend;
use freestone_core::{Error, Id, Result};
use freestone_format::segment::{PREFIX_BYTES, SegmentParts, SegmentRow};
use std::collections::HashMap;
use std::sync::Arc;

/// Segments of one tier that are merged.
const TIER_SEGMENTS: usize = 8;
/// A segment of this many rows is not merged. A merge holds eight segments in memory, at about a
/// hundred bytes a row, and searching a large segment costs no more than searching a small one.
const SMALL_ROWS: u64 = 1 << 16;

/// Merges tiers that are full, beginning with the lowest, and removes segments that were merged
/// before. The caller has made the index durable since it was listed.
///
/// # Errors
/// A segment is damaged, or the backend failed.
pub fn merge_tiers(backend: &dyn Backend, index: &Index) -> Result<()> {
    remove(backend, index.left_over());
    for tier in 0..u8::MAX {
        let segments = index.segments();
        let mut of_tier: Vec<Arc<LiveSegment>> =
            segments.iter().filter(|segment| is_small(segment, tier)).cloned().collect();
        if of_tier.is_empty() && segments.iter().all(|segment| segment.tier < tier) {
            break;
        }
        of_tier.truncate(TIER_SEGMENTS);
        if of_tier.len() < TIER_SEGMENTS {
            continue;
        }
        let parts = merge(&of_tier)?;
        let merged = write_segment(backend, tier + 1, parts, Rows::Kept)?;
        let names: Vec<String> = of_tier.iter().map(|segment| segment.name.clone()).collect();
        index.replace(&of_tier, merged);
        crate::hints::write_index(backend, &names);
        remove(backend, &names);
        crate::hints::write_index(backend, &[]);
    }
    Ok(())
}

/// Removes segments that another one takes the place of. Where they cannot be removed, such as by a
/// key that may not delete, they stay, and readers go by what the merged segment supersedes.
fn remove(backend: &dyn Backend, names: &[String]) {
    // If one cannot be removed, as a rule none can.
    let _ = names.iter().try_for_each(|name| backend.remove(name));
}

fn is_small(segment: &LiveSegment, tier: u8) -> bool {
    segment.tier == tier && segment.segment.record_count() < SMALL_ROWS
}

/// Returns the parts of one segment in the place of many: every row, pack and name once.
fn merge(segments: &[Arc<LiveSegment>]) -> Result<SegmentParts> {
    let mut parts = SegmentParts::default();
    let mut packs: HashMap<Id, u32> = HashMap::new();
    let mut rows = HashMap::new();
    for live in segments {
        let segment = &live.segment;
        // What is copied gets a check of its own; damage must not come to look sound.
        segment.verify().map_err(|error| error.context(&live.name))?;
        parts.supersedes.push(segment.id());
        let mut places = Vec::new();
        for at in 0..segment.pack_count() {
            let pack = segment.pack(at)?;
            let place = *packs.entry(pack.id).or_insert_with(|| {
                parts.packs.push(pack);
                u32::try_from(parts.packs.len() - 1).unwrap_or(u32::MAX)
            });
            // One segment lists the pack, another may only name it for its records' bases.
            if let Some(known) = parts.packs.get_mut(place as usize).filter(|_| pack.length > 0) {
                *known = pack;
            }
            places.push(place);
        }
        let first = parts.rows.len() as u64;
        let mut moved = Vec::new();
        for at in 0..segment.record_count() {
            let row = segment.row(at)?;
            let pack = places.get(row.pack as usize).copied();
            let pack = pack.ok_or_else(|| Error::corrupt(format!("{} is damaged", live.name)))?;
            let row = SegmentRow { pack, ..row };
            // A base is listed without its id by what depends on it; that row is not the record's.
            let lengths = (row.stored, row.plain);
            let key = (pack, row.offset, lengths, row.kind.number(), row.prefix);
            let next = parts.rows.len() as u64;
            let place = *rows.entry(key).or_insert(next);
            if place == next {
                parts.rows.push(row);
            }
            moved.push(place);
        }
        for row in &mut parts.rows[usize::try_from(first).unwrap_or(0)..] {
            row.base = match row.base.map(|at| moved.get(usize::try_from(at).unwrap_or(usize::MAX)))
            {
                None => None,
                Some(Some(place)) => Some(*place),
                Some(None) => return Err(Error::corrupt(format!("{} is damaged", live.name))),
            };
        }
        let place = |(prefix, row): ([u8; PREFIX_BYTES], u64)| {
            let place = moved.get(usize::try_from(row).unwrap_or(usize::MAX));
            let place = place.ok_or_else(|| Error::corrupt(format!("{} is damaged", live.name)))?;
            Ok((prefix, *place))
        };
        for at in 0..segment.sha1_count() {
            parts.sha1s.push(place(segment.sha1(at)?)?);
        }
        for at in 0..segment.commit_count() {
            parts.commits.push(place(segment.commit(at)?)?);
        }
    }
    Ok(parts)
}
