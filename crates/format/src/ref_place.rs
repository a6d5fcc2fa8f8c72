//! Places of a ref: the files of its log, each of which holds an entry or a barrier.
//!
//! ```text
//! an entry    the bytes of the entry
//! a barrier   magic "FSREFBR1" | extensions | ref name | place | collection, 0 for none
//!             bytes of the entry before it, a string, empty if there is none
//!             hash of all the bytes before
//! ```
//! Place p of ref R is the file `refs/R/K`, where K is 2^63 − p in 16 hex digits, so that the
//! newest comes first in a listing; a `/` of the name is written `%2F`.

use crate::ref_entry::{NAME_BYTES_MAX, RefEntry};
use freestone_core::digest::{self, context};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result};

const MAGIC: [u8; 8] = *b"FSREFBR1";
/// The longest entry that a barrier repeats.
const ENTRY_BYTES_MAX: usize = 16 << 10;
const KEY_TOP: u64 = 1 << 63;

/// What a place of a ref holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefPlace {
    /// The place, from 0.
    pub place: u64,
    /// The entry that the place holds, or repeats if it is a barrier; `None` where the ref is
    /// unborn.
    pub entry: Option<RefEntry>,
    /// The collection that the place is a barrier of, 0 at place 0; `None` if it holds an entry.
    pub barrier: Option<u64>,
}

impl RefPlace {
    /// Returns the place `place` with an entry.
    pub fn of_entry(place: u64, entry: RefEntry) -> Self {
        Self { place, entry: Some(entry), barrier: None }
    }

    /// Returns place 0 of a ref, which is unborn.
    pub fn unborn() -> Self {
        Self { place: 0, entry: None, barrier: Some(0) }
    }

    /// Returns the place after `before`, with a barrier of the collection `collection`.
    pub fn barrier_after(before: &Self, collection: u64) -> Self {
        Self {
            place: before.place.saturating_add(1),
            entry: before.entry.clone(),
            barrier: Some(collection),
        }
    }

    /// Returns the bytes of the file of this place of ref `name`.
    pub fn encode(&self, name: &str) -> Vec<u8> {
        let Some(collection) = self.barrier else {
            return self.entry.as_ref().map(RefEntry::encode).unwrap_or_default();
        };
        let mut out = Writer::default();
        out.raw(&MAGIC);
        out.string(&[]);
        out.string(name.as_bytes());
        out.varint(self.place);
        out.varint(collection);
        out.string(&self.entry.as_ref().map(RefEntry::encode).unwrap_or_default());
        let check = digest::derived(context::REF_ENTRY, out.bytes());
        out.id(&check);
        out.into_bytes()
    }

    /// Reads what [`Self::encode`] writes, and checks that it is place `place` of ref `name`.
    ///
    /// # Errors
    /// It is damaged, or another place, or of a later version.
    pub fn decode(name: &str, place: u64, bytes: &[u8]) -> Result<Self> {
        // The last byte of the magic is the version.
        let is_barrier = bytes.get(..MAGIC.len() - 1) == MAGIC.get(..MAGIC.len() - 1);
        let decoded = match is_barrier {
            true => Self::decode_barrier(name, place, bytes),
            false => Self::decode_entry(name, place, bytes),
        };
        decoded.map_err(|error| error.context(format!("place {place} of ref {name}")))
    }

    fn decode_entry(name: &str, place: u64, bytes: &[u8]) -> Result<Self> {
        let entry = RefEntry::decode(name, bytes)?;
        // Entry n has n places before it at least: place 0, and those of the entries before.
        match entry.n <= place {
            true => Ok(Self::of_entry(place, entry)),
            false => Err(Error::corrupt(format!("it holds entry {}", entry.n))),
        }
    }

    fn decode_barrier(name: &str, place: u64, bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("it is damaged");
        let (body, check) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if digest::derived(context::REF_ENTRY, body) != Id(*check) {
            return Err(damaged());
        }
        let mut input = Reader::new(body);
        if input.raw(MAGIC.len())? != MAGIC {
            return Err(Error::newer("it is of a later version"));
        }
        if !input.extensions()?.is_empty() {
            return Err(Error::newer("it has unknown extensions"));
        }
        let found = input.string(NAME_BYTES_MAX)?;
        let (number, collection) = (input.varint()?, input.varint()?);
        let entry = input.string(ENTRY_BYTES_MAX)?;
        input.finish()?;
        if found != name.as_bytes() || number != place {
            return Err(Error::corrupt("it is the barrier of another place"));
        }
        let entry = match entry {
            [] => None,
            bytes => Some(RefEntry::decode(name, bytes)?),
        };
        // Place 0 alone is no collection's barrier, and repeats no entry.
        if (place == 0) != (collection == 0) || entry.as_ref().is_some_and(|e| e.n >= place) {
            return Err(Error::corrupt("it is a barrier that cannot be there"));
        }
        Ok(Self { place, entry, barrier: Some(collection) })
    }
}

/// Returns the file name of place `place`.
pub fn key(place: u64) -> String {
    format!("{:016x}", KEY_TOP.saturating_sub(place))
}

/// Returns the place whose file name is `key`; `None` if it is not one.
pub fn place_of_key(text: &str) -> Option<u64> {
    let place = KEY_TOP.checked_sub(u64::from_str_radix(text, 16).ok()?)?;
    (key(place) == text).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ref_entry::RefAction;

    fn entry(n: u64) -> RefEntry {
        RefEntry {
            action: RefAction::Set(Id([3; 32])),
            name: "sites/www".into(),
            log_id: [5; 16],
            n,
            previous: (n > 1).then_some(Id([4; 32])),
            time: -7,
        }
    }

    #[test]
    fn every_flip_and_cut_of_a_place_is_noticed() {
        let name = "sites/www";
        let third = RefPlace::of_entry(3, entry(2));
        let barrier = RefPlace::barrier_after(&third, 9);
        let of_unborn = RefPlace::barrier_after(&RefPlace::unborn(), 9);
        for place in [third, barrier, RefPlace::unborn(), of_unborn] {
            let bytes = place.encode(name);
            assert_eq!(RefPlace::decode(name, place.place, &bytes).unwrap(), place);
            assert!(RefPlace::decode("main", place.place, &bytes).is_err());
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    assert!(RefPlace::decode(name, place.place, &damaged).is_err());
                }
                assert!(RefPlace::decode(name, place.place, &bytes[..at]).is_err());
            }
        }
    }

    #[test]
    fn an_entry_is_at_its_number_or_later() {
        let bytes = entry(2).encode();
        for (place, is_right) in [(0, false), (1, false), (2, true), (7, true)] {
            assert_eq!(RefPlace::decode("sites/www", place, &bytes).is_ok(), is_right, "{place}");
        }
    }

    #[test]
    fn a_barrier_that_cannot_be_there_is_damage() {
        let wrong = [
            RefPlace { place: 0, entry: None, barrier: Some(1) },
            RefPlace { place: 1, entry: None, barrier: Some(0) },
            RefPlace { place: 2, entry: Some(entry(2)), barrier: Some(1) },
        ];
        for place in wrong {
            let bytes = place.encode("sites/www");
            assert!(RefPlace::decode("sites/www", place.place, &bytes).is_err(), "{place:?}");
        }
        let moved =
            RefPlace::barrier_after(&RefPlace::of_entry(3, entry(2)), 1).encode("sites/www");
        assert!(RefPlace::decode("sites/www", 5, &moved).is_err());
    }

    #[test]
    fn newer_places_sort_first() {
        assert!(key(2) < key(1) && key(1) < key(0) && key(1 << 40) < key(3));
        assert_eq!(place_of_key(&key(77)), Some(77));
        assert_eq!(place_of_key(&key(0)), Some(0));
        assert_eq!(key(0), "8000000000000000");
        for bad in ["", "latest", "8000000000000001", "+7fffffffffffffe", "7FFFFFFFFFFFFFFE"] {
            assert_eq!(place_of_key(bad), None, "{bad}");
        }
    }
}
