//! Index segments: sorted, immutable maps from record to place, from SHA-1 to content, and from
//! label to revision. Derived from the packs, made to be searched where they lie.
//!
//! ```text
//! header       96 bytes
//!    0  magic "FSINDEX1"
//!    8  version u32 = 1
//!   12  widths, a byte each: id prefix, id fan-out bits, pack, offset, stored, plain, base,
//!       SHA-1 prefix, SHA-1 fan-out bits, row, 0, 0
//!   24  counts and lengths, u64 each: packs, records, SHA-1s, labels, label bytes, superseded
//!       segments, filter bytes (reserved), extension bytes, 0
//! extensions | superseded segment ids 16 … | pack id 32 and pack length u64 …
//! id fan-out u32 … | id prefix … | pack … | offset … | stored … | plain … | kind u8 … |
//! codec u8 … | base …
//! SHA-1 fan-out u32 … | SHA-1 prefix … | row …
//! label end u32 … | labels, each the text `KEY=VALUE` and the revision id 32 …
//! filters
//! check        32 bytes: plain BLAKE3 of all before
//! ```
//! Rows are sorted by id prefix. Numbers are little-endian, columns of the width that the header
//! gives. A fan-out of b bits has 2^b + 1 entries: how many prefixes have smaller leading bits.
//! The base column holds a row of this segment plus one, or 0. Prefixes need not be unique: what
//! a row leads to is proven by its id. The segment's id is the first 16 bytes of the check.

use super::record::{Codec, RecordKind};
use freestone_core::limits::EXTENSION_BYTES_MAX;
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result, Sha1, digest};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

const MAGIC: [u8; 8] = *b"FSINDEX1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 96;
const CHECK_BYTES: usize = 32;
/// Bytes kept of an id and of a SHA-1: with 40 million rows, one look-up in 27,000 of what is
/// not there has to be settled by the pack's table.
pub const PREFIX_BYTES: usize = 5;
const FAN_BITS_MAX: u8 = 24;

/// Bytes that stay where they are: a mapped file, or a buffer.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A pack that a segment knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPack {
    /// The pack's id.
    pub id: Id,
    /// The length of its file.
    pub length: u64,
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

/// What a segment is made of; rows may be in any order.
#[derive(Default)]
pub struct SegmentParts {
    /// Ids of the segments that this one takes the place of.
    pub supersedes: Vec<[u8; 16]>,
    /// The packs.
    pub packs: Vec<SegmentPack>,
    /// The records; a base is an index into this list.
    pub rows: Vec<SegmentRow>,
    /// SHA-1 prefixes, each with the index of its content in `rows`.
    pub sha1s: Vec<([u8; PREFIX_BYTES], u64)>,
    /// Labels as `KEY=VALUE`, each with its revision.
    pub labels: Vec<(Vec<u8>, Id)>,
}

/// The first bytes of an id or SHA-1.
pub fn prefix(bytes: &[u8]) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&bytes[..PREFIX_BYTES]);
    prefix
}

/// An index that fits memory, since what it points into does.
fn to_index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn width_of(max: u64) -> usize {
    (8 - max.leading_zeros() as usize / 8).min(8)
}

fn fan_bits(count: usize) -> u8 {
    // About 16 prefixes to search behind each entry.
    let bits = usize::BITS - (count / 16).leading_zeros();
    u8::try_from(bits).unwrap_or(FAN_BITS_MAX).min(FAN_BITS_MAX)
}

/// The leading `bits` bits of a prefix.
fn fan_slot(prefix: &[u8], bits: u8) -> usize {
    let mut head = [0; 8];
    head[..PREFIX_BYTES].copy_from_slice(&prefix[..PREFIX_BYTES]);
    match bits {
        0 => 0,
        bits => usize::try_from(u64::from_be_bytes(head) >> (64 - u32::from(bits))).unwrap_or(0),
    }
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

impl SegmentParts {
    /// The bytes of the segment, and its id.
    pub fn encode(mut self) -> (Vec<u8>, [u8; 16]) {
        let mut order: Vec<u32> = (0..u32::try_from(self.rows.len()).unwrap_or(u32::MAX)).collect();
        let key = |row: &SegmentRow| (row.prefix, row.pack, row.offset, row.kind.number());
        order.sort_unstable_by_key(|at| key(&self.rows[*at as usize]));
        let mut place = vec![0u64; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old as usize] = new as u64;
        }
        let rows: Vec<SegmentRow> = order
            .iter()
            .map(|at| {
                let row = self.rows[*at as usize];
                SegmentRow { base: row.base.map(|base| place[to_index(base)]), ..row }
            })
            .collect();
        self.sha1s.iter_mut().for_each(|(_, row)| *row = place[to_index(*row)]);
        self.sha1s.sort_unstable();
        self.sha1s.dedup();
        self.labels.sort_unstable();
        self.labels.dedup();
        let max =
            |value: fn(&SegmentRow) -> u64| width_of(rows.iter().map(value).max().unwrap_or(0));
        let (pack, offset) = (max(|row| u64::from(row.pack)), max(|row| row.offset));
        let (stored, plain) = (max(|row| row.stored), max(|row| row.plain));
        let base = max(|row| row.base.map_or(0, |base| base + 1));
        let row = width_of(rows.len() as u64);
        let (id_fan, sha1_fan) = (fan_bits(rows.len()), fan_bits(self.sha1s.len()));
        let widths = [
            PREFIX_BYTES,
            id_fan.into(),
            pack,
            offset,
            stored,
            plain,
            base,
            PREFIX_BYTES,
            sha1_fan.into(),
            row,
        ];
        let label_bytes: usize = self.labels.iter().map(|(text, _)| text.len() + 32).sum();

        let mut out = Writer::default();
        out.raw(&MAGIC);
        out.u32(VERSION);
        widths.iter().for_each(|width| out.u8(u8::try_from(*width).unwrap_or(u8::MAX)));
        out.raw(&[0, 0]);
        for count in [
            self.packs.len(),
            rows.len(),
            self.sha1s.len(),
            self.labels.len(),
            label_bytes,
            self.supersedes.len(),
            0,
            0,
            0,
        ] {
            out.u64(count as u64);
        }
        self.supersedes.iter().for_each(|id| out.raw(id));
        for pack in &self.packs {
            out.id(&pack.id);
            out.u64(pack.length);
        }
        write_fan(&mut out, id_fan, rows.iter().map(|row| &row.prefix[..]));
        rows.iter().for_each(|row| out.raw(&row.prefix));
        write_column(&mut out, pack, rows.iter().map(|row| row.pack.into()));
        write_column(&mut out, offset, rows.iter().map(|row| row.offset));
        write_column(&mut out, stored, rows.iter().map(|row| row.stored));
        write_column(&mut out, plain, rows.iter().map(|row| row.plain));
        rows.iter().for_each(|row| out.u8(row.kind.number()));
        rows.iter().for_each(|row| out.u8(row.codec.number()));
        write_column(&mut out, base, rows.iter().map(|row| row.base.map_or(0, |base| base + 1)));
        write_fan(&mut out, sha1_fan, self.sha1s.iter().map(|(prefix, _)| &prefix[..]));
        self.sha1s.iter().for_each(|(prefix, _)| out.raw(prefix));
        write_column(&mut out, row, self.sha1s.iter().map(|(_, row)| *row));
        let mut end = 0u32;
        for (text, _) in &self.labels {
            end += u32::try_from(text.len()).unwrap_or(0) + 32;
            out.u32(end);
        }
        for (text, id) in &self.labels {
            out.raw(text);
            out.id(id);
        }
        let check = digest::plain(out.bytes());
        out.id(&check);
        let mut id = [0; 16];
        id.copy_from_slice(&check.0[..16]);
        (out.into_bytes(), id)
    }
}

/// A segment to be searched.
#[derive(Clone)]
pub struct Segment {
    bytes: Bytes,
    layout: Layout,
    /// Whether its check is right, once somebody had to know.
    intact: Arc<OnceLock<bool>>,
}

#[derive(Clone, Debug)]
struct Layout {
    widths: [u8; 10],
    packs: u64,
    records: u64,
    sha1s: u64,
    labels: u64,
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
    label_ends: Range<usize>,
    label_texts: Range<usize>,
}

fn damaged() -> Error {
    Error::corrupt("an index segment is damaged")
        .hint("`freestone store reindex` makes the index anew")
}

/// Whether the bytes are those that were written: the check at the end is that of all before it.
fn is_intact(bytes: &[u8]) -> bool {
    let parts = bytes.split_last_chunk::<CHECK_BYTES>();
    parts.is_some_and(|(body, check)| digest::plain(body).0 == *check)
}

/// What a segment says that is not known is newer only if the segment is intact.
fn unless_newer(error: Error, is_intact: impl FnOnce() -> bool) -> Error {
    if error.is_newer() && !is_intact() { damaged() } else { error }
}

/// Extension fields are passed over, but for critical ones.
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
        input.raw(2)?;
        let mut counts = [0; 9];
        for count in &mut counts {
            *count = input.u64()?;
        }
        let [packs, records, sha1s, labels, label_bytes, superseded, filter, extensions, _] =
            counts;
        let [prefix, id_fan, pack, offset, stored, plain, base, sha1_prefix, sha1_fan, row] =
            widths;
        if [prefix, sha1_prefix].iter().any(|width| usize::from(*width) != PREFIX_BYTES) {
            return Err(Error::newer("an index segment of another prefix width").hint(
                "use a newer freestone, or make the index anew with `freestone store reindex`",
            ));
        }
        if id_fan.max(sha1_fan) > FAN_BITS_MAX
            || [pack, offset, stored, plain, base, row].iter().any(|width| *width > 8)
            || extensions > EXTENSION_BYTES_MAX as u64
            || records.max(sha1s) > u64::from(u32::MAX)
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
        let layout = Self {
            widths,
            packs,
            records,
            sha1s,
            labels,
            superseded: take(superseded, 16)?,
            pack_list: take(packs, 40)?,
            id_fan: take((1 << id_fan) + 1, 4)?,
            prefixes: take(records, prefix.into())?,
            pack: take(records, pack.into())?,
            offset: take(records, offset.into())?,
            stored: take(records, stored.into())?,
            plain: take(records, plain.into())?,
            kind: take(records, 1)?,
            codec: take(records, 1)?,
            base: take(records, base.into())?,
            sha1_fan: take((1 << sha1_fan) + 1, 4)?,
            sha1_prefixes: take(sha1s, sha1_prefix.into())?,
            sha1_row: take(sha1s, row.into())?,
            label_ends: take(labels, 4)?,
            label_texts: take(label_bytes, 1)?,
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
        Ok(Self { bytes, layout, intact: Arc::default() })
    }

    fn is_intact(&self) -> bool {
        *self.intact.get_or_init(|| is_intact(self.bytes()))
    }

    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// Whether the bytes are those that were written, and the segment's id.
    ///
    /// # Errors
    /// They are not.
    pub fn verify(&self) -> Result<[u8; 16]> {
        if is_intact(self.bytes()) { Ok(self.id()) } else { Err(damaged()) }
    }

    /// The segment's id, as it says itself.
    pub fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let at = self.bytes().len() - CHECK_BYTES;
        id.copy_from_slice(&self.bytes()[at..at + 16]);
        id
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// The ids of the segments that this one takes the place of.
    pub fn supersedes(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes()[self.layout.superseded.clone()].chunks_exact(16)
    }

    /// How many packs it knows.
    pub fn pack_count(&self) -> u32 {
        u32::try_from(self.layout.packs).unwrap_or(u32::MAX)
    }

    /// The pack of index `at`.
    ///
    /// # Errors
    /// There is no such pack.
    pub fn pack(&self, at: u32) -> Result<SegmentPack> {
        if u64::from(at) >= self.layout.packs {
            return Err(damaged());
        }
        let start = self.layout.pack_list.start + at as usize * 40;
        let mut input = Reader::new(&self.bytes()[start..start + 40]);
        Ok(SegmentPack { id: input.id()?, length: input.u64()? })
    }

    /// How many records it knows.
    pub fn record_count(&self) -> u64 {
        self.layout.records
    }

    /// How many SHA-1s it knows.
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

    /// The indices of the rows of records of `kind`.
    pub fn rows_of(&self, kind: RecordKind) -> impl Iterator<Item = u64> {
        let kinds = &self.bytes()[self.layout.kind.clone()];
        let is_it = move |(at, number): (u64, &u8)| (*number == kind.number()).then_some(at);
        (0u64..).zip(kinds).filter_map(is_it)
    }

    /// The row of index `at`.
    ///
    /// # Errors
    /// There is no such row, or it says what cannot be, or what only a later version knows.
    pub fn row(&self, at: u64) -> Result<SegmentRow> {
        let layout = &self.layout;
        if at >= layout.records {
            return Err(damaged());
        }
        let [_, _, pack, offset, stored, plain, base, ..] = layout.widths;
        let newer = |error| unless_newer(error, || self.is_intact());
        let codec = Codec::of(self.byte(&layout.codec, at)).map_err(newer)?;
        let base = self.number(&layout.base, base, at).checked_sub(1);
        if base.is_some() != (codec == Codec::ZstdBase) {
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
        super::pack::check_lengths(codec, row.stored, row.plain)?;
        Ok(row)
    }

    /// The indices of the prefixes that equal the first bytes of `wanted`.
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

    /// The rows whose records may have the id `id`.
    pub fn find(&self, id: &Id) -> Range<u64> {
        let layout = &self.layout;
        self.search(&id.0, &layout.id_fan, layout.widths[1], &layout.prefixes, layout.records)
    }

    /// The rows of contents that may have the SHA-1 `sha1`.
    pub fn find_sha1(&self, sha1: &Sha1) -> impl Iterator<Item = u64> {
        let layout = &self.layout;
        let (bits, width) = (layout.widths[8], layout.widths[9]);
        self.search(&sha1.0, &layout.sha1_fan, bits, &layout.sha1_prefixes, layout.sha1s)
            .map(move |at| self.number(&layout.sha1_row, width, at))
    }

    /// The SHA-1 prefix of index `at`, and the row of its content.
    pub fn sha1(&self, at: u64) -> ([u8; PREFIX_BYTES], u64) {
        let at = at.min(self.layout.sha1s.saturating_sub(1));
        let start = self.layout.sha1_prefixes.start + to_index(at) * PREFIX_BYTES;
        let row = self.number(&self.layout.sha1_row, self.layout.widths[9], at);
        (prefix(&self.bytes()[start..start + PREFIX_BYTES]), row)
    }

    /// All labels as `KEY=VALUE`, each with its revision, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&[u8], Id)> {
        (0..self.layout.labels).filter_map(|at| self.label(at))
    }

    fn label(&self, at: u64) -> Option<(&[u8], Id)> {
        let end = |at: u64| usize::try_from(self.number(&self.layout.label_ends, 4, at)).ok();
        let start = if at == 0 { 0 } else { end(at - 1)? };
        let texts = &self.bytes()[self.layout.label_texts.clone()];
        let (text, id) = texts.get(start..end(at)?)?.split_last_chunk::<32>()?;
        Some((text, Id(*id)))
    }

    /// The labels that begin with `start`, each with its revision, in order.
    pub fn labels_from<'a>(&'a self, start: &'a [u8]) -> impl Iterator<Item = (&'a [u8], Id)> {
        let (mut low, mut high) = (0, self.layout.labels);
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.label(middle).is_some_and(|(text, _)| text < start) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low..self.layout.labels)
            .filter_map(|at| self.label(at))
            .take_while(move |(text, _)| text.starts_with(start))
    }
}

/// The file name of a segment.
pub fn file_name(tier: u8, time: u64, id: &[u8; 16]) -> String {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{tier:02}-{time:016x}-{id}.idx")
}

/// Tier and id of the segment whose file is `name`; `None` if that is none.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn row(seed: u32, packs: u32) -> SegmentRow {
        let id = digest::plain(&(seed % 500).to_le_bytes());
        SegmentRow {
            prefix: prefix(&id.0),
            pack: seed % packs,
            offset: u64::from(seed) * 1000,
            stored: u64::from(seed % 70_000) + 1,
            plain: u64::from(seed % 70_000) + 1,
            kind: RecordKind::of(1 + (seed % 5) as u8).unwrap(),
            codec: Codec::Raw,
            base: None,
        }
    }

    fn parts(seeds: &[u32]) -> SegmentParts {
        let packs = (0..3u8).map(|n| SegmentPack { id: Id([n; 32]), length: u64::from(n) << 30 });
        let mut rows: Vec<SegmentRow> = seeds.iter().map(|seed| row(*seed, 3)).collect();
        for at in (1..rows.len()).step_by(3) {
            rows[at].codec = Codec::ZstdBase;
            rows[at].plain += 1;
            rows[at].base = Some(at as u64 - 1);
        }
        let sha1s = seeds.iter().enumerate();
        let sha1s =
            sha1s.map(|(at, seed)| (prefix(&digest::sha1(&seed.to_le_bytes()).0), at as u64));
        let labels =
            seeds.iter().map(|seed| (format!("git.commit={seed:08x}").into_bytes(), Id([1; 32])));
        SegmentParts {
            supersedes: vec![[7; 16]],
            packs: packs.collect(),
            sha1s: sha1s.collect(),
            labels: labels.collect(),
            rows,
        }
    }

    fn open(bytes: &[u8]) -> Result<Segment> {
        Segment::open(Arc::new(bytes.to_vec()))
    }

    proptest! {
        #[test]
        fn what_goes_in_is_found(seeds in prop::collection::vec(any::<u32>(), 0..300)) {
            let (bytes, id) = parts(&seeds).encode();
            let segment = open(&bytes).unwrap();
            prop_assert_eq!(segment.verify().unwrap(), id);
            prop_assert_eq!(segment.record_count(), seeds.len() as u64);
            let source = parts(&seeds).rows;
            for (at, seed) in seeds.iter().enumerate() {
                let id = digest::plain(&(seed % 500).to_le_bytes());
                let rows: Vec<_> = segment.find(&id).map(|at| segment.row(at).unwrap()).collect();
                let expected = source.iter().filter(|row| row.prefix == prefix(&id.0)).count();
                prop_assert_eq!(rows.len(), expected);
                let same = |row: &SegmentRow| SegmentRow { base: None, ..*row } == SegmentRow { base: None, ..source[at] };
                let found = rows.iter().find(|row| same(row)).unwrap();
                if let Some(base) = source[at].base {
                    let base = &source[usize::try_from(base).unwrap()];
                    prop_assert_eq!(segment.row(found.base.unwrap()).unwrap().prefix, base.prefix);
                }
                let sha1 = digest::sha1(&seed.to_le_bytes());
                prop_assert!(segment.find_sha1(&sha1).any(|at| same(&segment.row(at).unwrap())));
                let label = format!("git.commit={seed:08x}");
                prop_assert!(segment.labels_from(label.as_bytes()).next().is_some());
            }
            prop_assert_eq!(segment.find(&Id([0; 32])), 0..0);
            prop_assert_eq!(segment.supersedes().count(), 1);
            let labels: BTreeMap<_, _> = segment.labels().collect();
            prop_assert_eq!(labels.len(), seeds.iter().collect::<std::collections::BTreeSet<_>>().len());
        }

        #[test]
        fn damage_gives_errors_or_other_rows_and_never_a_panic(
            seeds in prop::collection::vec(any::<u32>(), 0..60),
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let (bytes, _) = parts(&seeds).encode();
            let at = at.index(bytes.len());
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            prop_assert!(open(&bytes[..at]).is_err());
            if let Ok(segment) = open(&damaged) {
                prop_assert!(segment.verify().is_err() || damaged == bytes);
                for seed in &seeds {
                    let id = digest::plain(&(seed % 500).to_le_bytes());
                    for row in segment.find(&id) {
                        let _ = segment.row(row).and_then(|row| segment.pack(row.pack));
                    }
                    for row in segment.find_sha1(&digest::sha1(&seed.to_le_bytes())) {
                        let _ = segment.row(row);
                    }
                }
                let _ = segment.labels().count();
                let _ = segment.labels_from(b"git.commit=8").count();
            }
        }
    }

    #[test]
    fn names_round_trip() {
        let name = file_name(3, 0x1234, &[0xab; 16]);
        assert_eq!(parse_file_name(&name), Some((3, [0xab; 16])));
        for bad in ["latest", "03-1-ab.idx", "x.idx", ""] {
            assert_eq!(parse_file_name(bad), None);
        }
    }
}
