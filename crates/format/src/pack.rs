//! Packs: immutable files of many records, closed by a table.
//!
//! ```text
//! header     16 bytes: magic 89 46 53 50 0d 0a 1a 0a | version u32 = 1 | 0 u32
//! records    stored bytes without headers; gaps between them are zeros
//! table      see below
//! trailer    16 bytes: length of the table u64 | magic "FSTABLE1"
//! ```
//! The table says by columns, for each record in order of its offset:
//! ```text
//! version u8 = 1 | extensions, with 16 random bytes in field 2 | record count | pack count
//! that many pack ids
//! id 32 bytes … | checksum 4 bytes …
//! length of the columns | length of their zstd frame, 0 where they stand as they are | those:
//! kind u8 … | codec u8 … | gap before the record … | stored length … | plain length …
//! base of each record with codec 3 or 4:  0 | index of a record before it in this table
//!                                    n | offset | stored length | plain length | codec
//!                                    in pack n of the list above, counted from 1
//! ```
//! Counts, gaps and lengths are varints. The pack's id is the hash of the table.

use super::frame;
use super::record::{Codec, RecordKind, check_lengths};
use freestone_core::digest::{self, context};
use freestone_core::limits::PACK_RECORDS_MAX;
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result};
use std::collections::HashMap;

/// The first bytes of every pack.
pub const HEADER: [u8; 16] =
    [0x89, b'F', b'S', b'P', 0x0d, 0x0a, 0x1a, 0x0a, 1, 0, 0, 0, 0, 0, 0, 0];
/// The last bytes of every pack.
pub const TRAILER_MAGIC: [u8; 8] = *b"FSTABLE1";
/// The number of bytes after the table.
pub const TRAILER_BYTES: u64 = 16;
/// The bytes that make a pack's id one of its own, so that no two packs ever have the same name.
pub const RANDOM_BYTES: usize = 16;
const VERSION: u8 = 1;
/// The field of the extensions that holds them.
const RANDOM_TAG: u64 = 2;
/// What every record takes of a table at least: id and checksum.
const ROW_BYTES_MIN: u64 = 32 + 4;
/// What every record takes of the columns at most: kind, codec, three varints, a base.
const COLUMN_BYTES_MAX: u64 = 2 + 3 * 10 + 4 * 10 + 1;
/// What the columns are compressed with.
const COLUMNS_LEVEL: i32 = 9;
/// The most other packs that a table names: a list of them is held in memory.
const PACKS_MAX: u64 = 1 << 16;

/// Where the dictionary of a record is whose codec has a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The record of this index in the same table: it has a lower offset.
    Same(usize),
    /// A record without a base in another pack.
    Other {
        /// The pack.
        pack: Id,
        /// Where it starts.
        offset: u64,
        /// How long it is there.
        stored: u64,
        /// How long it is decoded.
        plain: u64,
        /// How it is stored: raw, zstd or zeros.
        codec: Codec,
    },
}

/// A record of a pack's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub kind: RecordKind,
    /// How it is stored.
    pub codec: Codec,
    /// Its id.
    pub id: Id,
    /// The checksum of its stored bytes.
    pub checksum: [u8; 4],
    /// Where it starts in the pack.
    pub offset: u64,
    /// Stored bytes.
    pub stored: u64,
    /// Plain bytes.
    pub plain: u64,
    /// Its base, if the codec has one.
    pub base: Option<Base>,
}

/// Returns the name of a pack's object.
pub fn object_name(id: &Id) -> String {
    let id = id.to_string();
    format!("packs/{}/{id}.pack", &id[..2])
}

/// Returns the pack whose object is `name`; `None` if it is not one.
pub fn id_of_object(name: &str) -> Option<Id> {
    let id = name.rsplit('/').next()?.strip_suffix(".pack")?;
    let id = Id::parse(id).ok()?;
    (object_name(&id) == name).then_some(id)
}

/// Encodes a table; the rows are in order of their offsets and do not overlap. With other `random`
/// bytes the pack has another id.
pub fn encode_table(rows: &[Row], random: &[u8; RANDOM_BYTES]) -> Vec<u8> {
    let mut packs: Vec<Id> = Vec::new();
    let mut numbers: HashMap<Id, u64> = HashMap::new();
    let mut bases = Writer::default();
    for base in rows.iter().filter_map(|row| row.base.as_ref()) {
        match base {
            Base::Same(index) => {
                bases.varint(0);
                bases.varint(*index as u64);
            }
            Base::Other { pack, offset, stored, plain, codec } => {
                let number = *numbers.entry(*pack).or_insert_with(|| {
                    packs.push(*pack);
                    packs.len() as u64
                });
                bases.varint(number);
                bases.varint(*offset);
                bases.varint(*stored);
                bases.varint(*plain);
                bases.u8(codec.number());
            }
        }
    }
    let mut out = Writer::default();
    out.u8(VERSION);
    let mut extensions = Writer::default();
    extensions.varint(RANDOM_TAG);
    extensions.string(random);
    out.string(extensions.bytes());
    out.varint(rows.len() as u64);
    out.varint(packs.len() as u64);
    packs.iter().for_each(|pack| out.id(pack));
    rows.iter().for_each(|row| out.id(&row.id));
    rows.iter().for_each(|row| out.raw(&row.checksum));
    let mut columns = Writer::default();
    rows.iter().for_each(|row| columns.u8(row.kind.number()));
    rows.iter().for_each(|row| columns.u8(row.codec.number()));
    let mut end = HEADER.len() as u64;
    for row in rows {
        columns.varint(row.offset - end);
        end = row.offset + row.stored;
    }
    rows.iter().for_each(|row| columns.varint(row.stored));
    rows.iter().for_each(|row| columns.varint(row.plain));
    columns.raw(bases.bytes());
    out.varint(columns.bytes().len() as u64);
    match frame::compress_over(columns.bytes(), None, COLUMNS_LEVEL) {
        Ok(frame) if frame.len() < columns.bytes().len() => {
            out.varint(frame.len() as u64);
            out.raw(&frame);
        }
        _ => {
            out.varint(0);
            out.raw(columns.bytes());
        }
    }
    out.into_bytes()
}

/// Returns the columns of a table of `count` records.
fn decode_columns<'a>(input: &mut Reader<'a>, count: u64) -> Result<std::borrow::Cow<'a, [u8]>> {
    let wrong = || Error::corrupt("a pack table whose columns cannot be right");
    let length = input.varint()?;
    if length > count.saturating_mul(COLUMN_BYTES_MAX) {
        return Err(wrong());
    }
    let length = usize::try_from(length).map_err(|_| wrong())?;
    let frame = usize::try_from(input.varint()?).map_err(|_| wrong())?;
    if frame == 0 {
        return Ok(input.raw(length)?.into());
    }
    Ok(frame::decompress(input.raw(frame)?, None, length)?.into())
}

/// Returns the id of the pack whose table is `table`.
pub fn pack_id(table: &[u8]) -> Id {
    digest::derived(context::PACK_TABLE, table)
}

/// Returns the trailer after a table.
pub fn encode_trailer(table_bytes: u64) -> [u8; 16] {
    let mut trailer = [0; 16];
    trailer[..8].copy_from_slice(&table_bytes.to_le_bytes());
    trailer[8..].copy_from_slice(&TRAILER_MAGIC);
    trailer
}

/// Returns where the table is in a pack of `length` bytes that ends in `trailer`: offset and
/// length.
///
/// # Errors
/// It is not a trailer, or says what cannot be.
pub fn table_place(length: u64, trailer: [u8; 16]) -> Result<(u64, u64)> {
    let mut input = Reader::new(&trailer);
    let table = input.u64()?;
    let offset = length.checked_sub(TRAILER_BYTES).and_then(|end| end.checked_sub(table));
    match offset {
        Some(offset) if trailer[8..] == TRAILER_MAGIC && offset >= HEADER.len() as u64 => {
            Ok((offset, table))
        }
        _ => Err(Error::corrupt("the pack is cut off or its trailer is damaged")),
    }
}

/// Decodes a table that is at `table_offset` of its pack.
///
/// # Errors
/// It is not a table of version 1, or a record is not before the table.
pub fn decode_table(table: &[u8], table_offset: u64) -> Result<Vec<Row>> {
    let mut input = Reader::new(table);
    input.version(VERSION, "a pack table")?;
    input.extensions()?;
    let count = input.varint()?;
    let packs = input.varint()?;
    let claimed =
        count.checked_mul(ROW_BYTES_MIN).and_then(|b| b.checked_add(packs.checked_mul(32)?));
    if count > PACK_RECORDS_MAX
        || packs > PACKS_MAX
        || claimed.is_none_or(|b| b > input.remaining() as u64)
    {
        return Err(Error::corrupt("a pack table that claims more records than it holds"));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let packs: Vec<Id> = (0..packs).map(|_| input.id()).collect::<Result<_>>()?;
    let mut ids = Reader::new(input.raw(count * 32)?);
    let checksums = input.raw(count * 4)?;
    let columns = decode_columns(&mut input, count as u64)?;
    input.finish()?;
    let mut input = Reader::new(&columns);
    let kinds = input.raw(count)?;
    let codecs = input.raw(count)?;
    let mut rows = Vec::with_capacity(count);
    for index in 0..count {
        let mut checksum = [0; 4];
        checksum.copy_from_slice(&checksums[4 * index..4 * index + 4]);
        rows.push(Row {
            kind: RecordKind::of(kinds[index])?,
            codec: Codec::of(codecs[index])?,
            id: ids.id()?,
            checksum,
            offset: input.varint()?,
            stored: 0,
            plain: 0,
            base: None,
        });
    }
    let mut end = HEADER.len() as u64;
    for row in &mut rows {
        row.stored = input.varint()?;
        // Until now `offset` held the gap.
        let place =
            end.checked_add(row.offset).and_then(|at| Some((at, at.checked_add(row.stored)?)));
        let (offset, next) = place
            .filter(|(_, next)| *next <= table_offset)
            .ok_or_else(|| Error::corrupt(format!("record {} is outside its pack", row.id)))?;
        row.offset = offset;
        end = next;
    }
    for row in &mut rows {
        row.plain = input.varint()?;
        check_lengths(row.codec, row.stored, row.plain)?;
    }
    for (index, row) in rows.iter_mut().enumerate() {
        if row.codec.has_base() {
            row.base = Some(decode_base(&mut input, index, &packs)?);
        }
    }
    input.finish()?;
    Ok(rows)
}

fn decode_base(input: &mut Reader<'_>, index: usize, packs: &[Id]) -> Result<Base> {
    let wrong = || Error::corrupt("a record whose base cannot be one");
    let pack = input.varint()?;
    if pack == 0 {
        let base = usize::try_from(input.varint()?).map_err(|_| wrong())?;
        return if base < index { Ok(Base::Same(base)) } else { Err(wrong()) };
    }
    let pack = usize::try_from(pack - 1).ok().and_then(|at| packs.get(at)).ok_or_else(wrong)?;
    let (offset, stored, plain) = (input.varint()?, input.varint()?, input.varint()?);
    let codec = Codec::of(input.u8()?)?;
    check_lengths(codec, stored, plain)?;
    if codec.has_base() {
        return Err(wrong());
    }
    Ok(Base::Other { pack: *pack, offset, stored, plain, codec })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec((0..5u8, 0..9000u64, 0..5000u64, any::<u8>()), 0..40).prop_map(
            |seeds| {
                let mut end = HEADER.len() as u64;
                let mut rows: Vec<Row> = Vec::new();
                for (index, (codec, gap, length, seed)) in seeds.into_iter().enumerate() {
                    let mut codec = Codec::of(codec).unwrap();
                    if codec.has_base() && index == 0 {
                        codec = Codec::Zstd;
                    }
                    let (stored, plain) = match codec {
                        Codec::Raw => (length, length),
                        Codec::Zeros => (0, length),
                        _ => (length + 1, length * 3 + 2),
                    };
                    let base = codec.has_base().then(|| match seed % 2 {
                        0 => Base::Same(usize::from(seed) % index),
                        _ => Base::Other {
                            pack: Id([seed % 5; 32]),
                            offset: gap,
                            stored: 7,
                            plain: 7,
                            codec: Codec::Raw,
                        },
                    });
                    let id = digest::plain(&[seed]);
                    let offset = end + gap;
                    end = offset + stored;
                    let kind =
                        RecordKind::of([1, 2, 3, 4, 5, 128, 255][usize::from(seed) % 7]).unwrap();
                    rows.push(Row {
                        kind,
                        codec,
                        id,
                        checksum: [seed; 4],
                        offset,
                        stored,
                        plain,
                        base,
                    });
                }
                rows
            },
        )
    }

    proptest! {
        #[test]
        fn tables_round_trip_and_damage_never_panics(
            rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let table = encode_table(&rows, &[7; 16]);
            let place = 1 << 30;
            prop_assert_eq!(&decode_table(&table, place).unwrap(), &rows);
            let mut damaged = table.clone();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            prop_assert!(damaged == table || pack_id(&damaged) != pack_id(&table));
            let _ = decode_table(&damaged, place);
            prop_assert!(decode_table(&table[..at], place).is_err());
            if let Some(last) = rows.last() {
                let end = last.offset + last.stored;
                prop_assert!(decode_table(&table, end).is_ok());
                prop_assert!(end == 16 || decode_table(&table, end - 1).is_err());
            }
        }
    }

    #[test]
    fn counts_alone_allocate_nothing() {
        for (count, packs) in [(u64::MAX, 0), (1 << 22, 0), (0, u64::MAX), (0, 1 << 16)] {
            let mut out = Writer::default();
            out.u8(1);
            out.varint(0);
            out.varint(count);
            out.varint(packs);
            assert!(decode_table(out.bytes(), 1 << 40).is_err());
        }
    }

    #[test]
    fn trailers_that_point_outside_are_refused() {
        assert_eq!(table_place(100, encode_trailer(20)).unwrap(), (64, 20));
        for table in [69, 100, u64::MAX] {
            assert!(table_place(100, encode_trailer(table)).is_err());
        }
        assert!(table_place(3, encode_trailer(0)).is_err());
    }
}
