//! Lists of packs whose records lie in others now: what a compaction leaves to be removed.
//!
//! ```text
//! name     gc/<nanoseconds since 1970, 16 hex digits>.retired
//! magic    8 bytes: "FSRETIRE"
//! count    varint
//! ids      32 bytes each
//! check    32 bytes: plain BLAKE3 of all before
//! ```

use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result, digest};

const MAGIC: [u8; 8] = *b"FSRETIRE";

/// Returns the bytes of a list.
pub fn encode(packs: &[Id]) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(&MAGIC);
    out.varint(packs.len() as u64);
    packs.iter().for_each(|pack| out.id(pack));
    let check = digest::plain(out.bytes());
    out.id(&check);
    out.into_bytes()
}

/// Returns the packs of a list.
///
/// # Errors
/// The bytes are not a list, or are damaged.
pub fn decode(bytes: &[u8]) -> Result<Vec<Id>> {
    let damaged = || Error::corrupt("a list of retired packs is damaged");
    let (body, check) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    if digest::plain(body).0 != *check {
        return Err(damaged());
    }
    let mut input = Reader::new(body);
    if input.raw(8)? != MAGIC {
        return Err(damaged());
    }
    let count = input.varint()?;
    if count.checked_mul(32) != Some(input.remaining() as u64) {
        return Err(damaged());
    }
    (0..count).map(|_| input.id()).collect()
}

/// Returns the name of a list that was written at `time`, nanoseconds since 1970.
pub fn object_name(time: u64) -> String {
    format!("gc/{time:016x}.retired")
}

/// Returns when the list of this name was written; `None` if it is not a list's.
pub fn time_of_object(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("gc/")?.strip_suffix(".retired")?;
    if digits.len() != 16 {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip_and_damage_is_noticed() {
        let packs = [Id([1; 32]), Id([2; 32])];
        let bytes = encode(&packs);
        assert_eq!(decode(&bytes).unwrap(), packs);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err());
            assert!(decode(&bytes[..at]).is_err());
        }
        assert_eq!(time_of_object(&object_name(77)), Some(77));
        assert_eq!(time_of_object("gc/x.retired"), None);
    }
}
