//! The extents that all formats have in common.

use freestone_core::{Extent, ExtentSource, NodeSource, Result, path};
use freestone_manifest::{Entry, EntryKind, content};
use std::ops::Range;

/// Returns true if `range` has bytes from `start` to before `end`.
pub(crate) fn intersects(range: &Range<u64>, start: u64, end: u64) -> bool {
    range.start.max(start) < range.end.min(end)
}

/// Emits zeros from `start` to before `end`, if `range` has some of them.
///
/// # Errors
/// Those of `each`.
pub(crate) fn zeros(
    range: &Range<u64>,
    start: u64,
    end: u64,
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    if intersects(range, start, end) {
        each(Extent { offset: start, length: end - start, source: ExtentSource::Zeros })?;
    }
    Ok(())
}

/// Emits the extents of a file that intersect `range`: its content, which begins where `space`
/// does, and zeros up to the end of `space`. A directory has none.
///
/// # Errors
/// A node of the content cannot be read, or `each` fails.
pub(crate) fn file<S: NodeSource>(
    nodes: &S,
    entry: &Entry,
    space: Range<u64>,
    range: &Range<u64>,
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    let EntryKind::File { size, sha1, content, .. } = &entry.kind else { return Ok(()) };
    let start = space.start;
    let wanted = range.start.saturating_sub(start)..range.end.saturating_sub(start);
    content::pieces(nodes, content, *size, Some(sha1), wanted, &mut |mut piece| {
        piece.offset += start;
        each(piece)
    })
    .map_err(|error| error.context(path::display(&entry.path)))?;
    zeros(range, start + size, space.end, each)
}
