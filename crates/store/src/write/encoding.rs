//! How a record is stored: its codec, and its base if it has one.
//!
//! [`choose`] decides for every record that is not a part of a larger content, `ChunkEncoding`
//! for the chunks of a larger content, `leave_out_ids` where a node or a revision may leave ids
//! out, and `choose_copied` for a record of another store. All else in this folder only finds
//! bases, and writes what was chosen.
//!
//! Two rules hold for all of them. Bytes that a codec does not make shorter are stored as they are.
//! And 64 KiB or more are stored as they are unless a codec saves at least a sixteenth, so that
//! they can be shared by reflink and read without a copy.

use super::bases::{BasePlace, Basis};
use super::sample::{SAMPLE_BYTES, is_promising, is_text_like};
use freestone_core::Result;
use freestone_core::limits::ALIGNED_CONTENT_BYTES_MIN;
use freestone_format::frame::{compress, compress_over, decompress};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::references;
use std::borrow::Cow;

/// zstd's level for a push that has a base: little is tried beyond what has changed.
const PUSH_BASE_LEVEL: i32 = 6;
/// zstd's level for text in a long series, and for other bytes, which come out equally long at any
/// level. Level 19 takes five times as long to save one part in a hundred of what 620 commits of a
/// site take.
const SERIES_TEXT_LEVEL: i32 = 9;
const SERIES_DENSE_LEVEL: i32 = 3;
/// zstd's level for nodes and revisions of a long series.
const SERIES_NODE_LEVEL: i32 = 6;

/// A frame over a base that is this many times shorter than what it holds is taken at once: storing
/// the record without a base is not tried.
const NEAR: usize = 8;
/// The same for a frame with ids left out.
const NEAR_WITHOUT_IDS: usize = 4;
/// In a push, a base must save this part of what is stored without it. If it saves less, every read
/// would pay for nothing.
const OVER_GAIN: usize = 16;
/// The same for a base in another pack. The next versions cannot have this record as their base,
/// only its base, from which they differ more and more: a new base is worth half of its bytes.
const OTHER_PACK_GAIN: usize = 2;
/// The part that a base must save where there is time to look for the smallest.
const BEST_GAIN: usize = 64;
/// The bytes of a reference to an id that was left out, roughly.
const REFERENCE_BYTES: usize = 3;

/// How much time is spent to make records small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Little, since somebody waits for the push.
    Push,
    /// About ten times as much, for a long series of revisions.
    Series,
    /// As much as this level of zstd takes, 1 to 22.
    Level(i32),
}

/// Bytes as they are to be stored.
#[derive(Debug)]
pub struct Encoded<'a> {
    pub codec: Codec,
    pub stored: Cow<'a, [u8]>,
    /// The base, if the codec has one.
    pub base: Option<BasePlace>,
}

impl<'a> Encoded<'a> {
    /// Returns bytes that are stored as they are.
    pub fn raw(plain: &'a [u8]) -> Self {
        Self { codec: Codec::Raw, stored: plain.into(), base: None }
    }

    /// Returns the way in which zeros are stored.
    pub fn zeros() -> Self {
        Self { codec: Codec::Zeros, stored: Cow::Borrowed(&[]), base: None }
    }

    /// Returns a frame of zstd without a base.
    pub fn zstd(frame: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { codec: Codec::Zstd, stored: frame.into(), base: None }
    }

    fn over(frame: Vec<u8>, base: BasePlace) -> Self {
        Self { codec: Codec::ZstdBase, stored: frame.into(), base: Some(base) }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn is_large(plain: &[u8]) -> bool {
    plain.len() as u64 >= ALIGNED_CONTENT_BYTES_MIN
}

/// Chooses how a record is stored: alone, or as a difference to one of `bases`. A chunk is taken as
/// a whole content. A push considers the first base only.
///
/// # Errors
/// zstd failed.
pub fn choose<'a>(
    kind: RecordKind,
    plain: &'a [u8],
    bases: Vec<Basis>,
    effort: Effort,
) -> Result<Encoded<'a>> {
    let level = match effort {
        Effort::Push => return choose_quickly(kind, plain, bases.into_iter().next()),
        Effort::Series if kind != RecordKind::Chunk => SERIES_NODE_LEVEL,
        Effort::Series if is_text_like(plain)? => SERIES_TEXT_LEVEL,
        Effort::Series => SERIES_DENSE_LEVEL,
        Effort::Level(level) => level,
    };
    choose_smallest(plain, bases, level)
}

fn choose_quickly(kind: RecordKind, plain: &[u8], basis: Option<Basis>) -> Result<Encoded<'_>> {
    let alone = || match kind {
        RecordKind::Chunk if is_large(plain) => Ok(encode_large(&[plain])?.swap_remove(0)),
        _ => encode(plain),
    };
    let Some(basis) = basis else { return alone() };
    let over = compress_over(plain, Some(&basis.bytes), PUSH_BASE_LEVEL)?;
    // If most of it is in the base, it is not worth the time to see how long it is alone.
    if over.len() >= plain.len() / NEAR {
        let alone = alone()?;
        let to_save = match &basis.place {
            _ if is_large(plain) && alone.codec == Codec::Raw => plain.len() / 16,
            BasePlace::Lane { .. } => alone.stored.len() / OVER_GAIN,
            BasePlace::Pack { .. } => alone.stored.len() / OTHER_PACK_GAIN,
        };
        if alone.codec == Codec::Zeros || over.len() + to_save >= alone.stored.len() {
            return Ok(alone);
        }
    }
    Ok(Encoded::over(over, basis.place))
}

/// Chooses the shortest way, with time to try all bases.
fn choose_smallest(plain: &[u8], mut bases: Vec<Basis>, level: i32) -> Result<Encoded<'_>> {
    if is_zero(plain) {
        return Ok(Encoded::zeros());
    }
    let mut over: Option<(Vec<u8>, usize)> = None;
    for (number, basis) in bases.iter().enumerate() {
        let frame = compress_over(plain, Some(&basis.bytes), level)?;
        let gain = |best: &Vec<u8>| frame.len() + best.len() / BEST_GAIN < best.len();
        if over.as_ref().is_none_or(|(best, _)| gain(best)) {
            over = Some((frame, number));
        }
    }
    let mut best = Encoded::raw(plain);
    // If most of it is in a base, it is not worth the time to see how long it is alone.
    if over.as_ref().is_none_or(|(frame, _)| frame.len() >= plain.len() / NEAR) {
        let alone = compress_over(plain, None, level)?;
        if alone.len() < plain.len() {
            best = Encoded::zstd(alone);
        }
    }
    if let Some((frame, number)) = over
        && frame.len() + best.stored.len() / BEST_GAIN < best.stored.len()
    {
        best = Encoded::over(frame, bases.swap_remove(number).place);
    }
    let saved = plain.len() - best.stored.len();
    if is_large(plain) && saved < plain.len() / 16 {
        best = Encoded::raw(plain);
    }
    Ok(best)
}

/// A record's frame over a base, with ids left out.
pub(super) struct WithoutIds {
    pub(super) frame: Vec<u8>,
    /// The gap before each id that was left out.
    pub(super) gaps: Vec<usize>,
}

/// Compresses a node or a revision over `base` without the ids at `places`; `None` if it is shorter
/// with them.
///
/// # Errors
/// zstd failed.
pub(super) fn leave_out_ids(
    plain: &[u8],
    places: &[usize],
    base: &[u8],
    effort: Effort,
) -> Result<Option<WithoutIds>> {
    let level = match effort {
        Effort::Level(level) => level,
        Effort::Push | Effort::Series => SERIES_NODE_LEVEL,
    };
    let (rest, gaps) = references::leave_out(plain, places);
    let frame = compress_over(&rest, Some(base), level)?;
    let length = frame.len() + REFERENCE_BYTES * places.len();
    let is_shortest = length < plain.len() / NEAR_WITHOUT_IDS
        || length < compress_over(plain, None, level)?.len();
    Ok(is_shortest.then_some(WithoutIds { frame, gaps }))
}

/// Chooses how a chunk that is copied from another store is stored: as in that store, unless it has
/// a base there. `stored` is its codec there with the stored bytes, which are used only if they are
/// a frame of `plain`.
///
/// # Errors
/// zstd failed.
pub(super) fn choose_copied<'a>(plain: &'a [u8], stored: (Codec, &'a [u8])) -> Result<Encoded<'a>> {
    let (codec, stored) = stored;
    match codec {
        // Another place of the record may have been read, because this one is damaged.
        Codec::Zstd if decompress(stored, None, plain.len()).is_ok_and(|again| again == plain) => {
            Ok(Encoded::zstd(stored))
        }
        Codec::Raw => Ok(Encoded::raw(plain)),
        _ if is_large(plain) => Ok(encode_large(&[plain])?.swap_remove(0)),
        _ => encode(plain),
    }
}

/// The choice for all chunks of one larger content: compressed where that helps, or all as they
/// are. The first chunks that it is given decide.
#[derive(Default)]
pub(super) struct ChunkEncoding {
    is_compressed: Option<bool>,
}

impl ChunkEncoding {
    /// Encodes the next chunks of the content.
    ///
    /// # Errors
    /// zstd failed.
    pub(super) fn encode<'a>(&mut self, chunks: &[&'a [u8]]) -> Result<Vec<Encoded<'a>>> {
        let raw = || chunks.iter().map(|chunk| Encoded::raw(chunk)).collect();
        match self.is_compressed {
            Some(false) => Ok(raw()),
            Some(true) => chunks.iter().map(|chunk| encode(chunk)).collect(),
            None => {
                let length: usize = chunks.iter().map(|chunk| chunk.len()).sum();
                let encoded = match length as u64 {
                    0..ALIGNED_CONTENT_BYTES_MIN => raw(),
                    _ => encode_large(chunks)?,
                };
                self.is_compressed = Some(encoded.iter().any(|e| e.codec != Codec::Raw));
                Ok(encoded)
            }
        }
    }
}

/// Encodes a record in the shortest way without a base.
fn encode(plain: &[u8]) -> Result<Encoded<'_>> {
    if is_zero(plain) {
        return Ok(Encoded::zeros());
    }
    // Noise does not save a byte anywhere.
    if is_promising(plain, SAMPLE_BYTES)? {
        let compressed = compress(plain)?;
        if compressed.len() < plain.len() {
            return Ok(Encoded::zstd(compressed));
        }
    }
    Ok(Encoded::raw(plain))
}

/// Encodes the chunks of a content of at least 64 KiB: compressed if that saves at least a
/// sixteenth of all together, or all as they are.
fn encode_large<'a>(chunks: &[&'a [u8]]) -> Result<Vec<Encoded<'a>>> {
    let plain: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    debug_assert!(plain as u64 >= ALIGNED_CONTENT_BYTES_MIN);
    let mut encoded = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        // A chunk need only promise half of what is asked of the whole.
        let is_promising = is_promising(chunk, SAMPLE_BYTES / 32 * 31)?;
        encoded.push(if is_promising { encode(chunk)? } else { Encoded::raw(chunk) });
    }
    let stored: usize = encoded.iter().map(|chunk| chunk.stored.len()).sum();
    if plain - stored.min(plain) >= plain / 16 {
        return Ok(encoded);
    }
    Ok(chunks.iter().map(|chunk| Encoded::raw(chunk)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a base and what may be stored over it: anything, or a few edits away.
    fn pairs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        // Bytes that zstd takes for a dictionary of its own kind, unless it is set to raw ones.
        let magic = Just(vec![0x37, 0xa4, 0x30, 0xec]);
        let bytes = || prop::collection::vec(any::<u8>(), 0..3000);
        let base =
            (prop_oneof![Just(Vec::new()), magic], bytes()).prop_map(|(a, b)| [a, b].concat());
        let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        (base, bytes(), edits, any::<bool>()).prop_map(|(base, other, edits, near)| {
            let mut plain = if near { base.clone() } else { other };
            for (at, byte) in edits {
                let at = at.index(plain.len() + 1);
                plain.splice(at..(at + usize::from(byte % 3)).min(plain.len()), [byte; 5]);
            }
            (base, plain)
        })
    }

    /// Bytes that are evenly spread and repeat: no code for single bytes saves any of them.
    #[test]
    fn noise_that_repeats_is_compressed() {
        for length in [20_000, 100_000] {
            let parts = (0..).map(|seed| freestone_testkit::noise(1500, seed));
            let twice = parts.flat_map(|part| [&part[..], &part[..300]].concat());
            let bytes: Vec<u8> = twice.take(length).collect();
            assert_eq!(encode_large_or_small(&bytes), Codec::Zstd, "{length}");
        }
    }

    #[test]
    fn noise_is_stored_as_it_is_and_text_is_not() {
        for length in [20_000, 100_000] {
            let (noise, text) =
                (freestone_testkit::noise(length, 1), freestone_testkit::text(length, 1));
            for half in [0, length / 2] {
                let mixed = [&noise[..half], &text[half..]].concat();
                let encoded = encode_large_or_small(&mixed);
                assert_eq!(encoded, Codec::Zstd, "{length} {half}");
            }
            assert_eq!(encode_large_or_small(&noise), Codec::Raw);
        }
    }

    fn encode_large_or_small(plain: &[u8]) -> Codec {
        match plain.len() as u64 {
            0..ALIGNED_CONTENT_BYTES_MIN => encode(plain).unwrap().codec,
            _ => encode_large(&[plain]).unwrap()[0].codec,
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_over_whatever_comes_back(
            (base, plain) in pairs(), level in 1..=19, in_lane in any::<bool>()
        ) {
            let place = match in_lane {
                true => BasePlace::Lane { lane: 0, number: 0, version: 1 },
                false => BasePlace::Pack { pack: freestone_core::Id([0; 32]), offset: 0, stored: 0, plain: 0, codec: Codec::Raw },
            };
            let chosen = |kind, effort| {
                let basis = Basis { place: place.clone(), bytes: base.clone() };
                choose(kind, &plain, vec![basis], effort).unwrap()
            };
            let best = chosen(RecordKind::Chunk, Effort::Level(level));
            let quick = chosen(RecordKind::Chunk, Effort::Push);
            let node = chosen(RecordKind::ManifestNode, Effort::Push);
            let series = chosen(RecordKind::Chunk, Effort::Series);
            for encoded in [best, quick, node, series] {
                let stored = &encoded.stored;
                let back = match encoded.codec {
                    Codec::Raw => stored.to_vec(),
                    Codec::Zeros => vec![0; plain.len()],
                    Codec::Zstd => decompress(stored, None, plain.len()).unwrap(),
                    Codec::ZstdBase => decompress(stored, Some(&base), plain.len()).unwrap(),
                    Codec::ZstdBaseIds => unreachable!("only a lane knows the ids"),
                };
                prop_assert_eq!(&back, &plain);
                prop_assert!(encoded.stored.len() <= plain.len());
            }
        }
    }
}
