//! Making a segment.

use super::layout::{
    CHECK_BYTES, FAN_BITS_MAX, HEADER_BYTES, MAGIC, PREFIX_BYTES, SegmentPack, SegmentRow, VERSION,
    fan_slot, to_index,
};
use freestone_core::digest;
use freestone_core::wire::Writer;

/// What a segment is made of; rows may be in any order.
#[derive(Clone, Default)]
pub struct SegmentParts {
    /// Random bytes, so that no two segments ever have the same id.
    pub random: [u8; 16],
    /// Ids of the segments that this one takes the place of.
    pub supersedes: Vec<[u8; 16]>,
    /// The packs.
    pub packs: Vec<SegmentPack>,
    /// The records; a base is an index into this list.
    pub rows: Vec<SegmentRow>,
    /// SHA-1 prefixes, each with the index of its content in `rows`.
    pub sha1s: Vec<([u8; PREFIX_BYTES], u64)>,
    /// Prefixes of commits, each with the index of its revision in `rows`.
    pub commits: Vec<([u8; PREFIX_BYTES], u64)>,
}

/// Returns the number of bytes that a number takes.
fn width_of(max: u64) -> usize {
    (8 - max.leading_zeros() as usize / 8).min(8)
}

fn fan_bits(count: usize) -> u8 {
    // About 16 prefixes to search after each entry.
    let bits = usize::BITS - (count / 16).leading_zeros();
    u8::try_from(bits).unwrap_or(FAN_BITS_MAX).min(FAN_BITS_MAX)
}

fn write_fan<'a>(out: &mut Writer, bits: u8, prefixes: impl Iterator<Item = &'a [u8]>) {
    let mut counts = vec![0u32; (1 << bits) + 1];
    for prefix in prefixes {
        counts[fan_slot(prefix, bits) + 1] += 1;
    }
    let mut sum = 0;
    for count in counts {
        sum += count;
        out.u32(sum);
    }
}

fn write_column(out: &mut Writer, width: usize, values: impl Iterator<Item = u64>) {
    values.for_each(|value| out.raw(&value.to_le_bytes()[..width]));
}

/// Writes names that lead to rows: prefixes, then rows. All are sorted.
fn write_names(out: &mut Writer, width: usize, names: &[([u8; PREFIX_BYTES], u64)]) {
    names.iter().for_each(|(prefix, _)| out.raw(prefix));
    write_column(out, width, names.iter().map(|(_, row)| *row));
}

impl SegmentParts {
    /// Returns the bytes of the segment, and its id.
    pub fn encode(mut self) -> (Vec<u8>, [u8; 16]) {
        let order = self.order();
        let mut place = vec![0u64; order.len()];
        for (new, (_, old)) in order.iter().enumerate() {
            place[*old as usize] = new as u64;
        }
        // What names a row follows it.
        let moved = |at: u64| place[to_index(at)];
        let names = self.sha1s.iter_mut().chain(&mut self.commits);
        names.for_each(|(_, row)| *row = moved(*row));
        self.sort_names();
        let base = |row: &SegmentRow| row.base.map_or(0, |base| moved(base) + 1);
        let widths = self.widths(self.rows.iter().map(base).max());
        let mut out = self.head(widths, false);
        self.write_rows(&mut out, widths, &order, base);
        self.finish(out)
    }

    /// Returns the bytes of a segment without rows, and its id: they are those of its one pack's
    /// table, in that order, to which names lead.
    pub fn encode_without_rows(mut self) -> (Vec<u8>, [u8; 16]) {
        self.sort_names();
        let mut widths = self.widths(None);
        widths[1..7].fill(0);
        let out = self.head(widths, true);
        self.finish(out)
    }

    /// Returns in which order the rows are written: by their prefixes, as numbers, which are
    /// next to each other with the row's index; few are equal.
    fn order(&self) -> Vec<(u64, u32)> {
        let number = |row: &SegmentRow| {
            row.prefix.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let count = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let mut order: Vec<(u64, u32)> = self.rows.iter().map(number).zip(0..count).collect();
        let key = |at: u32| {
            let row = &self.rows[at as usize];
            (row.pack, row.offset, row.kind.number())
        };
        order.sort_unstable_by(|(a, at_a), (b, at_b)| {
            a.cmp(b).then_with(|| key(*at_a).cmp(&key(*at_b)))
        });
        order
    }

    fn sort_names(&mut self) {
        for names in [&mut self.sha1s, &mut self.commits] {
            names.sort_unstable();
            names.dedup();
        }
    }

    /// Returns the columns' widths, where the base column goes up to `base`.
    fn widths(&self, base: Option<u64>) -> [usize; 10] {
        let max = |value: fn(&SegmentRow) -> u64| {
            width_of(self.rows.iter().map(value).max().unwrap_or(0))
        };
        [
            PREFIX_BYTES,
            fan_bits(self.rows.len()).into(),
            max(|row| u64::from(row.pack)),
            max(|row| row.offset),
            max(|row| row.stored),
            max(|row| row.plain),
            width_of(base.unwrap_or(0)),
            PREFIX_BYTES,
            fan_bits(self.sha1s.len()).into(),
            width_of(self.rows.len() as u64),
        ]
    }

    /// Returns all that comes before the rows.
    fn head(&self, widths: [usize; 10], rows_left_out: bool) -> Writer {
        let mut out = Writer::default();
        out.raw(&MAGIC);
        out.u32(VERSION);
        widths.iter().for_each(|width| out.u8(u8::try_from(*width).unwrap_or(u8::MAX)));
        out.raw(&[u8::from(rows_left_out), 0]);
        let counts = [&self.packs.len(), &self.rows.len(), &self.sha1s.len(), &self.commits.len()];
        counts.iter().for_each(|count| out.u64(**count as u64));
        out.u64(self.supersedes.len() as u64);
        // Filters and extensions.
        out.raw(&[0; 16]);
        out.raw(&self.random);
        debug_assert_eq!(out.bytes().len(), HEADER_BYTES);
        self.supersedes.iter().for_each(|id| out.raw(id));
        for pack in &self.packs {
            out.id(&pack.id);
            out.u64(pack.length);
            out.u64(pack.table);
        }
        out
    }

    /// Writes the rows in this order; `base` says what is in the base column.
    fn write_rows(
        &self,
        out: &mut Writer,
        widths: [usize; 10],
        order: &[(u64, u32)],
        base: impl Fn(&SegmentRow) -> u64,
    ) {
        let rows = || order.iter().map(|(_, at)| &self.rows[*at as usize]);
        let [_, id_fan, pack, offset, stored, plain, base_width, ..] = widths;
        let id_fan = u8::try_from(id_fan).unwrap_or(FAN_BITS_MAX);
        write_fan(out, id_fan, rows().map(|row| &row.prefix[..]));
        rows().for_each(|row| out.raw(&row.prefix));
        write_column(out, pack, rows().map(|row| row.pack.into()));
        write_column(out, offset, rows().map(|row| row.offset));
        write_column(out, stored, rows().map(|row| row.stored));
        write_column(out, plain, rows().map(|row| row.plain));
        rows().for_each(|row| out.u8(row.kind.number()));
        rows().for_each(|row| out.u8(row.codec.number()));
        write_column(out, base_width, rows().map(base));
    }

    /// Writes all that comes after the rows.
    fn finish(&self, mut out: Writer) -> (Vec<u8>, [u8; 16]) {
        let [.., sha1_fan, row] = self.widths(None);
        let sha1_fan = u8::try_from(sha1_fan).unwrap_or(FAN_BITS_MAX);
        write_fan(&mut out, sha1_fan, self.sha1s.iter().map(|(prefix, _)| &prefix[..]));
        write_names(&mut out, row, &self.sha1s);
        write_names(&mut out, row, &self.commits);
        let check = digest::plain(out.bytes());
        out.id(&check);
        let mut id = [0; 16];
        id.copy_from_slice(&check.0[..CHECK_BYTES / 2]);
        (out.into_bytes(), id)
    }
}
