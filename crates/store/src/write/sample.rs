//! Recognising from samples whether bytes are worth compressing.

use freestone_core::Result;
use freestone_format::frame::compress;

/// Bytes of each of two samples. They decide whether trying a codec on all bytes is worth the time,
/// if these are at least eight times as many.
pub(super) const SAMPLE_BYTES: usize = 2 << 10;
/// Bytes of a sample by which text is recognised without compressing it.
const GLANCE_BYTES: usize = 512;
/// How often two of so many bytes are equal if a code for them is sure to save a thirtieth: eight
/// times as often as in noise, and half as often as in text.
const UNEVEN: u64 = 8 * 1_534;

/// Returns true if a sample of the bytes saves an eighth when it is compressed.
///
/// # Errors
/// zstd failed.
pub fn is_text_like(plain: &[u8]) -> Result<bool> {
    is_promising(plain, SAMPLE_BYTES / 8 * 7)
}

/// Returns true if the bytes are worth compressing. Few bytes always are; many are if one of two
/// samples is shorter than `wanted` when it is compressed.
pub(super) fn is_promising(plain: &[u8], wanted: usize) -> Result<bool> {
    if plain.len() < 8 * SAMPLE_BYTES {
        return Ok(true);
    }
    for start in [plain.len() / 4, plain.len() / 4 * 3] {
        let sample = &plain[start..start + SAMPLE_BYTES];
        // This recognises only bytes of which a code for single bytes saves some. Bytes that are
        // evenly spread may repeat.
        let is_text = wanted >= SAMPLE_BYTES / 32 * 31 && unevenness(sample) >= UNEVEN;
        if is_text || compress(sample)?.len() < wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns how often two bytes at the start of a sample are equal: the sum of the squares of the
/// counts of all values.
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

    /// Returns how the limit was chosen, and that zstd agrees with it.
    #[test]
    fn text_is_recognised_at_a_glance_and_noise_is_not() {
        for seed in 0..2000 {
            let noise = freestone_testkit::noise(SAMPLE_BYTES, seed);
            assert!(unevenness(&noise) < UNEVEN / 4, "seed {seed}: {}", unevenness(&noise));
            let text = freestone_testkit::text(SAMPLE_BYTES, seed);
            assert!(unevenness(&text) >= UNEVEN, "seed {seed}: {}", unevenness(&text));
        }
        // One value among noise, as often as makes it just uneven: the least that can be saved
        // then.
        let mut sample = freestone_testkit::noise(GLANCE_BYTES, 1);
        let mut at = 0;
        while unevenness(&sample) < UNEVEN {
            sample[at] = 0;
            at += 1;
        }
        assert!(compress(&sample).unwrap().len() <= GLANCE_BYTES / 30 * 29, "{at}");
    }
}
