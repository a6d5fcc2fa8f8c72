//! Writing a segment.

use super::opening::with_rows;
use super::place::LiveSegment;
use super::rows::{self, Rows};
use freestone_backend::Backend;
use freestone_core::{ErrorKind, Result};
use freestone_format::segment::{Segment, SegmentParts, file_name};
use std::sync::Arc;

/// Segments of at most this length are held in memory after they were written, and not mapped.
const HELD_BYTES_MAX: usize = 128 << 10;

/// Writes a segment and opens it.
///
/// As soon as it is there, another push may merge it with others and remove it. It is correct all
/// the same, so then it is read from memory, as small segments are.
///
/// # Errors
/// The segment cannot be written or opened.
pub fn write_segment(
    backend: &dyn Backend,
    tier: u8,
    parts: SegmentParts,
    rows: Rows,
) -> Result<LiveSegment> {
    let parts = SegmentParts { random: freestone_backend::random(), ..parts };
    let (bytes, id) = match rows == Rows::LeftOut && rows::rows_follow_from_table(&parts) {
        true => parts.encode_without_rows(),
        false => parts.encode(),
    };
    let name = format!("index/{}", file_name(tier, freestone_backend::clock::now_ns(), &id));
    backend.create(&name, &bytes)?;
    let map = || match backend.open(&name)? {
        Some(object) => object.map().map(Some),
        None => Ok(None),
    };
    let mapped = match bytes.len() {
        0..=HELD_BYTES_MAX => None,
        _ => match map() {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            outcome => outcome?,
        },
    };
    let segment = Segment::open(mapped.unwrap_or_else(|| Arc::new(bytes)))?;
    let segment = with_rows(backend, segment)?;
    Ok(LiveSegment { segment, name, tier })
}
