//! The bytes of a segment: its header, and where its columns are.

use crate::record::{Codec, RecordKind};
use freestone_core::limits::EXTENSION_BYTES_MAX;
use freestone_core::wire::{ByteSource, Reader};
use freestone_core::{Error, Id, Result};
use std::ops::Range;

pub(super) const MAGIC: [u8; 8] = *b"FSINDEX1";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 96;
/// The length of the check at the end of a segment.
pub const CHECK_BYTES: usize = 32;
/// Bytes that are kept of an id, of a SHA-1 and of a commit. With 40 million rows, of 27,000 look-ups
/// of what is not there, one must be settled by the pack's table.
pub const PREFIX_BYTES: usize = 5;
/// The most bits of an id that choose a part of the rows: the list of parts takes 64 MiB then.
pub(super) const FAN_BITS_MAX: u8 = 24;
/// The bytes of a pack in the list of packs.
pub(super) const PACK_BYTES: u64 = 48;
/// The most packs of one segment: lists of them are held in memory.
const PACKS_MAX: u64 = 1 << 20;
/// The most records of a segment whose rows are left out: they are made in memory.
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

/// Converts an index, which fits memory since what it points into does.
pub(super) fn to_index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Returns the leading `bits` bits of a prefix.
pub(super) fn fan_slot(prefix: &[u8], bits: u8) -> usize {
    let mut head = [0; 8];
    head[..PREFIX_BYTES].copy_from_slice(&prefix[..PREFIX_BYTES]);
    match bits {
        0 => 0,
        bits => usize::try_from(u64::from_be_bytes(head) >> (64 - u32::from(bits))).unwrap_or(0),
    }
}

/// Where the columns of a segment are.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) widths: [u8; 10],
    pub(super) rows_left_out: bool,
    pub(super) packs: u64,
    pub(super) records: u64,
    pub(super) sha1s: u64,
    pub(super) commits: u64,
    pub(super) superseded: Range<usize>,
    pub(super) pack_list: Range<usize>,
    pub(super) id_fan: Range<usize>,
    pub(super) prefixes: Range<usize>,
    pub(super) pack: Range<usize>,
    pub(super) offset: Range<usize>,
    pub(super) stored: Range<usize>,
    pub(super) plain: Range<usize>,
    pub(super) kind: Range<usize>,
    pub(super) codec: Range<usize>,
    pub(super) base: Range<usize>,
    pub(super) sha1_fan: Range<usize>,
    pub(super) sha1_prefixes: Range<usize>,
    pub(super) sha1_row: Range<usize>,
    pub(super) commit_prefixes: Range<usize>,
    pub(super) commit_row: Range<usize>,
}

/// Returns the error for a damaged segment.
pub(super) fn damaged() -> Error {
    Error::corrupt("an index segment is damaged")
        .hint("`freestone store reindex` makes the index again")
}

/// Checks that no extension field is critical. Others are ignored.
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

/// What the header of a segment says.
struct Header {
    widths: [u8; 10],
    rows_left_out: bool,
    /// Of packs, records, SHA-1s, commits, superseded segments, bytes of filters and extensions; two
    /// that are reserved.
    counts: [u64; 9],
}

impl Header {
    /// Reads the header at the beginning of `bytes`.
    fn read(bytes: &[u8]) -> Result<Self> {
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
        let [packs, records, sha1s, commits, _, _, extensions, ..] = counts;
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
            || packs > PACKS_MAX
            || (rows_left_out
                && (widths[1..7] != [0; 6] || records > ROWS_LEFT_OUT_MAX || packs != 1))
        {
            return Err(damaged());
        }
        Ok(Self { widths, rows_left_out, counts })
    }

    /// Returns the layout of a segment of `bytes` bytes.
    fn layout(&self, bytes: usize) -> Result<Layout> {
        let [packs, records, sha1s, commits, superseded, filter, extensions, ..] = self.counts;
        let [prefix, id_fan, pack, offset, stored, plain, base, sha1_prefix, sha1_fan, row] =
            self.widths;
        let mut at = HEADER_BYTES;
        let mut take = |count: u64, width: u64| -> Result<Range<usize>> {
            let length = count.checked_mul(width).and_then(|length| usize::try_from(length).ok());
            let end = length.and_then(|length| at.checked_add(length)).ok_or_else(damaged)?;
            if end > bytes {
                return Err(damaged());
            }
            Ok(std::mem::replace(&mut at, end)..end)
        };
        take(extensions, 1)?;
        let rows = if self.rows_left_out { 0 } else { records };
        let fan = if self.rows_left_out { 0 } else { (1 << id_fan) + 1 };
        let layout = Layout {
            widths: self.widths,
            rows_left_out: self.rows_left_out,
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
        if at.checked_add(CHECK_BYTES) == Some(bytes) { Ok(layout) } else { Err(damaged()) }
    }
}

impl Layout {
    /// Returns the layout of the segment in `bytes`. Its check is not read.
    pub(super) fn of(bytes: &dyn ByteSource) -> Result<Self> {
        let mut start = [0; HEADER_BYTES];
        if bytes.length() < start.len() as u64 {
            return Err(damaged());
        }
        bytes.read_at(0, &mut start)?;
        let header = Header::read(&start)?;
        let layout = header.layout(to_index(bytes.length()))?;
        let [.., extensions, _, _] = header.counts;
        // The layout has room for them.
        let mut fields = vec![0; to_index(extensions)];
        bytes.read_at(HEADER_BYTES as u64, &mut fields)?;
        check_extensions(&fields)?;
        Ok(layout)
    }
}

/// Checks that a segment of `length` bytes can begin with the bytes `start`, which hold its header.
/// So a reader that is told a length knows whether it can be right before it reads, or makes room
/// for, more than the header.
///
/// # Errors
/// The segment is damaged, has another length, or is of a later version.
pub fn check_header(start: &[u8], length: u64) -> Result<()> {
    Header::read(start)?.layout(usize::try_from(length).map_err(|_| damaged())?).map(|_| ())
}
