//! The place of a record, as a segment says it.

use crate::table::TABLE_BYTES_MAX;
use freestone_core::{Error, Id, Result};
use freestone_format::pack::TRAILER_BYTES;
use freestone_format::segment::{Segment, SegmentPack, SegmentRow, Starts};
use std::ops::Range;
use std::sync::Arc;

/// A segment of the live index.
#[derive(Clone)]
pub struct LiveSegment {
    /// The name of its object.
    pub name: String,
    /// Its tier: how often its rows were merged.
    pub tier: u8,
    /// The segment.
    pub segment: Segment,
}

/// A place where a record may be.
#[derive(Clone)]
pub struct Place {
    /// The pack.
    pub pack: Id,
    /// The length of the pack's file, as the segment says it.
    pub pack_length: u64,
    /// The length of the pack's table, as the segment says it.
    pub table_length: u64,
    /// The segment's row.
    pub row: SegmentRow,
    /// The number of that row.
    pub at: u64,
    segment: Arc<LiveSegment>,
}

impl Place {
    /// Returns what row `at` of `segment` says.
    ///
    /// # Errors
    /// The segment has no such row, or is damaged.
    pub fn of(segment: &Arc<LiveSegment>, at: u64) -> Result<Self> {
        let row = segment.segment.row(at)?;
        let pack = segment.segment.pack(row.pack)?;
        let (pack_length, table_length) = (pack.length, pack.table);
        Ok(Self { pack: pack.id, pack_length, table_length, row, at, segment: segment.clone() })
    }

    /// Returns the name of the segment's object.
    pub fn segment_name(&self) -> &str {
        &self.segment.name
    }

    /// Returns the pack, as the segment lists it.
    pub(crate) fn segment_pack(&self) -> SegmentPack {
        SegmentPack { id: self.pack, length: self.pack_length, table: self.table_length }
    }

    /// Returns which record starts where in the pack, if the segment's rows were made of the pack's
    /// table.
    pub(crate) fn starts(&self) -> Option<&Starts> {
        self.segment.segment.starts()
    }

    /// Returns where the table of the pack is, if the segment says it.
    pub(crate) fn table(&self) -> Option<Range<u64>> {
        let is_one = (1..=TABLE_BYTES_MAX).contains(&self.table_length);
        let end = self.pack_length.checked_sub(TRAILER_BYTES).filter(|_| is_one)?;
        Some(end.checked_sub(self.table_length)?..end)
    }

    /// Returns where the record's base is: a record that has none itself, or one at a lower offset
    /// of the same pack, so that bases cannot form a cycle. `None` if it has no base.
    ///
    /// # Errors
    /// The segment is damaged, or names a record that cannot be the base.
    pub fn base(&self) -> Result<Option<Self>> {
        let Some(at) = self.row.base else { return Ok(None) };
        let base = Self::of(&self.segment, at)?;
        let lower = base.pack == self.pack && base.row.offset < self.row.offset;
        if lower || base.row.base.is_none() {
            Ok(Some(base))
        } else {
            Err(Error::corrupt(format!("pack {}: a record whose base cannot be one", self.pack)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_format::record::{Codec, RecordKind};
    use freestone_format::segment::{PREFIX_BYTES, SegmentParts};

    /// Nothing proves what a segment says before the table is read.
    #[test]
    fn a_table_that_no_pack_can_have_is_none() {
        for (length, table, is_one) in [
            (1 << 20, 4096, true),
            (1 << 20, 0, false),
            (1 << 20, 2 << 20, false),
            (u64::MAX / 4, u64::MAX / 8, false),
        ] {
            let pack = SegmentPack { id: Id([1; 32]), length, table };
            let row = SegmentRow {
                prefix: [2; PREFIX_BYTES],
                pack: 0,
                offset: 64,
                stored: 10,
                plain: 10,
                kind: RecordKind::Chunk,
                codec: Codec::Raw,
                base: None,
            };
            let parts =
                SegmentParts { packs: vec![pack], rows: vec![row], ..SegmentParts::default() };
            let segment = Segment::open(Arc::new(parts.encode().0)).unwrap();
            let live = LiveSegment { name: "index/x".into(), tier: 0, segment };
            let place = Place::of(&Arc::new(live), 0).unwrap();
            assert_eq!(place.table().is_some(), is_one, "{length} {table}");
        }
    }
}
