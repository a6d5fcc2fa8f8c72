//! Index segments: sorted, immutable maps from record to place, from SHA-1 to content, and from
//! commit to revision. Derived from the packs, made to be searched where they lie.
//!
//! ```text
//! header       96 bytes
//!    0  magic "FSINDEX1"
//!    8  version u32 = 1
//!   12  widths, a byte each: id prefix, id fan-out bits, pack, offset, stored, plain, base,
//!       SHA-1 prefix, SHA-1 fan-out bits, row
//!   22  u8: 1 where the rows are left out, else 0; 0
//!   24  counts and lengths, u64 each: packs, records, SHA-1s, commits, superseded segments,
//!       filter bytes (reserved), extension bytes, 0, 0
//! extensions | superseded segment ids 16 … | pack id 32, its length and its table's, u64 each …
//! id fan-out u32 … | id prefix … | pack … | offset … | stored … | plain … | kind u8 … |
//! codec u8 … | base …
//! SHA-1 fan-out u32 … | SHA-1 prefix … | row … | commit prefix … | row …
//! filters
//! check        32 bytes: plain BLAKE3 of all before
//! ```
//! Rows are sorted by id prefix. Numbers are little-endian, columns of the width that the header
//! gives. A fan-out of b bits has 2^b + 1 entries: how many prefixes have smaller leading bits.
//! The base column holds a row of this segment plus one, or 0. Prefixes need not be unique: what
//! a row leads to is proven by its id. The segment's id is the first 16 bytes of the check.
//!
//! A segment of one pack may leave the rows out, with their fan-out: then they are those of the
//! pack's table, and names lead to rows in its order.

mod layout;
mod parts;
#[cfg(test)]
mod tests;

pub use layout::{
    CHECK_BYTES, PREFIX_BYTES, ROWS_LEFT_OUT_MAX, SegmentPack, SegmentRow, check_header, prefix,
};
pub use parts::SegmentParts;

use super::record::{Codec, RecordKind, check_lengths};
use freestone_core::wire::{Bytes, Reader};
use freestone_core::{Error, Id, Result, Sha1, digest};
use layout::{Layout, PACK_BYTES, damaged, fan_slot, to_index};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A segment to be searched.
#[derive(Clone)]
pub struct Segment {
    bytes: Bytes,
    layout: Layout,
    /// Whether its check is right, once somebody had to know.
    intact: Arc<OnceLock<bool>>,
    /// What is known of it where the rows were left out.
    written: Option<Written>,
}

/// A segment without rows, as it was written, and what the table whose rows were added says.
#[derive(Clone)]
struct Written {
    id: [u8; 16],
    length: u64,
    starts: Starts,
}

/// Which record starts where, of one pack; sorted by offset.
pub type Starts = Arc<Vec<(u64, Id)>>;

/// Returns true if the bytes are those that were written: the check at the end is that of all
/// before it.
fn is_intact(bytes: &[u8]) -> bool {
    let parts = bytes.split_last_chunk::<CHECK_BYTES>();
    parts.is_some_and(|(body, check)| digest::plain(body).0 == *check)
}

/// Returns what a segment says that is not known is newer only if the segment is intact.
fn unless_newer(error: Error, is_intact: impl FnOnce() -> bool) -> Error {
    if error.is_newer() && !is_intact() { damaged() } else { error }
}

impl Segment {
    /// Opens a segment: its parts must fit its length. Its check is left to [`Self::verify`],
    /// since it would read all of it.
    ///
    /// # Errors
    /// It is damaged, or of a later version.
    pub fn open(bytes: Bytes) -> Result<Self> {
        let layout = Layout::of((*bytes).as_ref())
            .map_err(|error| unless_newer(error, || is_intact((*bytes).as_ref())))?;
        Ok(Self { bytes, layout, intact: Arc::default(), written: None })
    }

    /// Returns the same segment with the rows of `parts`, in memory, and with what the pack's table
    /// says of ids.
    ///
    /// # Errors
    /// The parts are not such that a segment could hold them.
    pub fn with_rows(&self, parts: SegmentParts, starts: Starts) -> Result<Self> {
        let (bytes, _) = parts.encode();
        let whole = Self::open(Arc::new(bytes))?;
        let written = Written { id: self.id(), length: self.length(), starts };
        Ok(Self { written: Some(written), ..whole })
    }

    /// Returns which record starts where in its one pack, by the table that its rows were taken
    /// from.
    pub fn starts(&self) -> Option<&Starts> {
        self.written.as_ref().map(|written| &written.starts)
    }

    fn is_intact(&self) -> bool {
        *self.intact.get_or_init(|| is_intact(self.bytes()))
    }

    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// Checks that the bytes are those that were written, and that the id is the segment's.
    ///
    /// # Errors
    /// They are not.
    pub fn verify(&self) -> Result<[u8; 16]> {
        if is_intact(self.bytes()) { Ok(self.id()) } else { Err(damaged()) }
    }

    /// Returns the segment's id, as its bytes say.
    pub fn id(&self) -> [u8; 16] {
        if let Some(written) = &self.written {
            return written.id;
        }
        let mut id = [0; 16];
        let at = self.bytes().len() - CHECK_BYTES;
        id.copy_from_slice(&self.bytes()[at..at + 16]);
        id
    }

    /// Returns its length in bytes.
    pub fn length(&self) -> u64 {
        self.written.as_ref().map_or(self.bytes().len() as u64, |written| written.length)
    }

    /// Returns the ids of the segments that this one replaces.
    pub fn supersedes(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes()[self.layout.superseded.clone()].chunks_exact(16)
    }

    /// Returns the number of packs in it.
    pub fn pack_count(&self) -> u32 {
        u32::try_from(self.layout.packs).unwrap_or(u32::MAX)
    }

    /// Returns the pack of index `at`.
    ///
    /// # Errors
    /// There is no such pack.
    pub fn pack(&self, at: u32) -> Result<SegmentPack> {
        if u64::from(at) >= self.layout.packs {
            return Err(damaged());
        }
        let start = self.layout.pack_list.start + at as usize * to_index(PACK_BYTES);
        let mut input = Reader::new(&self.bytes()[start..start + to_index(PACK_BYTES)]);
        Ok(SegmentPack { id: input.id()?, length: input.u64()?, table: input.u64()? })
    }

    /// Returns true if its rows are left out, and have to be made of its pack's table before
    /// anything is looked for in it.
    pub fn rows_left_out(&self) -> bool {
        self.layout.rows_left_out
    }

    /// Returns the number of records in it.
    pub fn record_count(&self) -> u64 {
        self.layout.records
    }

    /// Returns the number of SHA-1s in it.
    pub fn sha1_count(&self) -> u64 {
        self.layout.sha1s
    }

    fn number(&self, column: &Range<usize>, width: u8, at: u64) -> u64 {
        let width = usize::from(width);
        // `at` was checked against the count, from which the column's range was computed.
        let start = column.start + to_index(at) * width;
        let mut value = [0; 8];
        value[..width].copy_from_slice(&self.bytes()[start..start + width]);
        u64::from_le_bytes(value)
    }

    fn byte(&self, column: &Range<usize>, at: u64) -> u8 {
        self.bytes()[column.start + to_index(at)]
    }

    /// Returns the indices of the rows of records of `kind`.
    pub fn rows_of(&self, kind: RecordKind) -> impl Iterator<Item = u64> {
        let kinds = &self.bytes()[self.layout.kind.clone()];
        let is_it = move |(at, number): (u64, &u8)| (*number == kind.number()).then_some(at);
        (0u64..).zip(kinds).filter_map(is_it)
    }

    /// Returns the row of index `at`.
    ///
    /// # Errors
    /// There is no such row, or it says what cannot be, or what only a later version knows.
    pub fn row(&self, at: u64) -> Result<SegmentRow> {
        let layout = &self.layout;
        if at >= layout.records || layout.rows_left_out {
            return Err(damaged());
        }
        let [_, _, pack, offset, stored, plain, base, ..] = layout.widths;
        let newer = |error| unless_newer(error, || self.is_intact());
        let codec = Codec::of(self.byte(&layout.codec, at)).map_err(newer)?;
        let base = self.number(&layout.base, base, at).checked_sub(1);
        if base.is_some() != codec.has_base() {
            return Err(damaged());
        }
        let start = layout.prefixes.start + to_index(at) * PREFIX_BYTES;
        let row = SegmentRow {
            prefix: prefix(&self.bytes()[start..start + PREFIX_BYTES]),
            pack: u32::try_from(self.number(&layout.pack, pack, at)).map_err(|_| damaged())?,
            offset: self.number(&layout.offset, offset, at),
            stored: self.number(&layout.stored, stored, at),
            plain: self.number(&layout.plain, plain, at),
            kind: RecordKind::of(self.byte(&layout.kind, at)).map_err(newer)?,
            codec,
            base,
        };
        check_lengths(codec, row.stored, row.plain)?;
        Ok(row)
    }

    /// Returns the indices of the prefixes that equal the first bytes of `wanted`.
    fn search(
        &self,
        wanted: &[u8],
        fan: &Range<usize>,
        bits: u8,
        prefixes: &Range<usize>,
        count: u64,
    ) -> Range<u64> {
        let wanted = &wanted[..PREFIX_BYTES];
        let slot = fan_slot(wanted, bits);
        let entry = |slot: usize| {
            let start = fan.start + 4 * slot;
            let mut value = [0; 4];
            value.copy_from_slice(&self.bytes()[start..start + 4]);
            u64::from(u32::from_le_bytes(value)).min(count)
        };
        let (low, high) = (entry(slot), entry(slot + 1));
        if low >= high {
            return 0..0;
        }
        let at = |index: u64| {
            let start = prefixes.start + to_index(index) * PREFIX_BYTES;
            &self.bytes()[start..start + PREFIX_BYTES]
        };
        let find = |goes_on: &dyn Fn(&[u8]) -> bool| {
            let (mut low, mut high) = (low, high);
            while low < high {
                let middle = u64::midpoint(low, high);
                if goes_on(at(middle)) { low = middle + 1 } else { high = middle }
            }
            low
        };
        let first = find(&|found| found < wanted);
        if first == high || at(first) != wanted {
            return 0..0;
        }
        first..find(&|found| found <= wanted)
    }

    /// Returns the rows whose records may have the id `id`.
    pub fn find(&self, id: &Id) -> Range<u64> {
        let layout = &self.layout;
        if layout.rows_left_out {
            return 0..0;
        }
        self.search(&id.0, &layout.id_fan, layout.widths[1], &layout.prefixes, layout.records)
    }

    /// Returns the rows of contents that may have the SHA-1 `sha1`.
    pub fn find_sha1(&self, sha1: &Sha1) -> impl Iterator<Item = u64> {
        let layout = &self.layout;
        let (bits, width) = (layout.widths[8], layout.widths[9]);
        self.search(&sha1.0, &layout.sha1_fan, bits, &layout.sha1_prefixes, layout.sha1s)
            .map(move |at| self.number(&layout.sha1_row, width, at))
    }

    /// Returns the SHA-1 prefix of index `at`, and the row of its content.
    pub fn sha1(&self, at: u64) -> ([u8; PREFIX_BYTES], u64) {
        let at = at.min(self.layout.sha1s.saturating_sub(1));
        let start = self.layout.sha1_prefixes.start + to_index(at) * PREFIX_BYTES;
        let row = self.number(&self.layout.sha1_row, self.layout.widths[9], at);
        (prefix(&self.bytes()[start..start + PREFIX_BYTES]), row)
    }

    /// Returns the prefix of the commit of index `at`, and the row of its revision.
    pub fn commit(&self, at: u64) -> ([u8; PREFIX_BYTES], u64) {
        let at = at.min(self.layout.commits.saturating_sub(1));
        let start = self.layout.commit_prefixes.start + to_index(at) * PREFIX_BYTES;
        let row = self.number(&self.layout.commit_row, self.layout.widths[9], at);
        (prefix(&self.bytes()[start..start + PREFIX_BYTES]), row)
    }

    /// Returns the number of commits in it.
    pub fn commit_count(&self) -> u64 {
        self.layout.commits
    }

    /// Returns the rows of revisions whose commits' prefixes are from `low` to `high`.
    pub fn find_commits(
        &self,
        low: [u8; PREFIX_BYTES],
        high: [u8; PREFIX_BYTES],
    ) -> impl Iterator<Item = u64> {
        let (mut first, mut end) = (0, self.layout.commits);
        while first < end {
            let middle = u64::midpoint(first, end);
            if self.commit(middle).0 < low { first = middle + 1 } else { end = middle }
        }
        (first..self.layout.commits)
            .map(|at| self.commit(at))
            .take_while(move |(prefix, _)| *prefix <= high)
            .map(|(_, row)| row)
    }
}

/// Returns the file name of a segment.
pub fn file_name(tier: u8, time: u64, id: &[u8; 16]) -> String {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{tier:02}-{time:016x}-{id}.idx")
}

/// Returns tier and id of the segment whose file is `name`; `None` if it is not a segment's.
pub fn parse_file_name(name: &str) -> Option<(u8, [u8; 16])> {
    let mut parts = name.strip_suffix(".idx")?.splitn(3, '-');
    let (tier, time, id) = (parts.next()?, parts.next()?, parts.next()?);
    if tier.len() != 2 || time.len() != 16 || id.len() != 32 || !id.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&id[2 * index..2 * index + 2], 16).ok()?;
    }
    Some((tier.parse().ok()?, bytes))
}
