//! Choosing how bytes are stored.

use crate::write::bases::{BasePlace, Basis};
use freestone_core::Result;
use freestone_core::limits::ALIGNED_CONTENT_BYTES_MIN;
use freestone_format::frame::{compress, compress_over};
use freestone_format::record::Codec;

/// What a push compresses with against a base. Little is tried: what has changed.
const PUSH_BASE_LEVEL: i32 = 6;
/// Bytes of each of two samples by which it is told whether trying a codec on all is worth the time,
/// for what is at least eight times as long.
const SAMPLE_BYTES: usize = 2 << 10;

/// Bytes of a sample by which text is told without compressing it.
const GLANCE_BYTES: usize = 512;
/// How often two of so many bytes are alike, where a code for them saves a thirtieth for sure: eight
/// times as often as in noise, and half as often as in text.
const UNEVEN: u64 = 8 * 1_534;

/// A frame over a base that is this many times shorter than what it holds is taken at once.
const NEAR: usize = 8;
/// A base has to save this part of what is stored without; else every reading pays for nothing.
const OVER_GAIN: usize = 16;
/// The same for a base in another pack. The next versions cannot lean on this one, but only on its
/// base, ever further away: what is a half of a new base is worth one.
const OTHER_PACK_GAIN: usize = 2;
/// What a base has to save where there is time to look for the smallest.
const BEST_GAIN: usize = 64;
/// What a long series compresses text with, and what else: dense bytes come out the same. Level 19 takes
/// five times as long to save one part in a hundred of what 620 commits of a site take.
const THOROUGH_LEVEL: i32 = 9;
const THOROUGH_DENSE_LEVEL: i32 = 3;
/// What its nodes are compressed with.
pub const NODE_LEVEL: i32 = 6;

/// Bytes as they are to be stored.
pub struct Encoded<'a> {
    pub codec: Codec,
    pub stored: std::borrow::Cow<'a, [u8]>,
}

impl Encoded<'_> {
    fn raw(plain: &[u8]) -> Encoded<'_> {
        Encoded { codec: Codec::Raw, stored: plain.into() }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The smallest way to store a record, with time to look for it: alone, or over one of the bases,
/// which is given by its place among them. One of at least 64 KiB has to save a sixteenth.
pub fn encode_best<'a>(
    plain: &'a [u8],
    bases: &[Basis],
    level: i32,
) -> Result<(Encoded<'a>, Option<usize>)> {
    if is_zero(plain) {
        return Ok((Encoded { codec: Codec::Zeros, stored: (&[][..]).into() }, None));
    }
    let mut over: Option<(Vec<u8>, usize)> = None;
    for (number, basis) in bases.iter().enumerate() {
        let frame = compress_over(plain, Some(&basis.bytes), level)?;
        let gain = |best: &Vec<u8>| frame.len() + best.len() / BEST_GAIN < best.len();
        if over.as_ref().is_none_or(|(best, _)| gain(best)) {
            over = Some((frame, number));
        }
    }
    let mut best = (Encoded::raw(plain), None);
    // Where most of it is in a base, it is not worth the time to see what it would be alone.
    if over.as_ref().is_none_or(|(frame, _)| frame.len() >= plain.len() / NEAR) {
        let alone = compress_over(plain, None, level)?;
        if alone.len() < plain.len() {
            best.0 = Encoded { codec: Codec::Zstd, stored: alone.into() };
        }
    }
    if let Some((frame, number)) = over
        && frame.len() + best.0.stored.len() / BEST_GAIN < best.0.stored.len()
    {
        best = (Encoded { codec: Codec::ZstdBase, stored: frame.into() }, Some(number));
    }
    let saved = plain.len() - best.0.stored.len();
    if plain.len() as u64 >= ALIGNED_CONTENT_BYTES_MIN && saved < plain.len() / 16 {
        best = (Encoded::raw(plain), None);
    }
    Ok(best)
}

/// The same for a content that came in a long series.
pub fn encode_thorough<'a>(
    plain: &'a [u8],
    bases: &[Basis],
) -> Result<(Encoded<'a>, Option<usize>)> {
    let level = if is_text_like(plain)? { THOROUGH_LEVEL } else { THOROUGH_DENSE_LEVEL };
    encode_best(plain, bases, level)
}

/// What is stored of a record that may have `base`, where `alone` is how it is stored without:
/// that, or a shorter frame over the base. One of at least 64 KiB has to save a sixteenth.
pub fn encode_over<'a>(
    plain: &'a [u8],
    basis: &Basis,
    alone: impl FnOnce() -> Result<Encoded<'a>>,
) -> Result<Encoded<'a>> {
    let over = compress_over(plain, Some(&basis.bytes), PUSH_BASE_LEVEL)?;
    // Most of it is in the base: it is not worth the time to see what it would be alone.
    let is_near = over.len() < plain.len() / NEAR;
    if !is_near {
        let alone = alone()?;
        let large = plain.len() as u64 >= ALIGNED_CONTENT_BYTES_MIN;
        let is_raw = alone.codec == Codec::Raw;
        let to_save = match &basis.place {
            _ if large && is_raw => plain.len() / 16,
            BasePlace::Lane { .. } => alone.stored.len() / OVER_GAIN,
            BasePlace::Pack { .. } => alone.stored.len() / OTHER_PACK_GAIN,
        };
        if alone.codec == Codec::Zeros || over.len() + to_save >= alone.stored.len() {
            return Ok(alone);
        }
    }
    Ok(Encoded { codec: Codec::ZstdBase, stored: over.into() })
}

/// The smallest way to store a record that is no part of a large content.
pub fn encode(plain: &[u8]) -> Result<Encoded<'_>> {
    if is_zero(plain) {
        return Ok(Encoded { codec: Codec::Zeros, stored: (&[][..]).into() });
    }
    // Noise does not save a byte anywhere.
    if is_promising(plain, SAMPLE_BYTES)? {
        let compressed = compress(plain)?;
        if compressed.len() < plain.len() {
            return Ok(Encoded { codec: Codec::Zstd, stored: compressed.into() });
        }
    }
    Ok(Encoded::raw(plain))
}

/// How the chunks of a content of at least 64 KiB are stored: compressed if that saves at least a
/// sixteenth of them together, else all as they are, so that they can be shared by reflink.
pub fn encode_large<'a>(chunks: &[&'a [u8]]) -> Result<Vec<Encoded<'a>>> {
    let plain: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    debug_assert!(plain as u64 >= ALIGNED_CONTENT_BYTES_MIN);
    let mut encoded = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        // Half of what is asked of the whole.
        let is_promising = is_promising(chunk, SAMPLE_BYTES / 32 * 31)?;
        encoded.push(if is_promising { encode(chunk)? } else { Encoded::raw(chunk) });
    }
    let stored: usize = encoded.iter().map(|chunk| chunk.stored.len()).sum();
    if plain - stored.min(plain) >= plain / 16 {
        return Ok(encoded);
    }
    Ok(chunks.iter().map(|chunk| Encoded::raw(chunk)).collect())
}

/// The base of a record, if it is stored over one.
pub fn base_of(codec: Codec, basis: Option<Basis>) -> Option<BasePlace> {
    basis.filter(|_| codec == Codec::ZstdBase).map(|basis| basis.place)
}

/// Whether a sample of the bytes saves an eighth when it is compressed.
pub fn is_text_like(plain: &[u8]) -> Result<bool> {
    is_promising(plain, SAMPLE_BYTES / 8 * 7)
}

/// Whether the bytes are worth compressing: for few, always; else whether one of two samples is
/// shorter than `wanted` when it is compressed.
fn is_promising(plain: &[u8], wanted: usize) -> Result<bool> {
    if plain.len() < 8 * SAMPLE_BYTES {
        return Ok(true);
    }
    for start in [plain.len() / 4, plain.len() / 4 * 3] {
        let sample = &plain[start..start + SAMPLE_BYTES];
        // Only whether a code for single bytes pays can be told so: what is evenly spread may repeat.
        let is_text = wanted >= SAMPLE_BYTES / 32 * 31 && unevenness(sample) >= UNEVEN;
        if is_text || compress(sample)?.len() < wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How often two bytes at the start of a sample are alike: the sum of the squares of how often each
/// value occurs.
fn unevenness(sample: &[u8]) -> u64 {
    let mut counts = [0_u16; 256];
    for byte in sample.iter().take(GLANCE_BYTES) {
        counts[usize::from(*byte)] += 1;
    }
    counts.iter().map(|count| u64::from(*count) * u64::from(*count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_format::frame::decompress;
    use proptest::prelude::*;

    /// A base and what may be stored over it: anything, or a few edits away.
    fn pairs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        // What zstd takes for a dictionary of its own kind, where it is not told.
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

    /// What the limit stands for: how it was chosen, and that zstd agrees.
    #[test]
    fn text_is_told_at_a_glance_and_noise_is_not() {
        for seed in 0..2000 {
            let noise = freestone_testkit::noise(SAMPLE_BYTES, seed);
            assert!(unevenness(&noise) < UNEVEN / 4, "seed {seed}: {}", unevenness(&noise));
            let text = freestone_testkit::text(SAMPLE_BYTES, seed);
            assert!(unevenness(&text) >= UNEVEN, "seed {seed}: {}", unevenness(&text));
        }
        // One value among noise, as often as makes it just uneven: the least that can be saved then.
        let mut sample = freestone_testkit::noise(GLANCE_BYTES, 1);
        let mut at = 0;
        while unevenness(&sample) < UNEVEN {
            sample[at] = 0;
            at += 1;
        }
        assert!(compress(&sample).unwrap().len() <= GLANCE_BYTES / 30 * 29, "{at}");
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
            let basis = Basis { place, bytes: base.clone() };
            let best = encode_best(&plain, std::slice::from_ref(&basis), level).unwrap().0;
            let over = encode_over(&plain, &basis, || encode(&plain)).unwrap();
            for encoded in [best, over] {
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
