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

mod parts;
#[cfg(test)]
mod tests;

pub use parts::SegmentParts;

use super::record::{Codec, RecordKind, check_lengths};
use freestone_core::limits::EXTENSION_BYTES_MAX;
use freestone_core::wire::{Bytes, Reader};
use freestone_core::{Error, Id, Result, Sha1, digest};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

const MAGIC: [u8; 8] = *b"FSINDEX1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 96;
const CHECK_BYTES: usize = 32;
/// Bytes kept of an id, of a SHA-1 and of a commit: with 40 million rows, one look-up in 27,000 of
/// what is not there has to be settled by the pack's table.
pub const PREFIX_BYTES: usize = 5;
const FAN_BITS_MAX: u8 = 24;
/// What a pack takes in the list of packs.
const PACK_BYTES: u64 = 48;
/// Records of a segment whose rows are left out, at most: they are made in memory.
pub const ROWS_LEFT_OUT_MAX: u64 = 1 << 16;

/// A pack that a segment knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPack {
    /// The pack's id.
    pub id: Id,
    /// The length of its file; 0 for one that is named only because something depends on it.
    pub length: u64,
    /// The length of its table, which ends in front of the trailer; 0 where its file's is.
    pub table: u64,
}

/// What a row says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// The first bytes of its id.
    pub prefix: [u8; PREFIX_BYTES],
    /// Index of its pack among the segment's.
    pub pack: u32,
    /// Where it starts in the pack.
    pub offset: u64,
    /// Stored bytes.
    pub stored: u64,
    /// Plain bytes.
    pub plain: u64,
    /// What it is.
    pub kind: RecordKind,
    /// How it is stored.
    pub codec: Codec,
    /// The row of its base.
    pub base: Option<u64>,
}

/// Returns the first bytes of an id or SHA-1.
pub fn prefix(bytes: &[u8]) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&bytes[..PREFIX_BYTES]);
    prefix
}

/// Returns an index that fits memory, since what it points into does.
fn to_index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Returns the leading `bits` bits of a prefix.
fn fan_slot(prefix: &[u8], bits: u8) -> usize {
    let mut head = [0; 8];
    head[..PREFIX_BYTES].copy_from_slice(&prefix[..PREFIX_BYTES]);
    match bits {
        0 => 0,
        bits => usize::try_from(u64::from_be_bytes(head) >> (64 - u32::from(bits))).unwrap_or(0),
    }
}

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

#[derive(Clone, Debug)]
struct Layout {
    widths: [u8; 10],
    rows_left_out: bool,
    packs: u64,
    records: u64,
    sha1s: u64,
    commits: u64,
    superseded: Range<usize>,
    pack_list: Range<usize>,
    id_fan: Range<usize>,
    prefixes: Range<usize>,
    pack: Range<usize>,
    offset: Range<usize>,
    stored: Range<usize>,
    plain: Range<usize>,
    kind: Range<usize>,
    codec: Range<usize>,
    base: Range<usize>,
    sha1_fan: Range<usize>,
    sha1_prefixes: Range<usize>,
    sha1_row: Range<usize>,
    commit_prefixes: Range<usize>,
    commit_row: Range<usize>,
}

fn damaged() -> Error {
    Error::corrupt("an index segment is damaged")
        .hint("`freestone store reindex` makes the index again")
}

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

/// Passes over extension fields, except for critical ones.
fn check_extensions(bytes: &[u8]) -> Result<()> {
    let mut fields = Reader::new(bytes);
    while !fields.is_empty() {
        let tag = fields.varint()?;
        fields.string(EXTENSION_BYTES_MAX)?;
        if tag % 2 == 1 {
            return Err(Error::newer(format!("an index segment with critical extension {tag}")));
        }
    }
    Ok(())
}

impl Layout {
    fn of(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        if input.raw(8)? != MAGIC {
            return Err(damaged());
        }
        let version = input.u32()?;
        if version == 0 {
            return Err(damaged());
        }
        if version != VERSION {
            return Err(Error::newer(format!("an index segment of version {version}")));
        }
        let mut widths = [0; 10];
        widths.copy_from_slice(input.raw(10)?);
        let rows_left_out = input.u8()? == 1;
        input.u8()?;
        let mut counts = [0; 9];
        for count in &mut counts {
            *count = input.u64()?;
        }
        let [packs, records, sha1s, commits, superseded, filter, extensions, ..] = counts;
        let [prefix, id_fan, pack, offset, stored, plain, base, sha1_prefix, sha1_fan, row] =
            widths;
        if [prefix, sha1_prefix].iter().any(|width| usize::from(*width) != PREFIX_BYTES) {
            return Err(Error::newer("an index segment of another prefix width").hint(
                "use a newer freestone, or make the index again with `freestone store reindex`",
            ));
        }
        if id_fan.max(sha1_fan) > FAN_BITS_MAX
            || [pack, offset, stored, plain, base, row].iter().any(|width| *width > 8)
            || extensions > EXTENSION_BYTES_MAX as u64
            || records.max(sha1s).max(commits) > u64::from(u32::MAX)
            || (rows_left_out
                && (widths[1..7] != [0; 6] || records > ROWS_LEFT_OUT_MAX || packs != 1))
        {
            return Err(damaged());
        }
        let mut at = HEADER_BYTES;
        let mut take = |count: u64, width: u64| -> Result<Range<usize>> {
            let length = count.checked_mul(width).and_then(|length| usize::try_from(length).ok());
            let end = length.and_then(|length| at.checked_add(length)).ok_or_else(damaged)?;
            if end > bytes.len() {
                return Err(damaged());
            }
            Ok(std::mem::replace(&mut at, end)..end)
        };
        check_extensions(&bytes[take(extensions, 1)?])?;
        let rows = if rows_left_out { 0 } else { records };
        let fan = if rows_left_out { 0 } else { (1 << id_fan) + 1 };
        let layout = Self {
            widths,
            rows_left_out,
            packs,
            records,
            sha1s,
            commits,
            superseded: take(superseded, 16)?,
            pack_list: take(packs, PACK_BYTES)?,
            id_fan: take(fan, 4)?,
            prefixes: take(rows, prefix.into())?,
            pack: take(rows, pack.into())?,
            offset: take(rows, offset.into())?,
            stored: take(rows, stored.into())?,
            plain: take(rows, plain.into())?,
            kind: take(rows, 1)?,
            codec: take(rows, 1)?,
            base: take(rows, base.into())?,
            sha1_fan: take((1 << sha1_fan) + 1, 4)?,
            sha1_prefixes: take(sha1s, sha1_prefix.into())?,
            sha1_row: take(sha1s, row.into())?,
            commit_prefixes: take(commits, prefix.into())?,
            commit_row: take(commits, row.into())?,
        };
        take(filter, 1)?;
        if at + CHECK_BYTES == bytes.len() { Ok(layout) } else { Err(damaged()) }
    }
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
