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

/// Bytes of a list that are read at once.
const PIECE_BYTES: u64 = 32 << 10;
/// The longest head of a list: the magic and a varint.
const HEAD_BYTES_MAX: u64 = 8 + 10;
const CHECK_BYTES: u64 = 32;
const ID_BYTES: u64 = 32;

/// Calls `each` with the packs of a list of `length` bytes, in order. The list is read in pieces, by
/// `read`, which fills its buffer from an offset on. So memory does not depend on what a file says
/// of its length. The packs count only if there is no error.
///
/// # Errors
/// Reading failed, or the bytes are not a list, or damaged.
pub fn decode_in_pieces(
    length: u64,
    read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
    each: &mut dyn FnMut(Id),
) -> Result<()> {
    let body = length.checked_sub(CHECK_BYTES).ok_or_else(damaged)?;
    let mut bytes = vec![0; to_length(body.min(HEAD_BYTES_MAX))];
    read(0, &mut bytes)?;
    let mut input = Reader::new(&bytes);
    if input.raw(8).map_err(|_| damaged())? != MAGIC {
        return Err(damaged());
    }
    let count = input.varint().map_err(|_| damaged())?;
    let head = bytes.len() as u64 - input.remaining() as u64;
    if count.checked_mul(ID_BYTES).and_then(|ids| ids.checked_add(head)) != Some(body) {
        return Err(damaged());
    }
    let mut hasher = digest::PlainHasher::default();
    hasher.update(&bytes[..to_length(head)]);
    let mut at = head;
    while at < body {
        bytes.resize(to_length(PIECE_BYTES.min(body - at)), 0);
        read(at, &mut bytes)?;
        hasher.update(&bytes);
        bytes.as_chunks::<32>().0.iter().for_each(|id| each(Id(*id)));
        at += bytes.len() as u64;
    }
    let mut check = [0; 32];
    read(body, &mut check)?;
    if hasher.finish().0 == check { Ok(()) } else { Err(damaged()) }
}

/// Returns the packs of a list.
///
/// # Errors
/// The bytes are not a list, or damaged.
pub fn decode(bytes: &[u8]) -> Result<Vec<Id>> {
    let mut read = |at: u64, out: &mut [u8]| {
        let at = to_length(at);
        let end = at.checked_add(out.len()).ok_or_else(damaged)?;
        out.copy_from_slice(bytes.get(at..end).ok_or_else(damaged)?);
        Ok(())
    };
    let mut packs = Vec::new();
    decode_in_pieces(bytes.len() as u64, &mut read, &mut |id| packs.push(id))?;
    Ok(packs)
}

fn damaged() -> Error {
    Error::corrupt("a list of retired packs is damaged")
        .hint("`freestone store reindex` removes it, and lists its packs again")
}

fn to_length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
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
