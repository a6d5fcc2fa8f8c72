//! Listing the records of a pack in a segment, by the pack's table.

use crate::format::pack::{Base, Row};
use crate::format::record::RecordKind;
use crate::format::segment::{self, SegmentPack, SegmentParts, SegmentRow};
use freestone_core::{Id, Sha1};

/// A pack to be listed.
pub(crate) struct Named {
    pub(crate) id: Id,
    /// The length of its file.
    pub(crate) length: u64,
}

fn pack_number(parts: &mut SegmentParts, id: &Id, length: u64) -> u32 {
    let at = parts.packs.iter().position(|pack| pack.id == *id).unwrap_or_else(|| {
        parts.packs.push(SegmentPack { id: *id, length });
        parts.packs.len() - 1
    });
    // A pack that something leans on may be named before its length is known.
    if let Some(pack) = parts.packs.get_mut(at).filter(|_| length > 0) {
        pack.length = length;
    }
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Lists the records of a pack; `sha1` gives the SHA-1 of a content by its place in the table and
/// its id.
pub(crate) fn add_pack(
    parts: &mut SegmentParts,
    named: &Named,
    rows: &[Row],
    sha1: &dyn Fn(usize, &Id) -> Option<Sha1>,
) {
    let pack = pack_number(parts, &named.id, named.length);
    let first = parts.rows.len() as u64;
    let mut others: Vec<SegmentRow> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let base = row.base.as_ref().map(|base| match base {
            Base::Same(at) => first + *at as u64,
            Base::Other { pack, offset, stored, plain, codec } => {
                // The base's own row, so that reading needs no other segment. Its id is not known
                // here: the row is followed to, not found.
                let row = SegmentRow {
                    prefix: [0; segment::PREFIX_BYTES],
                    pack: pack_number(parts, pack, 0),
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
        let names = matches!(row.kind, RecordKind::Chunk | RecordKind::ContentRecord);
        if let Some(sha1) = names.then(|| sha1(at, &row.id)).flatten() {
            parts.sha1s.push((segment::prefix(&sha1.0), first + at as u64));
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
