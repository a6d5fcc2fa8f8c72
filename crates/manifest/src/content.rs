//! The content of a file: one chunk, or a tree over chunks.
//!
//! A content of at most [`CONTENT_WHOLE_BYTES_MAX`] is one chunk, and its content id is its plain
//! BLAKE3. A longer one has a content record, whose hash is the content id. The record names the
//! top of a content tree: a rope like that of a manifest, whose items are chunks and runs of zeros
//! and whose measure is the number of bytes. So any part of the content is found and proven by
//! descending, and a reader never needs the chunker.

mod node;
mod record;
mod writer;

pub use node::{ContentItem, ContentNode};
pub use record::{CHUNKER, ContentRecord};
pub use writer::ContentTreeBuilder;

use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{ExtentSource, NodeKind, NodeSource};
use freestone_core::{Error, Extent, Id, Result, Sha1};
use std::ops::Range;

/// Passes the pieces of a content that intersect `range` of its bytes to `each`, in order and
/// whole: chunks and runs of zeros, with their offsets in the content. `size` and `sha1` are those
/// of the content's entry; without an entry, `sha1` is `None`.
///
/// # Errors
/// The content's record or a node of its tree cannot be read, a length or SHA-1 is not the expected
/// one, or `each` failed.
pub fn pieces<S: NodeSource + ?Sized>(
    source: &S,
    content: &Id,
    size: u64,
    sha1: Option<&Sha1>,
    range: Range<u64>,
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    if range.start >= size.min(range.end) {
        return Ok(());
    }
    if size <= CONTENT_WHOLE_BYTES_MAX {
        return each(Extent { offset: 0, length: size, source: ExtentSource::Chunk(*content) });
    }
    let record = ContentRecord::read(source, content)?;
    if record.length != size || sha1.is_some_and(|sha1| *sha1 != record.sha1) {
        return Err(Error::corrupt(format!("content {content} does not agree with its entry")));
    }
    // The nodes still to be read, the next one last: offset, length, level, id.
    let mut open = vec![(0, size, record.level, record.top)];
    while let Some((start, length, level, id)) = open.pop() {
        let node = ContentNode::read(source, &id)?;
        if node.level() != level || node.length() != Some(length) {
            return Err(Error::corrupt(format!(
                "content node {id} does not agree with its parent"
            )));
        }
        let mut offset = start;
        match node {
            ContentNode::Leaf(items) => {
                for item in items {
                    let extent = Extent { offset, length: item.length(), source: item.source() };
                    offset = extent.end();
                    if extent.offset < range.end && extent.end() > range.start {
                        each(extent)?;
                    }
                }
            }
            ContentNode::Inner(_, children) => {
                let first = open.len();
                for (length, id) in children {
                    if offset < range.end && offset + length > range.start {
                        open.push((offset, length, level - 1, id));
                    }
                    offset += length;
                }
                open[first..].reverse();
            }
        }
    }
    Ok(())
}

/// Calls `each` for a content's record and for every node of its tree. What is below the record or
/// a node is visited only if `each` returns true for it.
///
/// # Errors
/// The record or a node cannot be read or is malformed, or `each` failed.
pub fn visit_nodes<S: NodeSource + ?Sized>(
    source: &S,
    content: &Id,
    each: &mut dyn FnMut(NodeKind, &Id) -> Result<bool>,
) -> Result<()> {
    if !each(NodeKind::ContentRecord, content)? {
        return Ok(());
    }
    let record = ContentRecord::read(source, content)?;
    let mut open = vec![record.top];
    while let Some(id) = open.pop() {
        if each(NodeKind::Content, &id)?
            && let ContentNode::Inner(_, children) = ContentNode::read(source, &id)?
        {
            open.extend(children.iter().rev().map(|(_, id)| *id));
        }
    }
    Ok(())
}
