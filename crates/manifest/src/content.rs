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
use std::collections::{HashMap, HashSet};
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
    let record = record_of(source, content, size, sha1)?;
    // The nodes still to be read, the next one last.
    let mut open = vec![Open::top(&record)];
    while let Some(node) = open.pop() {
        let below = open.len();
        node.read(source, &mut |item| match item {
            Below::Piece(piece) if is_within(&piece, &range) => each(piece),
            Below::Node(node) if is_within(&node.extent(), &range) => {
                open.push(node);
                Ok(())
            }
            _ => Ok(()),
        })?;
        open[below..].reverse();
    }
    Ok(())
}

fn is_within(extent: &Extent, range: &Range<u64>) -> bool {
    extent.offset < range.end && extent.end() > range.start
}

/// Reads the record of a content of which an entry says `size` and `sha1`.
fn record_of<S: NodeSource + ?Sized>(
    source: &S,
    content: &Id,
    size: u64,
    sha1: Option<&Sha1>,
) -> Result<ContentRecord> {
    let record = ContentRecord::read(source, content)?;
    if record.length != size || sha1.is_some_and(|sha1| *sha1 != record.sha1) {
        return Err(Error::corrupt(format!("content {content} does not agree with its entry")));
    }
    Ok(record)
}

/// A node that is to be read, and what its parent says of it.
#[derive(Clone, Copy)]
struct Open {
    offset: u64,
    length: u64,
    level: u8,
    id: Id,
}

/// What is below a node.
enum Below {
    Piece(Extent),
    Node(Open),
}

impl Open {
    fn top(record: &ContentRecord) -> Self {
        Self { offset: 0, length: record.length, level: record.level, id: record.top }
    }

    fn extent(&self) -> Extent {
        Extent { offset: self.offset, length: self.length, source: ExtentSource::Zeros }
    }

    /// Reads the node, checks what its parent says of it, and passes on what is below it, in order.
    fn read<S: NodeSource + ?Sized>(
        &self,
        source: &S,
        each: &mut dyn FnMut(Below) -> Result<()>,
    ) -> Result<()> {
        let node = ContentNode::read(source, &self.id)?;
        if node.level() != self.level || node.length() != Some(self.length) {
            return Err(self.disagrees());
        }
        let mut offset = self.offset;
        match node {
            ContentNode::Leaf(items) => {
                for item in items {
                    let length = item.length();
                    each(Below::Piece(Extent { offset, length, source: item.source() }))?;
                    offset += length;
                }
            }
            ContentNode::Inner(_, children) => {
                for (length, id) in children {
                    each(Below::Node(Self { offset, length, level: self.level - 1, id }))?;
                    offset += length;
                }
            }
        }
        Ok(())
    }

    fn disagrees(&self) -> Error {
        Error::corrupt(format!("content node {} does not agree with its parent", self.id))
    }
}

/// Passes the pieces of a content to `each` as [`pieces`] does, but reads every node once. The
/// pieces below a node that stands at several places come once, with their offsets at the first.
/// So the work depends on what is stored, and not on the length of the content, which a tree of few
/// nodes that name each other often can make as large as it likes.
///
/// # Errors
/// As [`pieces`]; or a node is not what each of its parents says.
pub fn distinct_pieces<S: NodeSource + ?Sized>(
    source: &S,
    content: &Id,
    size: u64,
    sha1: Option<&Sha1>,
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    if size <= CONTENT_WHOLE_BYTES_MAX {
        return pieces(source, content, size, sha1, 0..size, each);
    }
    let mut seen: HashMap<Id, (u64, u8)> = HashMap::new();
    let mut open = vec![Open::top(&record_of(source, content, size, sha1)?)];
    while let Some(node) = open.pop() {
        let said = (node.length, node.level);
        match seen.insert(node.id, said) {
            Some(before) if before == said => continue,
            Some(_) => return Err(node.disagrees()),
            None => {}
        }
        let below = open.len();
        node.read(source, &mut |item| match item {
            Below::Piece(piece) => each(piece),
            Below::Node(node) => {
                open.push(node);
                Ok(())
            }
        })?;
        open[below..].reverse();
    }
    Ok(())
}

/// Calls `each` for a content's record and for every node of its tree, once for each. What is below
/// the record or a node is visited only if `each` returns true for it.
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
    let mut seen: HashSet<Id> = HashSet::new();
    let mut open = vec![record.top];
    while let Some(id) = open.pop() {
        if seen.insert(id)
            && each(NodeKind::Content, &id)?
            && let ContentNode::Inner(_, children) = ContentNode::read(source, &id)?
        {
            open.extend(children.iter().rev().map(|(_, id)| *id));
        }
    }
    Ok(())
}
