//! Packs made by hand: with what no push writes yet, or never would.

use freestone_backend::Backend;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::pack::{self, Base, HEADER, Row};
use freestone_format::record::{Codec, RecordKind, checksum};
use freestone_format::segment::{self, SegmentPack, SegmentParts, SegmentRow};

/// A pack in the making.
pub struct Forge {
    /// What the table will say.
    pub rows: Vec<Row>,
    /// The bytes before the table.
    pub bytes: Vec<u8>,
}

impl Default for Forge {
    fn default() -> Self {
        Self { rows: Vec::new(), bytes: HEADER.to_vec() }
    }
}

impl Forge {
    /// Adds a record whose id is that of `plain`, stored with `codec`; gives its index.
    ///
    /// # Errors
    /// zstd failed, or the codec needs a base.
    pub fn add(&mut self, kind: RecordKind, codec: Codec, plain: &[u8]) -> Result<usize> {
        let stored = match codec {
            Codec::Raw => plain.to_vec(),
            Codec::Zeros => Vec::new(),
            Codec::Zstd => compress(plain, &[])?,
            Codec::ZstdBase | Codec::ZstdBaseIds => {
                return Err(Error::new(ErrorKind::Usage, "a base is needed"));
            }
        };
        let id = kind.id_of(plain).unwrap_or(Id([0xee; 32]));
        Ok(self.put(kind, id, codec, &stored, plain.len() as u64, None))
    }

    /// Adds a chunk that is stored with the bytes `base_plain` of `base` as dictionary.
    ///
    /// # Errors
    /// zstd failed.
    pub fn add_above(&mut self, base: Base, base_plain: &[u8], plain: &[u8]) -> Result<usize> {
        let stored = compress(plain, base_plain)?;
        let kind = RecordKind::Chunk;
        let id = kind.id_of(plain).unwrap_or(Id([0; 32]));
        Ok(self.put(kind, id, Codec::ZstdBase, &stored, plain.len() as u64, Some(base)))
    }

    /// Adds a record that is as it is said to be; gives its index.
    pub fn put(
        &mut self,
        kind: RecordKind,
        id: Id,
        codec: Codec,
        stored: &[u8],
        plain: u64,
        base: Option<Base>,
    ) -> usize {
        self.rows.push(Row {
            kind,
            codec,
            id,
            checksum: checksum(stored),
            offset: self.bytes.len() as u64,
            stored: stored.len() as u64,
            plain,
            base,
        });
        self.bytes.extend_from_slice(stored);
        self.rows.len() - 1
    }

    /// Returns the base that record `at` makes for a record of another pack; `pack` is this one's
    /// id.
    pub fn base(&self, pack: Id, at: usize) -> Base {
        let Row { offset, stored, plain, codec, .. } = self.rows[at];
        Base::Other { pack, offset, stored, plain, codec }
    }

    /// Writes the pack.
    ///
    /// # Errors
    /// The backend failed.
    pub fn write(&self, backend: &dyn Backend) -> Result<Id> {
        write_pack(backend, &self.bytes, &pack::encode_table(&self.rows, &[7; 16]))
    }
}

impl Forge {
    /// Returns what a segment says that lists this pack; bases in other packs left out.
    pub fn listed(&self, pack: Id) -> SegmentParts {
        let length = self.bytes.len() as u64;
        let row = |row: &Row| SegmentRow {
            prefix: segment::prefix(&row.id.0),
            pack: 0,
            offset: row.offset,
            stored: row.stored,
            plain: row.plain,
            kind: row.kind,
            codec: row.codec,
            base: match row.base {
                Some(Base::Same(at)) => Some(at as u64),
                _ => None,
            },
        };
        let table = pack::encode_table(&self.rows, &[7; 16]).len() as u64;
        let length = length + table + pack::TRAILER_BYTES;
        let packs = vec![SegmentPack { id: pack, length, table }];
        SegmentParts { packs, rows: self.rows.iter().map(row).collect(), ..SegmentParts::default() }
    }
}

/// Writes a segment of tier 0; `time` orders it among others.
///
/// # Errors
/// The backend failed.
pub fn write_segment(backend: &dyn Backend, time: u64, parts: SegmentParts) -> Result<()> {
    let (bytes, id) = parts.encode();
    backend.create(&format!("index/{}", segment::file_name(0, time, &id)), &bytes)?;
    Ok(())
}

/// Writes a pack of these bytes, header included, and this table.
///
/// # Errors
/// The backend failed.
pub fn write_pack(backend: &dyn Backend, bytes: &[u8], table: &[u8]) -> Result<Id> {
    let id = pack::pack_id(table);
    let pack = [bytes, table, &pack::encode_trailer(table.len() as u64)].concat();
    backend.create(&pack_name(&id), &pack)?;
    Ok(id)
}

/// Returns the name of a pack's object.
pub fn pack_name(id: &Id) -> String {
    let id = id.to_string();
    format!("packs/{}/{id}.pack", &id[..2])
}

/// Returns one zstd frame of `plain`, with `base` as dictionary if that is not empty.
///
/// # Errors
/// zstd failed.
pub fn compress(plain: &[u8], base: &[u8]) -> Result<Vec<u8>> {
    let failed = |code| Error::new(ErrorKind::Failed, zstd::zstd_safe::get_error_name(code));
    let mut context = zstd::zstd_safe::CCtx::create();
    let magicless = zstd::zstd_safe::FrameFormat::Magicless;
    context.set_parameter(zstd::zstd_safe::CParameter::Format(magicless)).map_err(failed)?;
    if !base.is_empty() {
        context.ref_prefix(base).map_err(failed)?;
    }
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
    context.compress2(&mut out, plain).map_err(failed)?;
    Ok(out)
}
