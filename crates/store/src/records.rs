//! Reading records, proven: the source of every node and chunk that leaves a store.

use crate::format::record::{Codec, RecordKind};
use crate::index::{Index, Place};
use crate::packs::Packs;
use freestone_core::plan::{ChunkSource, NodeKind, NodeSource};
use freestone_core::{Error, ErrorKind, Id, Result};
use std::cell::RefCell;
use std::sync::Arc;

/// How many bases a record may lie above; each costs a read and a decoding.
pub const BASE_DEPTH_MAX: usize = 32;

thread_local! {
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static DECODER: RefCell<zstd::zstd_safe::DCtx<'static>> =
        RefCell::new(zstd::zstd_safe::DCtx::create());
}

/// The records of a store. Cheap to clone; used by many threads at once.
#[derive(Clone)]
pub struct Records {
    pub(crate) index: Arc<Index>,
    pub(crate) packs: Arc<Packs>,
}

impl Records {
    /// Reads the record `id` into `out`; false if the store does not have it.
    ///
    /// # Errors
    /// It is there, but cannot be read or is not what its id says.
    pub fn read(&self, kind: RecordKind, id: &Id, out: &mut Vec<u8>) -> Result<bool> {
        let mut failure = None;
        let found = self.index.find(kind, id, &mut |place| {
            match self.read_place(&place, id, out) {
                Ok(proven) if proven => return Ok(true),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            Ok(false)
        })?;
        match failure {
            Some(error) if !found => Err(error),
            _ => Ok(found),
        }
    }

    /// Reads what lies at `place`; false if it is another record than `id`.
    fn read_place(&self, place: &Place, id: &Id, out: &mut Vec<u8>) -> Result<bool> {
        let decoded = self.decode(place, out, 0);
        if decoded.is_ok() && place.row.kind.id_of(out) == Some(*id) {
            return Ok(true);
        }
        // Another record with the same first bytes of its id is no damage. Where the pack's own
        // table cannot tell, the first error tells more.
        match self.packs.holds(&place.pack, place.row.offset, id) {
            Ok(false) => return Ok(false),
            Err(error) if error.is_newer() => return Err(error),
            _ => {}
        }
        let word = place.row.kind.word();
        let place = format!("{word} {id} in pack {} at {}", place.pack, place.row.offset);
        match decoded {
            Err(error) => Err(error.context(place)),
            Ok(()) => Err(Error::corrupt(format!("{place} is damaged"))
                .hint("`freestone verify --data` lists all that is damaged")),
        }
    }

    /// Decodes what lies at `place`, unproven.
    pub(crate) fn decode(&self, place: &Place, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let row = &place.row;
        let plain = usize::try_from(row.plain).unwrap_or(0);
        if row.codec == Codec::Zeros {
            out.clear();
            out.resize(plain, 0);
            return Ok(());
        }
        let base = match place.base()? {
            None => None,
            Some(_) if depth >= BASE_DEPTH_MAX => {
                return Err(Error::corrupt(format!(
                    "it lies above more than {BASE_DEPTH_MAX} bases"
                )));
            }
            Some(base) => {
                let mut bytes = Vec::new();
                self.decode(&base, &mut bytes, depth + 1)?;
                Some(bytes)
            }
        };
        let object = self.packs.open(&place.pack)?;
        if row.offset.checked_add(row.stored).is_none_or(|end| end > object.length()) {
            return Err(Error::corrupt("it lies outside its pack"));
        }
        let stored = usize::try_from(row.stored).unwrap_or(0);
        if row.codec == Codec::Raw {
            out.resize(stored, 0);
            return object.read_at(row.offset, out);
        }
        STORED.with_borrow_mut(|buffer| {
            if buffer.len() < stored {
                buffer.resize(stored, 0);
            }
            let buffer = &mut buffer[..stored];
            object.read_at(row.offset, buffer)?;
            decompress(buffer, base.as_deref(), plain, out)
        })
    }

    /// Whether the store has the record `id`, by the table of a live pack. A pack or segment that
    /// is missing or damaged has nothing: what is then stored again is stored twice at worst.
    ///
    /// # Errors
    /// Reading failed.
    pub fn has(&self, kind: RecordKind, id: &Id) -> Result<bool> {
        let unless_damaged = |outcome: Result<bool>| match outcome {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            outcome => outcome,
        };
        unless_damaged(self.index.find(kind, id, &mut |place| {
            unless_damaged(self.packs.holds(&place.pack, place.row.offset, id))
        }))
    }
}

/// Decompresses one zstd frame of exactly `plain` bytes into `out`.
pub(crate) fn decompress(
    stored: &[u8],
    base: Option<&[u8]>,
    plain: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let failed = |code| {
        Error::corrupt(format!(
            "its bytes are no zstd frame: {}",
            zstd::zstd_safe::get_error_name(code)
        ))
    };
    out.clear();
    out.reserve(plain);
    let length = match base {
        None => DECODER.with_borrow_mut(|decoder| decoder.decompress(out, stored)),
        Some(base) => {
            let mut decoder = zstd::zstd_safe::DCtx::create();
            decoder.ref_prefix(base).map_err(failed)?;
            decoder.decompress(out, stored)
        }
    }
    .map_err(failed)?;
    if length == plain {
        Ok(())
    } else {
        Err(Error::corrupt(format!("it is {length} bytes long in place of {plain}")))
    }
}

impl NodeSource for Records {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        let kind = RecordKind::from(kind);
        let mut bytes = Vec::new();
        if self.read(kind, id, &mut bytes)? {
            return Ok(bytes.into());
        }
        Err(missing(kind, id))
    }
}

impl ChunkSource for Records {
    fn chunk(&self, id: &Id, length: u64, out: &mut Vec<u8>) -> Result<()> {
        if !self.read(RecordKind::Chunk, id, out)? {
            return Err(missing(RecordKind::Chunk, id));
        }
        if out.len() as u64 == length {
            Ok(())
        } else {
            Err(Error::corrupt(format!(
                "chunk {id} is {} bytes long, but the manifest says {length}",
                out.len()
            )))
        }
    }
}

fn missing(kind: RecordKind, id: &Id) -> Error {
    Error::corrupt(format!("{} {id} is missing from the store", kind.word())).hint(
        "if packs were copied in by hand, `freestone store reindex` finds them; \
         `freestone verify` lists all that is missing",
    )
}
