//! Which entries of a ref a collection kept.
//!
//! ```text
//! magic    8 bytes: "FSCOLLCT"
//! before   varint: says something of entries with lower numbers only
//! count    varint
//! kept     varints: the entries before that were kept, each less the one before it
//! check    32 bytes: plain BLAKE3 of all before
//! ```
//! The object of ref R is `refs/R/collected-X`, where X is 32 random hex digits. An entry is whole
//! unless one of these objects says that it was not kept.

use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Result, digest};

const MAGIC: &[u8; 8] = b"FSCOLLCT";
const CHECK_BYTES: usize = 32;
/// What the names of the objects begin with, after the folder of the ref.
const START: &str = "collected-";

/// The longest object that is read: millions of kept entries.
pub const BYTES_MAX: u64 = 16 << 20;

/// What a collection kept of a ref.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Of this entry and of later ones nothing is said.
    pub before: u64,
    /// The entries before it that were kept, ascending.
    pub kept: Vec<u64>,
}

impl Collected {
    /// Returns true if the revision of entry `n` may be gone, since it was not kept.
    pub fn may_lack(&self, n: u64) -> bool {
        n < self.before && self.kept.binary_search(&n).is_err()
    }

    /// Returns the bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.raw(MAGIC);
        out.varint(self.before);
        out.varint(self.kept.len() as u64);
        let mut last = 0;
        for n in &self.kept {
            out.varint(n - last);
            last = *n;
        }
        let check = digest::plain(out.bytes());
        out.id(&check);
        out.into_bytes()
    }

    /// Decodes the bytes of an object.
    ///
    /// # Errors
    /// They are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("what a collection kept of a ref is damaged");
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or_else(damaged)?;
        if digest::plain(body).0 != *check {
            return Err(damaged());
        }
        let mut input = Reader::new(body);
        if input.raw(MAGIC.len()).map_err(|_| damaged())? != MAGIC {
            return Err(damaged());
        }
        let before = input.varint().map_err(|_| damaged())?;
        let count = input.varint().map_err(|_| damaged())?;
        // Each takes a byte at least.
        if count > input.remaining() as u64 {
            return Err(damaged());
        }
        let (mut kept, mut last) = (Vec::new(), 0u64);
        for _ in 0..count {
            let more = input.varint().map_err(|_| damaged())?;
            last =
                last.checked_add(more).filter(|n| more > 0 && *n < before).ok_or_else(damaged)?;
            kept.push(last);
        }
        match input.remaining() {
            0 => Ok(Self { before, kept }),
            _ => Err(damaged()),
        }
    }
}

/// Returns the key of an object in the folder of its ref.
pub fn key(random: &[u8; 16]) -> String {
    random.iter().fold(START.to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// Returns true if an object of a ref's folder with this key is one of these.
pub fn is_key(key: &str) -> bool {
    let digits = key.strip_prefix(START).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_round_trips_and_damage_is_noticed() {
        let collected = Collected { before: 900, kept: vec![1, 5, 899] };
        let bytes = collected.encode();
        assert_eq!(Collected::decode(&bytes).unwrap(), collected);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Collected::decode(&damaged).is_err());
            assert!(Collected::decode(&bytes[..at]).is_err());
        }
        let none = Collected::default();
        assert_eq!(Collected::decode(&none.encode()).unwrap(), none);
        // A kept entry that is none of those before.
        let wrong = Collected { before: 5, kept: vec![5] };
        assert!(Collected::decode(&wrong.encode()).is_err());
        let twice = Collected { before: 5, kept: vec![3, 3] };
        assert!(Collected::decode(&twice.encode()).is_err());
    }

    #[test]
    fn an_entry_may_lack_its_revision_if_it_was_not_kept() {
        let collected = Collected { before: 10, kept: vec![2, 7] };
        let lacking: Vec<u64> = (1..12).filter(|n| collected.may_lack(*n)).collect();
        assert_eq!(lacking, [1, 3, 4, 5, 6, 8, 9]);
    }

    #[test]
    fn keys_are_told_from_places_and_hints() {
        assert!(is_key(&key(&[0xa7; 16])));
        for bad in ["latest", "7ffffffffffffff5", "collected-", "collected-0000000000000005"] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
