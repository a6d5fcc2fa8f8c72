//! Lists of packs that a collection condemns, and that it removes: intents and verdicts.
//!
//! ```text
//! magic    8 bytes: "FSINTENT" or "FSVERDCT"
//! count    varint
//! ids      32 bytes each, ascending
//! check    32 bytes: plain BLAKE3 of all before
//! ```
//! The objects of collection n are `gc/N.intent`, `gc/N.verdict` and `gc/N.closed`, where N is n in
//! 16 hex digits.

use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result, digest};

/// What an object of a collection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// These packs may be removed.
    Intent,
    /// These packs are removed.
    Verdict,
    /// The collection and all before it are over.
    Closed,
}

impl Stage {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Intent => *b"FSINTENT",
            Self::Verdict => *b"FSVERDCT",
            Self::Closed => *b"FSCLOSED",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Verdict => "verdict",
            Self::Closed => "closed",
        }
    }
}

/// Returns the bytes of a list of packs, which are sorted first.
pub fn encode(stage: Stage, packs: &[Id]) -> Vec<u8> {
    let mut packs = packs.to_vec();
    packs.sort_unstable();
    packs.dedup();
    let mut out = Writer::default();
    out.raw(&stage.magic());
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

/// Returns those packs of a list of `length` bytes that `is_wanted`. The list is read in pieces,
/// by `read`, which fills its buffer from an offset on. So memory depends on the packs that are
/// wanted, and not on what a file says of its length.
///
/// # Errors
/// Reading failed, or the bytes are not a list, or damaged.
pub fn decode_in_pieces(
    stage: Stage,
    length: u64,
    read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
    is_wanted: &mut dyn FnMut(&Id) -> bool,
) -> Result<Vec<Id>> {
    let body = length.checked_sub(CHECK_BYTES).ok_or_else(damaged)?;
    let mut bytes = vec![0; to_length(body.min(HEAD_BYTES_MAX))];
    read(0, &mut bytes)?;
    let mut input = Reader::new(&bytes);
    if input.raw(8).map_err(|_| damaged())? != stage.magic() {
        return Err(damaged());
    }
    let count = input.varint().map_err(|_| damaged())?;
    let head = bytes.len() as u64 - input.remaining() as u64;
    if count.checked_mul(ID_BYTES).and_then(|ids| ids.checked_add(head)) != Some(body) {
        return Err(damaged());
    }
    let mut hasher = digest::PlainHasher::default();
    hasher.update(&bytes[..to_length(head)]);
    let (mut wanted, mut last) = (Vec::new(), None);
    let mut at = head;
    while at < body {
        bytes.resize(to_length(PIECE_BYTES.min(body - at)), 0);
        read(at, &mut bytes)?;
        hasher.update(&bytes);
        for id in bytes.as_chunks::<32>().0.iter().map(|id| Id(*id)) {
            // So what is kept of a list is bounded by the packs that there are.
            if last.is_some_and(|last| last >= id) {
                return Err(damaged());
            }
            last = Some(id);
            if is_wanted(&id) {
                wanted.push(id);
            }
        }
        at += bytes.len() as u64;
    }
    let mut check = [0; 32];
    read(body, &mut check)?;
    if hasher.finish().0 == check { Ok(wanted) } else { Err(damaged()) }
}

fn damaged() -> Error {
    Error::corrupt("a list of condemned packs is damaged")
}

fn to_length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Returns the name of the object of collection `n`.
pub fn object_name(n: u64, stage: Stage) -> String {
    format!("gc/{n:016x}.{}", stage.word())
}

/// Returns the collection and the stage of the object of this name; `None` if it is not one.
pub fn of_object(name: &str) -> Option<(u64, Stage)> {
    let (digits, word) = name.strip_prefix("gc/")?.split_once('.')?;
    let n = u64::from_str_radix(digits, 16).ok().filter(|n| *n > 0)?;
    let stage = match word {
        "intent" => Stage::Intent,
        "verdict" => Stage::Verdict,
        "closed" => Stage::Closed,
        _ => return None,
    };
    (object_name(n, stage) == name).then_some((n, stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(stage: Stage, bytes: &[u8]) -> Result<Vec<Id>> {
        let mut read = |at: u64, out: &mut [u8]| {
            let at = to_length(at);
            let end = at.checked_add(out.len()).ok_or_else(damaged)?;
            out.copy_from_slice(bytes.get(at..end).ok_or_else(damaged)?);
            Ok(())
        };
        decode_in_pieces(stage, bytes.len() as u64, &mut read, &mut |_| true)
    }

    #[test]
    fn lists_round_trip_and_damage_is_noticed() {
        let packs = [Id([1; 32]), Id([2; 32])];
        for (stage, other) in [(Stage::Intent, Stage::Verdict), (Stage::Verdict, Stage::Intent)] {
            let bytes = encode(stage, &[packs[1], packs[0], packs[1]]);
            assert_eq!(decode(stage, &bytes).unwrap(), packs);
            assert!(decode(other, &bytes).is_err());
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert!(decode(stage, &damaged).is_err());
                assert!(decode(stage, &bytes[..at]).is_err());
            }
        }
    }

    #[test]
    fn names_are_of_one_collection_and_stage() {
        for stage in [Stage::Intent, Stage::Verdict, Stage::Closed] {
            assert_eq!(of_object(&object_name(77, stage)), Some((77, stage)));
        }
        assert_eq!(object_name(77, Stage::Closed), "gc/000000000000004d.closed");
        let bad = ["gc/4d.intent", "gc/0000000000000000.intent", "gc/000000000000004D.intent"];
        for bad in bad.iter().chain(&["gc/000000000000004d.retired", "x/000000000000004d.intent"]) {
            assert_eq!(of_object(bad), None, "{bad}");
        }
    }
}
