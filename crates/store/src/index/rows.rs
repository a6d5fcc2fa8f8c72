//! Listing the records of a pack in a segment, by the pack's table.

use freestone_core::{Error, Id, Result, Sha1};
use freestone_format::pack::{Base, Row};
use freestone_format::record::RecordKind;
use freestone_format::segment::{
    self, PREFIX_BYTES, Segment, SegmentPack, SegmentParts, SegmentRow,
};
use std::sync::Arc;

/// The maximum of rows that are left out: restoring them takes a few milliseconds of every process.
const ROWS_LEFT_OUT_TARGET: usize = 1 << 14;

fn pack_number(parts: &mut SegmentParts, named: SegmentPack) -> u32 {
    let at = parts.packs.iter().position(|pack| pack.id == named.id).unwrap_or_else(|| {
        parts.packs.push(named);
        parts.packs.len() - 1
    });
    // A pack that holds a base may be named before its length is known.
    if let Some(pack) = parts.packs.get_mut(at).filter(|_| named.length > 0) {
        *pack = named;
    }
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A name of a record, in addition to its id.
#[derive(Clone, Copy, Debug)]
pub enum Name {
    /// The SHA-1 of a content.
    Sha1(Sha1),
    /// The first bytes of the commit that a revision was made of.
    Commit([u8; PREFIX_BYTES]),
}

/// Lists the records of a pack. `name` returns what else a record is found by, given its place in
/// the table and its id.
pub fn add_pack(
    parts: &mut SegmentParts,
    named: SegmentPack,
    rows: &[Row],
    name: &dyn Fn(usize, &Id) -> Option<Name>,
) {
    let pack = pack_number(parts, named);
    let first = parts.rows.len() as u64;
    let mut others: Vec<SegmentRow> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let base = row.base.as_ref().map(|base| match base {
            Base::Same(at) => first + *at as u64,
            Base::Other { pack, offset, stored, plain, codec } => {
                // The base's own row, so that reading needs no other segment. Its id is not known
                // here: the row is followed to, not found.
                let row = SegmentRow {
                    prefix: [0; PREFIX_BYTES],
                    pack: pack_number(parts, SegmentPack { id: *pack, length: 0, table: 0 }),
                    offset: *offset,
                    stored: *stored,
                    plain: *plain,
                    kind: row.kind,
                    codec: *codec,
                    base: None,
                };
                let at = others.iter().position(|other| *other == row).unwrap_or_else(|| {
                    others.push(row);
                    others.len() - 1
                });
                first + (rows.len() + at) as u64
            }
        });
        let is_content = matches!(row.kind, RecordKind::Chunk | RecordKind::ContentRecord);
        let place = first + at as u64;
        match name(at, &row.id) {
            Some(Name::Sha1(sha1)) if is_content => {
                parts.sha1s.push((segment::prefix(&sha1.0), place));
            }
            Some(Name::Commit(prefix)) if row.kind == RecordKind::Revision => {
                parts.commits.push((prefix, place));
            }
            _ => {}
        }
        parts.rows.push(SegmentRow {
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
    parts.rows.append(&mut others);
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
    let mut parts = SegmentParts::default();
    add_pack(&mut parts, segment.pack(0)?, rows, &|_, _| None);
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
        let mut parts = SegmentParts::default();
        let pack = SegmentPack { id: Id([3; 32]), length: 1 << 30, table: 9 };
        let name = |at: usize, id: &Id| match at % 5 {
            4 => Some(Name::Commit(segment::prefix(&id.0))),
            _ => Some(Name::Sha1(digest::sha1(&id.0))),
        };
        add_pack(&mut parts, pack, rows, &name);
        parts
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
