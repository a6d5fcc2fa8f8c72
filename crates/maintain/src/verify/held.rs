//! What the packs hold, as far as it is needed to check what depends on it.
//!
//! ```text
//! record:  key of kind and id 8 | plain length × 8 + flags u32 | key of its SHA-1 8
//! ```
//! The records are in a temporary file ([`crate::sorted`]). Keys are hashes with a secret of this run, so that
//! nobody can make a record whose key is another's; by chance that happens once in 2^64 look-ups
//! divided by the number of records.

use crate::sorted::{Sorted, SortedWriter};
use freestone_core::{Id, Result, Sha1};
use freestone_format::record::RecordKind;
use std::hash::{BuildHasher, Hash, RandomState};

const RECORD_BYTES: usize = 20;

const LISTED: u32 = 1;
const DAMAGED: u32 = 2;
const HAS_SHA1: u32 = 4;
const FLAG_BITS: u32 = 3;

/// A hash with the secret of this run.
pub(super) type Key = u64;

/// A record that a pack holds.
#[derive(Clone, Copy)]
pub(super) struct HeldRecord {
    /// Plain bytes.
    pub(super) plain: u64,
    /// Whether a segment says rightly where it is.
    pub(super) listed: bool,
    /// Whether it cannot be read.
    pub(super) damaged: bool,
    /// The SHA-1 of a chunk, where data was read.
    pub(super) sha1: Option<Key>,
}

impl HeldRecord {
    fn encode(self, key: Key) -> [u8; RECORD_BYTES] {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        // The table's decoder has bounded the length by that of a chunk.
        let plain = u32::try_from(self.plain).unwrap_or(u32::MAX >> FLAG_BITS);
        let info = plain << FLAG_BITS
            | flag(self.listed, LISTED)
            | flag(self.damaged, DAMAGED)
            | flag(self.sha1.is_some(), HAS_SHA1);
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&key.to_be_bytes());
        bytes[8..12].copy_from_slice(&info.to_be_bytes());
        bytes[12..].copy_from_slice(&self.sha1.unwrap_or(0).to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> Self {
        let [_, _, _, _, _, _, _, _, a, b, c, d, sha1 @ ..] = *bytes;
        let info = u32::from_be_bytes([a, b, c, d]);
        Self {
            plain: u64::from(info >> FLAG_BITS),
            listed: info & LISTED != 0,
            damaged: info & DAMAGED != 0,
            sha1: (info & HAS_SHA1 != 0).then_some(Key::from_be_bytes(sha1)),
        }
    }
}

/// Makes keys.
#[derive(Clone, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    /// Returns the key of a record.
    pub(super) fn of(&self, kind: RecordKind, id: &Id) -> Key {
        self.key(&(kind, id.0))
    }

    /// Returns the key of a SHA-1.
    pub(super) fn of_sha1(&self, sha1: &Sha1) -> Key {
        self.key(&sha1.0)
    }

    fn key(&self, what: &impl Hash) -> Key {
        self.0.hash_one(what)
    }
}

/// Takes what the packs hold.
pub(super) struct HeldWriter {
    keys: Keys,
    records: SortedWriter<RECORD_BYTES>,
}

impl HeldWriter {
    /// Returns an empty set.
    pub(super) fn new(keys: Keys) -> Result<Self> {
        Ok(Self { keys, records: SortedWriter::new()? })
    }

    /// Adds a record; it may be there more than once.
    pub(super) fn add(&mut self, kind: RecordKind, id: &Id, record: HeldRecord) -> Result<()> {
        self.records.add(&record.encode(self.keys.of(kind, id)))
    }

    /// Sorts them.
    pub(super) fn finish(self) -> Result<Held> {
        Ok(Held { keys: self.keys, records: self.records.finish()? })
    }
}

/// What the packs hold, to be looked up.
#[derive(Default)]
pub(super) struct Held {
    keys: Keys,
    records: Sorted<RECORD_BYTES>,
}

impl Held {
    /// Returns what is known of a record; of several copies, of the one that is read.
    pub(super) fn get(&self, kind: RecordKind, id: &Id) -> Option<HeldRecord> {
        let key = self.keys.of(kind, id).to_be_bytes();
        let copies = self.records.with_key(&key);
        copies.map(HeldRecord::decode).max_by_key(|copy| (!copy.damaged, copy.listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_copy_of_a_record_is_found() {
        let keys = Keys::default();
        let mut held = HeldWriter::new(keys.clone()).unwrap();
        let record = HeldRecord { plain: 7, listed: false, damaged: false, sha1: None };
        for number in 0..1000u32 {
            let id = freestone_core::digest::plain(&number.to_le_bytes());
            let record = HeldRecord { plain: u64::from(number) << 12, ..record };
            held.add(RecordKind::Chunk, &id, record).unwrap();
        }
        let id = Id([1; 32]);
        let sha1 = keys.of_sha1(&Sha1([2; 20]));
        held.add(RecordKind::Chunk, &id, HeldRecord { damaged: true, listed: true, ..record })
            .unwrap();
        held.add(RecordKind::Chunk, &id, HeldRecord { sha1: Some(sha1), ..record }).unwrap();
        let held = held.finish().unwrap();
        for number in 0..1000u32 {
            let id = freestone_core::digest::plain(&number.to_le_bytes());
            let found = held.get(RecordKind::Chunk, &id).unwrap();
            assert_eq!((found.plain, found.sha1), (u64::from(number) << 12, None));
            assert!(held.get(RecordKind::Revision, &id).is_none());
        }
        let best = held.get(RecordKind::Chunk, &id).unwrap();
        assert_eq!((best.damaged, best.listed, best.sha1), (false, false, Some(sha1)));
        let none = HeldWriter::new(keys).unwrap().finish().unwrap();
        assert!(none.get(RecordKind::Chunk, &id).is_none());
    }
}
