//! zstd frames.

use freestone_core::{Error, Result};
use std::cell::RefCell;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat};

/// What a push compresses with. Level 3 takes twice the time to save one part in a hundred.
const PUSH_LEVEL: i32 = 1;
/// The shortest window that zstd has.
const WINDOW_LOG_MIN: u32 = 10;
/// A window that reaches over two of the longest chunks: a record and its base.
const WINDOW_LOG_MAX: u32 = 23;

thread_local! {
    static ENCODER: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

fn failed(code: usize) -> Error {
    let name = zstd::zstd_safe::get_error_name(code);
    Error::new(freestone_core::ErrorKind::Failed, format!("zstd failed: {name}"))
}

/// Returns an encoder of frames without magic number and length: the table has both.
fn new_encoder<'a>(level: i32) -> Result<CCtx<'a>> {
    let mut encoder = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::Format(FrameFormat::Magicless),
        CParameter::ContentSizeFlag(false),
    ] {
        encoder.set_parameter(parameter).map_err(failed)?;
    }
    Ok(encoder)
}

/// Compresses `plain` as one zstd frame, quickly, with an encoder that the thread keeps.
///
/// # Errors
/// zstd failed.
pub fn compress(plain: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
    ENCODER.with_borrow_mut(|kept| {
        let encoder = match kept {
            Some(encoder) => encoder,
            None => kept.insert(new_encoder(PUSH_LEVEL)?),
        };
        encoder.compress2(&mut out, plain).map_err(failed)
    })?;
    Ok(out)
}

/// Returns one zstd frame of `plain`, with `base` as its raw dictionary if there is one.
///
/// # Errors
/// zstd fails, as it does where memory is short.
pub fn compress_over(plain: &[u8], base: Option<&[u8]>, level: i32) -> Result<Vec<u8>> {
    // Not the thread's own: a context that lives longer must not hold on to the base.
    let mut encoder = new_encoder(level)?;
    if let Some(base) = base {
        // So that all of the base is within reach.
        let reach = (plain.len() + base.len()).next_power_of_two().ilog2();
        let reach = CParameter::WindowLog(reach.clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX));
        encoder.set_parameter(reach).map_err(failed)?;
        encoder.ref_prefix(base).map_err(failed)?;
    }
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
    encoder.compress2(&mut out, plain).map_err(failed)?;
    Ok(out)
}

/// What a dictionary of zstd's own kind begins with.
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// Returns a decoder of frames without magic number.
fn new_decoder<'a>() -> DCtx<'a> {
    let mut decoder = DCtx::create();
    // It takes this of a decoder that is not in use, as a new one.
    let _ = decoder.set_parameter(DParameter::Format(FrameFormat::Magicless));
    decoder
}

/// Decompresses one zstd frame of exactly `plain` bytes.
///
/// # Errors
/// The bytes are not one such frame.
pub fn decompress(stored: &[u8], base: Option<&[u8]>, plain: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; plain];
    decompress_into(stored, base, &mut out)?;
    Ok(out)
}

/// Decompresses one zstd frame of exactly the length of `out`.
///
/// # Errors
/// The bytes are not one such frame.
pub fn decompress_into(stored: &[u8], base: Option<&[u8]>, out: &mut [u8]) -> Result<()> {
    let failed = |code| {
        Error::corrupt(format!(
            "its bytes are not a zstd frame: {}",
            zstd::zstd_safe::get_error_name(code)
        ))
    };
    let length = match base {
        // It would be taken for what it is not.
        Some(base) if base.starts_with(&DICTIONARY_MAGIC) => {
            let mut decoder = new_decoder();
            decoder.ref_prefix(base).map_err(failed)?;
            decoder.decompress(out, stored)
        }
        _ => DECODER.with_borrow_mut(|kept| {
            let decoder = kept.get_or_insert_with(new_decoder);
            match base {
                None => decoder.decompress(out, stored),
                Some(base) => decoder.decompress_using_dict(out, stored, base),
            }
        }),
    }
    .map_err(failed)?;
    if length == out.len() {
        Ok(())
    } else {
        Err(Error::corrupt(format!("it is {length} bytes long in place of {}", out.len())))
    }
}
