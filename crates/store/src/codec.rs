//! Choosing how bytes are stored.

use crate::format::record::Codec;
use freestone_core::limits::ALIGNED_CONTENT_BYTES_MIN;
use freestone_core::{Error, Result};
use std::cell::RefCell;

/// What a push compresses with. Level 3 takes twice the time to save one part in a hundred.
const PUSH_LEVEL: i32 = 1;
/// Bytes of each of two samples by which it is told whether trying a codec on all is worth the time,
/// for what is at least eight times as long.
const SAMPLE_BYTES: usize = 2 << 10;

thread_local! {
    static ENCODER: RefCell<zstd::zstd_safe::CCtx<'static>> =
        RefCell::new(zstd::zstd_safe::CCtx::create());
}

/// Bytes as they are to be stored.
pub(crate) struct Encoded<'a> {
    pub(crate) codec: Codec,
    pub(crate) stored: std::borrow::Cow<'a, [u8]>,
}

impl Encoded<'_> {
    fn raw(plain: &[u8]) -> Encoded<'_> {
        Encoded { codec: Codec::Raw, stored: plain.into() }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn compress(plain: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
    ENCODER.with_borrow_mut(|encoder| encoder.compress(&mut out, plain, PUSH_LEVEL)).map_err(
        |code| {
            Error::new(
                freestone_core::ErrorKind::Failed,
                format!("zstd failed: {}", zstd::zstd_safe::get_error_name(code)),
            )
        },
    )?;
    Ok(out)
}

/// The smallest way to store a record that is no part of a large content.
pub(crate) fn encode(plain: &[u8]) -> Result<Encoded<'_>> {
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
pub(crate) fn encode_large<'a>(chunks: &[&'a [u8]]) -> Result<Vec<Encoded<'a>>> {
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

/// Whether one of two samples is shorter than `wanted` when it is compressed.
fn is_promising(plain: &[u8], wanted: usize) -> Result<bool> {
    if plain.len() < 8 * SAMPLE_BYTES {
        return Ok(true);
    }
    for start in [plain.len() / 4, plain.len() / 4 * 3] {
        if compress(&plain[start..start + SAMPLE_BYTES])?.len() < wanted {
            return Ok(true);
        }
    }
    Ok(false)
}
