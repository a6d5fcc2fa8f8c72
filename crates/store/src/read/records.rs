//! Reading records, each proven by its hash: the source of every node and chunk that leaves a
//! store.

use crate::fence::Collections;
use crate::index::{Index, Place};
use crate::read::packs::Packs;
use freestone_backend::Object;
use freestone_core::plan::{ChunkSource, NodeKind, NodeSource};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::frame::decompress_into;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::references::decode_ids;
use freestone_format::segment::SegmentRow;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

/// The maximum of bases below a record. Each costs a read and a decoding.
pub const BASE_DEPTH_MAX: usize = 32;

/// How often a record is read if the backend may return other bytes the next time.
const READS_MAX: usize = 3;

/// Bytes that a thread keeps of its buffer for stored bytes.
const STORED_KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The buffer that a record is read into.
enum Target<'a> {
    /// As long as the record.
    Any(&'a mut Vec<u8>),
    /// For a record of this length.
    Exactly(&'a mut [u8]),
}

impl Target<'_> {
    /// Returns the buffer for the `plain` bytes that a row says.
    fn room(&mut self, plain: u64) -> Result<&mut [u8]> {
        match self {
            Self::Any(out) => {
                // No more than a chunk has: a row of more is refused.
                out.clear();
                out.resize(usize::try_from(plain).unwrap_or(0), 0);
                Ok(out)
            }
            Self::Exactly(out) if out.len() as u64 != plain => {
                let wanted = out.len();
                Err(Error::corrupt(format!(
                    "it is {plain} bytes long, but the manifest says {wanted}"
                )))
            }
            Self::Exactly(out) => Ok(out),
        }
    }
}

/// The records of a store. Cheap to clone; used by many threads at once.
#[derive(Clone)]
pub struct Records {
    pub index: Arc<Index>,
    pub packs: Arc<Packs>,
}

impl Records {
    /// Reads the record `id` into `out`. Returns false if the store does not have it.
    ///
    /// # Errors
    /// It is there, but cannot be read or is not what its id says.
    pub fn read(&self, kind: RecordKind, id: &Id, out: &mut Vec<u8>) -> Result<bool> {
        self.read_to(kind, id, &mut Target::Any(out))
    }

    fn read_to(&self, kind: RecordKind, id: &Id, out: &mut Target<'_>) -> Result<bool> {
        let outcome = self.read_listed(kind, id, out);
        // A compaction may have moved the record since the index was listed.
        match outcome {
            Ok(true) => Ok(true),
            _ if matches!(self.index.follow(self.packs.backend()), Ok(true)) => {
                self.read_listed(kind, id, out)
            }
            outcome => outcome,
        }
    }

    fn read_listed(&self, kind: RecordKind, id: &Id, out: &mut Target<'_>) -> Result<bool> {
        let mut failure = None;
        let mut each = |place: Place| {
            match self.read_place(&place, id, out) {
                Ok(proven) if proven => return Ok(true),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            Ok(false)
        };
        let found =
            match self.packs.is_cache() {
                false => self.index.find(kind, id, &mut each)?,
                true => {
                    let places = self.places(kind, id)?;
                    places.into_iter().try_fold(false, |found, place| {
                        if found { Ok(true) } else { each(place) }
                    })?
                }
            };
        match failure {
            Some(error) if !found => Err(error),
            _ => Ok(found),
        }
    }

    /// Returns where the record `id` may be: first what needs no request, then the newest.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn places(&self, kind: RecordKind, id: &Id) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        let outcome = self.index.find(kind, id, &mut |place| {
            places.push(place);
            Ok(false)
        });
        if places.is_empty() {
            outcome?;
        }
        if places.len() > 1 {
            places.sort_by_cached_key(|place| !self.is_at_hand(place));
        }
        Ok(places)
    }

    /// Returns true if the record at `place` is read without a request, with its bases.
    pub(crate) fn is_at_hand(&self, place: &Place) -> bool {
        let mut chain = Vec::new();
        self.chain(place, &mut chain).is_ok()
            && chain.iter().flat_map(ranges).all(|(pack, range)| {
                let object = self.packs.open_listed(pack);
                object.is_ok_and(|object| object.is_at_hand(range.start, range.end - range.start))
            })
    }

    /// Adds the places of the stored bytes that make a record to `chain`: its own, and those of its
    /// bases.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn chain(&self, place: &Place, chain: &mut Vec<Place>) -> Result<()> {
        let mut at = Some(place.clone());
        while let Some(place) = at {
            if chain.len() > BASE_DEPTH_MAX {
                return Err(too_deep());
            }
            at = place.base()?;
            if place.row.stored > 0 {
                chain.push(place);
            }
        }
        Ok(())
    }

    /// Reads the record at `place`. Returns false if it is another one than `id`.
    fn read_place(&self, place: &Place, id: &Id, out: &mut Target<'_>) -> Result<bool> {
        let mut tries = 1;
        let decoded = loop {
            let out = match out.room(place.row.plain) {
                Ok(out) => out,
                Err(error) => break Err(error),
            };
            let decoded = self.decode_into(place, out, 0);
            if decoded.is_ok() && place.row.kind.id_of(out) == Some(*id) {
                if self.packs.is_cache() {
                    self.each_of_chain(place, &mut |object, row| {
                        object.confirm(row.offset, row.stored);
                    });
                }
                return Ok(true);
            }
            if decoded.as_ref().is_err_and(|error| error.kind() != ErrorKind::Corrupt) {
                break decoded;
            }
            let mut again = false;
            self.each_of_chain(place, &mut |object, row| {
                again |= object.refute(row.offset, row.stored);
            });
            if !again || tries == READS_MAX {
                break decoded;
            }
            tries += 1;
        };
        // Another record with the same first bytes of its id is no damage. Where the pack's own
        // table cannot tell, the first error tells more.
        match self.packs.holds(place, id) {
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

    /// Returns why a record that is needed is not found.
    fn missing(&self, kind: RecordKind, id: &Id) -> Error {
        if self.packs.upstream().is_some_and(|upstream| upstream.offline) {
            return Error::not_found(format!("{} {id} is not here", kind.word()))
                .hint("`freestone fetch REV` without --offline brings a revision");
        }
        // A push could not bring it back: it is no damage.
        let collections = Collections::list(self.packs.backend());
        match collections.ok().and_then(|found| found.taken_down.get(id).copied()) {
            Some(sha1) => Error::not_found(format!("the content with SHA-1 {sha1} was taken down")),
            None => missing(kind, id),
        }
    }

    /// Calls `each` with the pack and the row of a record and of all its bases.
    fn each_of_chain(&self, place: &Place, each: &mut dyn FnMut(&dyn Object, &SegmentRow)) {
        let mut chain = Vec::new();
        // A chain that cannot be followed was not read along either.
        let _ = self.chain(place, &mut chain);
        for place in chain {
            if let Ok(object) = self.packs.open_listed(&place) {
                each(&*object, &place.row);
            }
        }
    }

    /// Decodes the record at `place`. It is not proven.
    pub fn decode(&self, place: &Place) -> Result<Vec<u8>> {
        self.decode_above(place, 0)
    }

    fn decode_above(&self, place: &Place, depth: usize) -> Result<Vec<u8>> {
        // No more than a chunk has: a row of more is refused.
        let mut out = vec![0; usize::try_from(place.row.plain).unwrap_or(0)];
        self.decode_into(place, &mut out, depth)?;
        Ok(out)
    }

    /// Decodes a record into `out`, which is as long as the row says.
    fn decode_into(&self, place: &Place, out: &mut [u8], depth: usize) -> Result<()> {
        let row = &place.row;
        if row.codec == Codec::Zeros {
            out.fill(0);
            return Ok(());
        }
        let base = match place.base()? {
            None => None,
            Some(_) if depth >= BASE_DEPTH_MAX => {
                return Err(too_deep());
            }
            Some(base) => Some(self.decode_above(&base, depth + 1)?),
        };
        let object = self.packs.open_listed(place)?;
        // What the segment says of the pack's length spares asking far away for it; where it says
        // nothing, reading fails beyond the end.
        let length = if place.pack_length == 0 { u64::MAX } else { place.pack_length };
        if row.offset.checked_add(row.stored).is_none_or(|end| end > length) {
            return Err(Error::corrupt("it lies outside its pack"));
        }
        if row.codec == Codec::Raw {
            // Its lengths are the same.
            return object.read_at(row.offset, out);
        }
        let stored = usize::try_from(row.stored).unwrap_or(0);
        STORED.with_borrow_mut(|buffer| {
            if buffer.len() < stored {
                buffer.resize(stored, 0);
            }
            let part = &mut buffer[..stored];
            object.read_at(row.offset, part)?;
            let outcome = match row.codec {
                Codec::ZstdBaseIds => self.decode_ids(place, part, base.as_deref(), out),
                _ => decompress_into(part, base.as_deref(), out),
            };
            // A server has many threads, each of which meets a large record one day.
            if buffer.len() > STORED_KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
            outcome
        })
    }

    /// Decodes a record whose ids are references to the table of its pack.
    fn decode_ids(
        &self,
        place: &Place,
        stored: &[u8],
        base: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<()> {
        let starts = self.packs.starts(place)?;
        // Of records that begin here, the last is the one that takes room.
        let own = starts.partition_point(|(start, _)| *start <= place.row.offset);
        let own =
            own.checked_sub(1).ok_or_else(|| Error::corrupt("its pack has no such record"))?;
        let id = |at| starts.get(at).map(|(_, id)| *id);
        out.copy_from_slice(&decode_ids(stored, own, base, out.len(), &id)?);
        Ok(())
    }

    /// Returns true if the store has the record `id`, by the table of a live pack, and something new
    /// may depend on it. A pack or segment that is missing or damaged counts as empty: at worst a
    /// record is stored twice.
    ///
    /// # Errors
    /// Reading failed.
    pub fn has(&self, kind: RecordKind, id: &Id) -> Result<bool> {
        let unless_damaged = |outcome: Result<bool>| match outcome {
            Err(error) if error.is_damage() => Ok(false),
            outcome => outcome,
        };
        unless_damaged(
            self.index
                .find_to_rely(kind, id, &mut |place| unless_damaged(self.packs.holds(&place, id))),
        )
    }
}

/// Returns the ranges of its pack that a record is read from, without those of its bases: its own,
/// and the table of the pack if that has its ids.
pub fn ranges(place: &Place) -> impl Iterator<Item = (&Place, Range<u64>)> {
    let own = place.row.offset..place.row.offset.saturating_add(place.row.stored);
    let table = (place.row.codec == Codec::ZstdBaseIds).then(|| place.table()).flatten();
    [Some(own), table].into_iter().flatten().map(move |range| (place, range))
}

impl NodeSource for Records {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        let kind = RecordKind::from(kind);
        let mut bytes = Vec::new();
        if self.read(kind, id, &mut bytes)? {
            return Ok(bytes.into());
        }
        Err(self.missing(kind, id))
    }
}

impl ChunkSource for Records {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        if self.read_to(RecordKind::Chunk, id, &mut Target::Exactly(out))? {
            Ok(())
        } else {
            Err(self.missing(RecordKind::Chunk, id))
        }
    }
}

fn too_deep() -> Error {
    Error::corrupt(format!("it lies above more than {BASE_DEPTH_MAX} bases"))
}

/// Returns the error for a record that is named but not listed.
pub fn missing(kind: RecordKind, id: &Id) -> Error {
    Error::corrupt(format!("{} {id} is missing from the store", kind.word())).hint(
        "if packs were copied in by hand, `freestone store reindex` finds them; \
         `freestone verify` lists all that is missing",
    )
}
