//! Listing the records of a pack in a segment, by the pack's table.

use freestone_core::{Error, Id, Result, Sha1};
use freestone_format::pack::{Base, Row};
use freestone_format::record::RecordKind;
use freestone_format::segment::{
    self, PREFIX_BYTES, Segment, SegmentPack, SegmentParts, SegmentRow,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The maximum of rows that are left out: restoring them takes a few milliseconds of every process.
const ROWS_LEFT_OUT_TARGET: usize = 1 << 14;

/// A name of a record, in addition to its id.
#[derive(Clone, Copy, Debug)]
pub enum Name {
    /// The SHA-1 of a content.
    Sha1(Sha1),
    /// The first bytes of the commit that a revision was made of.
    Commit([u8; PREFIX_BYTES]),
}

/// A segment in the making: the records of packs, by the packs' tables.
#[derive(Default)]
pub struct Listing {
    parts: SegmentParts,
    /// The places of packs in `parts`. A table can name many.
    numbers: HashMap<Id, u32>,
}

impl Listing {
    /// Returns what is listed so far.
    pub fn parts(&self) -> &SegmentParts {
        &self.parts
    }

    /// Returns what is listed, and begins with nothing.
    pub fn take(&mut self) -> SegmentParts {
        std::mem::take(self).parts
    }

    fn pack_number(&mut self, named: SegmentPack) -> u32 {
        let packs = &mut self.parts.packs;
        let number = *self.numbers.entry(named.id).or_insert_with(|| {
            packs.push(named);
            u32::try_from(packs.len() - 1).unwrap_or(u32::MAX)
        });
        // A pack that holds a base may be named before its length is known.
        if let Some(pack) = packs.get_mut(number as usize).filter(|_| named.length > 0) {
            *pack = named;
        }
        number
    }

    /// Lists the records of a pack. `name` returns what else a record is found by, given its place
    /// in the table and its id.
    pub fn add_pack(
        &mut self,
        named: SegmentPack,
        rows: &[Row],
        name: &dyn Fn(usize, &Id) -> Option<Name>,
    ) {
        let pack = self.pack_number(named);
        let first = self.parts.rows.len() as u64;
        let mut others = Vec::new();
        let mut numbers = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let base = row.base.as_ref().map(|base| match base {
                Base::Same(at) => first + *at as u64,
                Base::Other { pack, offset, stored, plain, codec } => {
                    // The base's own row, so that reading needs no other segment. Its id is not
                    // known here: the row is followed to, not found.
                    let named = SegmentPack { id: *pack, length: 0, table: 0 };
                    let row = SegmentRow {
                        prefix: [0; PREFIX_BYTES],
                        pack: self.pack_number(named),
                        offset: *offset,
                        stored: *stored,
                        plain: *plain,
                        kind: row.kind,
                        codec: *codec,
                        base: None,
                    };
                    let same = (row.pack, *offset, *stored, *plain, row.kind, *codec);
                    *numbers.entry(same).or_insert_with(|| {
                        others.push(row);
                        first + (rows.len() + others.len() - 1) as u64
                    })
                }
            });
            let is_content = matches!(row.kind, RecordKind::Chunk | RecordKind::ContentRecord);
            let place = first + at as u64;
            match name(at, &row.id) {
                Some(Name::Sha1(sha1)) if is_content => {
                    self.parts.sha1s.push((segment::prefix(&sha1.0), place));
                }
                Some(Name::Commit(prefix)) if row.kind == RecordKind::Revision => {
                    self.parts.commits.push((prefix, place));
                }
                _ => {}
            }
            self.parts.rows.push(SegmentRow {
                prefix: segment::prefix(&row.id.0),
                pack,
                offset: row.offset,
                stored: row.stored,
                plain: row.plain,
                kind: row.kind,
                codec: row.codec,
                base,
            });
        }
        self.parts.rows.append(&mut others);
    }
}

/// Whether a segment has rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// It has rows, which say where records are.
    Kept,
    /// If it lists one pack, it leaves them out, and readers take them from the table of the pack.
    /// That takes less space, and another read whenever a process begins.
    LeftOut,
}

/// Returns true if the rows of `parts` can be left out: they are those of the table of one pack,
/// and no record of it has a base in another pack.
pub(crate) fn rows_follow_from_table(parts: &SegmentParts) -> bool {
    let [pack] = parts.packs[..] else { return false };
    pack.length > 0
        && (1..=ROWS_LEFT_OUT_TARGET).contains(&parts.rows.len())
        && parts.rows.is_sorted_by_key(|row| (row.offset, row.stored))
}

/// Returns a segment whose rows were left out, with the rows that the table `rows` of its pack
/// gives.
///
/// # Errors
/// The segment is damaged, or does not fit the pack.
pub(crate) fn with_rows(segment: &Segment, rows: &[Row]) -> Result<Segment> {
    segment.verify()?;
    let damaged = || {
        Error::corrupt("an index segment does not fit the pack that it lists")
            .hint("`freestone store reindex` makes the index again")
    };
    let count = segment.record_count();
    let mut listing = Listing::default();
    listing.add_pack(segment.pack(0)?, rows, &|_, _| None);
    let mut parts = listing.take();
    parts.sha1s = (0..segment.sha1_count()).map(|at| segment.sha1(at)).collect::<Result<_>>()?;
    parts.commits =
        (0..segment.commit_count()).map(|at| segment.commit(at)).collect::<Result<_>>()?;
    let mut names = parts.sha1s.iter().chain(&parts.commits);
    let names_fit = names.all(|(_, row)| *row < count);
    if parts.packs.len() != 1 || parts.rows.len() as u64 != count || !names_fit {
        return Err(damaged());
    }
    parts.supersedes = segment.supersedes().collect::<Result<_>>()?;
    let starts = rows.iter().map(|row| (row.offset, row.id)).collect();
    segment.with_rows(parts, Arc::new(starts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::limits::PACK_RECORDS_MAX;
    use freestone_core::{ErrorKind, digest};
    use freestone_format::record::Codec;

    fn rows(count: u64) -> Vec<Row> {
        let row = |n: u64| Row {
            kind: if n % 5 == 4 { RecordKind::Revision } else { RecordKind::Chunk },
            codec: if n % 3 == 2 { Codec::ZstdBase } else { Codec::Raw },
            id: digest::plain(&n.to_le_bytes()),
            checksum: [0; 4],
            offset: 16 + 100 * n,
            stored: 100,
            plain: if n % 3 == 2 { 200 } else { 100 },
            base: (n % 3 == 2).then(|| Base::Same(usize::try_from(n - 1).unwrap())),
        };
        (0..count).map(row).collect()
    }

    fn listed(rows: &[Row]) -> SegmentParts {
        let mut listing = Listing::default();
        let pack = SegmentPack { id: Id([3; 32]), length: 1 << 30, table: 9 };
        let name = |at: usize, id: &Id| match at % 5 {
            4 => Some(Name::Commit(segment::prefix(&id.0))),
            _ => Some(Name::Sha1(digest::sha1(&id.0))),
        };
        listing.add_pack(pack, rows, &name);
        listing.take()
    }

    /// A row that has its base at `offset` of the pack that `pack` makes.
    fn based(n: u64, pack: u64, offset: u64) -> Row {
        let (pack, codec) = (digest::plain(&pack.to_le_bytes()), Codec::Raw);
        let base = Base::Other { pack, offset, stored: 5, plain: 5, codec };
        let codec = Codec::ZstdBase;
        Row { base: Some(base), codec, offset: 16 + 100 * n, ..rows(1).remove(0) }
    }

    #[test]
    fn a_table_that_names_many_packs_and_bases_is_listed_in_proportion() {
        let begun = std::time::Instant::now();
        let count = PACK_RECORDS_MAX;
        let rows: Vec<Row> = (0..count).map(|n| based(n, n % (1 << 16), 16 + n / 2)).collect();
        let mut listing = Listing::default();
        let pack = |n: u8| SegmentPack { id: Id([n; 32]), length: 1 << 30, table: 9 };
        listing.add_pack(pack(3), &rows, &|_, _| None);
        // By comparing each with all, it takes minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(listing.parts().packs.len(), 1 + (1 << 16));
        assert_eq!(listing.parts().rows.len() as u64, 2 * count);
        // What was named is known, and gets its length.
        let first = listing.parts().packs[1].id;
        listing.add_pack(SegmentPack { id: first, ..pack(0) }, &rows[..1], &|_, _| None);
        assert_eq!(listing.parts().packs.len(), 1 + (1 << 16));
        assert_eq!(listing.parts().packs[1].length, 1 << 30);
        let at = usize::try_from(count).unwrap();
        let base = listing.parts().rows[0].base.unwrap();
        let base = listing.parts().rows[usize::try_from(base).unwrap()];
        assert_eq!((base.pack, base.offset), (1, 16));
        assert_eq!(listing.parts().rows[at - 1].base, Some(2 * count - 1));
        assert_eq!(listing.take().rows.len() as u64, 2 * count + 2);
        assert!(listing.parts().packs.is_empty());
    }

    #[test]
    fn rows_that_were_left_out_come_back_the_same() {
        let rows = rows(200);
        let parts = listed(&rows);
        assert!(rows_follow_from_table(&parts));
        let (whole, _) = parts.clone().encode();
        let (thin, id) = parts.encode_without_rows();
        assert!(thin.len() < whole.len() / 2);
        let open = |bytes: &[u8]| Segment::open(Arc::new(bytes.to_vec())).unwrap();
        let (whole, said) = (open(&whole), open(&thin));
        assert!(said.rows_left_out() && said.find(&rows[0].id).unwrap().is_empty());
        assert!(said.row(0).is_err());
        let made = with_rows(&said, &rows).unwrap();
        assert_eq!((made.id(), made.length()), (id, thin.len() as u64));
        for at in 0..200 {
            assert_eq!(made.row(at).unwrap(), whole.row(at).unwrap());
        }
        for row in &rows {
            assert_eq!(made.find(&row.id).unwrap(), whole.find(&row.id).unwrap());
            let all = |rows: &mut dyn Iterator<Item = Result<u64>>| {
                rows.collect::<Result<Vec<u64>>>().unwrap()
            };
            let sha1 = digest::sha1(&row.id.0);
            let sha1s = |segment: &Segment| all(&mut segment.find_sha1(&sha1).unwrap());
            assert_eq!(sha1s(&made), sha1s(&whole));
            let commit = segment::prefix(&row.id.0);
            let commits =
                |segment: &Segment| all(&mut segment.find_commits(commit, commit).unwrap());
            assert_eq!(commits(&made), commits(&whole));
        }
        // Another table does not fit, nor does a damaged segment.
        for other in [&rows[..199], &[&rows[..], &rows[..1]].concat()[..]] {
            assert_eq!(with_rows(&said, other).err().unwrap().kind(), ErrorKind::Corrupt);
        }
        let mut damaged = thin.clone();
        damaged[150] ^= 1;
        let damaged = with_rows(&open(&damaged), &rows);
        assert_eq!(damaged.err().unwrap().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn rows_are_left_out_of_one_whole_pack_only() {
        assert!(!rows_follow_from_table(&SegmentParts::default()));
        assert!(!rows_follow_from_table(&listed(&rows(ROWS_LEFT_OUT_TARGET as u64 + 1))));
        let mut leaning = rows(10);
        let (pack, codec) = (Id([4; 32]), Codec::Raw);
        leaning[2].base = Some(Base::Other { pack, offset: 16, stored: 5, plain: 5, codec });
        assert!(!rows_follow_from_table(&listed(&leaning)));
    }
}
