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
use freestone_core::wire::{ByteSource, Bytes, Reader, to_usize};
use freestone_core::{Error, Id, Result, Sha1, digest};
use layout::{Layout, PACK_BYTES, damaged, fan_slot, to_index};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Bytes that are read at once where all of a segment is read.
const PIECE_BYTES: usize = 64 << 10;
/// Prefixes that are read together, at the end of a search.
const FEW_PREFIXES: u64 = 64;

/// A segment to be searched.
#[derive(Clone)]
pub struct Segment {
    bytes: Bytes,
    layout: Layout,
    id: [u8; 16],
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
///
/// # Errors
/// Reading failed.
fn is_intact(bytes: &dyn ByteSource) -> Result<bool> {
    let Some(body) = bytes.length().checked_sub(CHECK_BYTES as u64) else { return Ok(false) };
    let mut hasher = digest::PlainHasher::default();
    let mut piece = vec![0; to_usize(body).min(PIECE_BYTES)];
    let mut at = 0;
    while at < body {
        piece.truncate(to_usize(body - at));
        bytes.read_at(at, &mut piece)?;
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    let mut check = [0; CHECK_BYTES];
    bytes.read_at(body, &mut check)?;
    Ok(hasher.finish().0 == check)
}

/// Keeps the error of a later version only if the segment is intact: damage can look the same.
fn unless_newer(error: Error, is_intact: impl FnOnce() -> Result<bool>) -> Error {
    if !error.is_newer() {
        return error;
    }
    match is_intact() {
        Ok(true) => error,
        Ok(false) => damaged(),
        Err(failure) => failure,
    }
}

impl Segment {
    /// Opens a segment: its parts must fit its length. Its check is left to [`Self::verify`],
    /// since it would read all of it.
    ///
    /// # Errors
    /// It is damaged, or of a later version.
    pub fn open(bytes: Bytes) -> Result<Self> {
        let layout =
            Layout::of(&*bytes).map_err(|error| unless_newer(error, || is_intact(&*bytes)))?;
        let mut id = [0; 16];
        bytes.read_at(bytes.length() - CHECK_BYTES as u64, &mut id)?;
        Ok(Self { bytes, layout, id, intact: Arc::default(), written: None })
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

    fn is_intact(&self) -> Result<bool> {
        if let Some(is_intact) = self.intact.get() {
            return Ok(*is_intact);
        }
        let is_intact = is_intact(&*self.bytes)?;
        Ok(*self.intact.get_or_init(|| is_intact))
    }

    /// Checks that the bytes are those that were written, and that the id is the segment's.
    ///
    /// # Errors
    /// They are not.
    pub fn verify(&self) -> Result<[u8; 16]> {
        if is_intact(&*self.bytes)? { Ok(self.id()) } else { Err(damaged()) }
    }

    /// Returns the segment's id, as its bytes say.
    pub fn id(&self) -> [u8; 16] {
        self.written.as_ref().map_or(self.id, |written| written.id)
    }

    /// Returns its length in bytes.
    pub fn length(&self) -> u64 {
        self.written.as_ref().map_or_else(|| self.bytes.length(), |written| written.length)
    }

    /// Returns `N` bytes from `at` on.
    fn read<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.bytes.read_at(at as u64, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns the ids of the segments that this one replaces. An item is an error where the
    /// segment cannot be read.
    pub fn supersedes(&self) -> impl Iterator<Item = Result<[u8; 16]>> {
        self.layout.superseded.clone().step_by(16).map(|at| self.read(at))
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
        let bytes: [u8; to_usize(PACK_BYTES)] = self.read(start)?;
        let mut input = Reader::new(&bytes);
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

    fn number(&self, column: &Range<usize>, width: u8, at: u64) -> Result<u64> {
        let width = usize::from(width);
        // `at` was checked against the count, from which the column's range was computed.
        let start = column.start + to_index(at) * width;
        let mut value = [0; 8];
        self.bytes.read_at(start as u64, &mut value[..width])?;
        Ok(u64::from_le_bytes(value))
    }

    fn byte(&self, column: &Range<usize>, at: u64) -> Result<u8> {
        Ok(self.read::<1>(column.start + to_index(at))?[0])
    }

    /// Returns the indices of the rows of records of `kind`. An item is an error where the segment cannot
    /// be read.
    pub fn rows_of(&self, kind: RecordKind) -> impl Iterator<Item = Result<u64>> {
        let column = self.layout.kind.clone();
        let (mut piece, mut next) = (Vec::new(), 0);
        let mut failed = false;
        std::iter::from_fn(move || {
            while next < column.len() && !failed {
                let at = next % PIECE_BYTES;
                if at == 0 {
                    piece.resize(PIECE_BYTES.min(column.len() - next), 0);
                    if let Err(error) = self.bytes.read_at((column.start + next) as u64, &mut piece)
                    {
                        failed = true;
                        return Some(Err(error));
                    }
                }
                next += 1;
                if piece[at] == kind.number() {
                    return Some(Ok(next as u64 - 1));
                }
            }
            None
        })
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
        let codec = Codec::of(self.byte(&layout.codec, at)?).map_err(newer)?;
        let base = self.number(&layout.base, base, at)?.checked_sub(1);
        if base.is_some() != codec.has_base() {
            return Err(damaged());
        }
        let start = layout.prefixes.start + to_index(at) * PREFIX_BYTES;
        let row = SegmentRow {
            prefix: self.read(start)?,
            pack: u32::try_from(self.number(&layout.pack, pack, at)?).map_err(|_| damaged())?,
            offset: self.number(&layout.offset, offset, at)?,
            stored: self.number(&layout.stored, stored, at)?,
            plain: self.number(&layout.plain, plain, at)?,
            kind: RecordKind::of(self.byte(&layout.kind, at)?).map_err(newer)?,
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
    ) -> Result<Range<u64>> {
        let wanted = &wanted[..PREFIX_BYTES];
        let slot = fan_slot(wanted, bits);
        let [a, b, c, d, e, f, g, h] = self.read(fan.start + 4 * slot)?;
        let low = u64::from(u32::from_le_bytes([a, b, c, d])).min(count);
        let high = u64::from(u32::from_le_bytes([e, f, g, h])).min(count);
        let start = |index: u64| prefixes.start + to_index(index) * PREFIX_BYTES;
        // The prefix that is not sorted before `wanted`, or after it, if those between are many.
        let find = |goes_on: &dyn Fn(&[u8]) -> bool, few: u64| -> Result<Range<u64>> {
            let (mut low, mut high) = (low, high);
            while low + few < high {
                let middle = u64::midpoint(low, high);
                let found: [u8; PREFIX_BYTES] = self.read(start(middle))?;
                if goes_on(&found) { low = middle + 1 } else { high = middle }
            }
            Ok(low..high)
        };
        let first = find(&|found| found < wanted, FEW_PREFIXES)?;
        if first.start >= first.end {
            return Ok(0..0);
        }
        // As a rule those that begin alike are so few that they are read together.
        let mut bytes = [[0; PREFIX_BYTES]; to_usize(FEW_PREFIXES)];
        let near = &mut bytes[..to_index(first.end - first.start)];
        self.bytes.read_at(start(first.start) as u64, near.as_flattened_mut())?;
        let from = near.partition_point(|found| found[..] < *wanted);
        let to = near.partition_point(|found| found[..] <= *wanted);
        let from = first.start + from as u64;
        // Those that are equal may go on after the few.
        let to = match first.start + to as u64 {
            to if to == first.end && to < high => find(&|found| found <= wanted, 0)?.start,
            to => to,
        };
        let is_there = from < to && self.read::<PREFIX_BYTES>(start(from))? == *wanted;
        Ok(if is_there { from..to } else { 0..0 })
    }

    /// Returns the rows whose records may have the id `id`.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub fn find(&self, id: &Id) -> Result<Range<u64>> {
        let layout = &self.layout;
        if layout.rows_left_out {
            return Ok(0..0);
        }
        self.search(&id.0, &layout.id_fan, layout.widths[1], &layout.prefixes, layout.records)
    }

    /// Returns the rows of contents that may have the SHA-1 `sha1`. An item is an error where the segment
    /// cannot be read.
    ///
    /// # Errors
    /// The same.
    pub fn find_sha1(&self, sha1: &Sha1) -> Result<impl Iterator<Item = Result<u64>>> {
        let layout = &self.layout;
        let (bits, width) = (layout.widths[8], layout.widths[9]);
        let found =
            self.search(&sha1.0, &layout.sha1_fan, bits, &layout.sha1_prefixes, layout.sha1s)?;
        Ok(found.map(move |at| self.number(&layout.sha1_row, width, at)))
    }

    /// Returns name `at` of a column of prefixes and one of rows, which have `count`.
    fn name(
        &self,
        prefixes: &Range<usize>,
        rows: &Range<usize>,
        count: u64,
        at: u64,
    ) -> Result<([u8; PREFIX_BYTES], u64)> {
        if at >= count {
            return Err(damaged());
        }
        let prefix = self.read(prefixes.start + to_index(at) * PREFIX_BYTES)?;
        Ok((prefix, self.number(rows, self.layout.widths[9], at)?))
    }

    /// Returns the SHA-1 prefix of index `at`, and the row of its content.
    ///
    /// # Errors
    /// There is none, or the segment cannot be read.
    pub fn sha1(&self, at: u64) -> Result<([u8; PREFIX_BYTES], u64)> {
        let layout = &self.layout;
        self.name(&layout.sha1_prefixes, &layout.sha1_row, layout.sha1s, at)
    }

    /// Returns the prefix of the commit of index `at`, and the row of its revision.
    ///
    /// # Errors
    /// As [`Self::sha1`].
    pub fn commit(&self, at: u64) -> Result<([u8; PREFIX_BYTES], u64)> {
        let layout = &self.layout;
        self.name(&layout.commit_prefixes, &layout.commit_row, layout.commits, at)
    }

    /// Returns the number of commits in it.
    pub fn commit_count(&self) -> u64 {
        self.layout.commits
    }

    /// Returns the rows of revisions whose commits' prefixes are from `low` to `high`. An item is an error
    /// where the segment cannot be read.
    ///
    /// # Errors
    /// The same.
    pub fn find_commits(
        &self,
        low: [u8; PREFIX_BYTES],
        high: [u8; PREFIX_BYTES],
    ) -> Result<impl Iterator<Item = Result<u64>>> {
        let (mut first, mut end) = (0, self.layout.commits);
        while first < end {
            let middle = u64::midpoint(first, end);
            if self.commit(middle)?.0 < low { first = middle + 1 } else { end = middle }
        }
        let within = move |commit: &Result<([u8; PREFIX_BYTES], u64)>| {
            commit.as_ref().map_or(true, |(prefix, _)| *prefix <= high)
        };
        let rows = (first..self.layout.commits).map(|at| self.commit(at)).take_while(within);
        Ok(rows.map(|commit| Ok(commit?.1)))
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
