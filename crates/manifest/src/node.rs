//! The encoding of a manifest node.
//!
//! ```text
//! version 1 | level, 1 for a leaf | extensions | item count | items
//! leaf item:   path | mtime | flags, [size, SHA-1, content id] [link text] [extensions]
//! inner item:  first path | node id | content digest | entries | bytes | measures | extensions
//! path:        bytes shared with the path before it in this node | length of the rest | the rest
//! measures:    count | (layout, length, measure)…, layouts ascending; version 1 writes layout 1,
//!              tar1, and skips others
//! ```
//! Counts, lengths, sizes and times are varints. An empty manifest is one leaf without items.

use crate::entry::{self, Entry};
use crate::head;
use freestone_core::digest::{self, context};
use freestone_core::limits::{NODE_ITEMS_MAX, PATH_BYTES_MAX};
use freestone_core::wire::{Reader, Writer, to_usize};
use freestone_core::{Error, Id, Measure, Result, path};

/// The layout whose measure every child reference carries.
const LAYOUT_TAR1: u64 = 1;
/// The most measures of a child reference, one per layout.
const LAYOUTS_MAX: u64 = 16;
/// The longest encoded measure.
const MEASURE_BYTES_MAX: usize = 64;

/// A reference to a node, with totals of the entries below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// The path of the first entry; empty for the empty manifest.
    pub first: Vec<u8>,
    /// The node's id.
    pub id: Id,
    /// The content digest: a hash of all paths and contents of the subtree, without times.
    pub content_digest: Id,
    /// The number of entries in the subtree.
    pub entries: u64,
    /// The length of all files in the subtree together, in bytes.
    pub bytes: u64,
    /// The length of the subtree in a tar image.
    pub measure: Measure,
}

/// A decoded node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// 1 for a leaf, one more than the children's for an inner node.
    pub level: u8,
    /// Its items, in order.
    pub items: Items,
}

/// The items of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Items {
    /// The entries of a leaf.
    Entries(Vec<Entry>),
    /// The references of an inner node.
    Children(Vec<Subtree>),
}

fn encode_path(out: &mut Writer, previous: &[u8], path: &[u8]) {
    let shared = previous.iter().zip(path).take_while(|(a, b)| a == b).count();
    out.varint(shared as u64);
    out.string(&path[shared..]);
}

fn decode_path(input: &mut Reader<'_>, previous: &[u8]) -> Result<Vec<u8>> {
    let shared = previous.get(..to_usize(input.varint()?));
    let shared =
        shared.ok_or_else(|| Error::corrupt("a path shares more than the path before it"))?;
    let rest = input.string(PATH_BYTES_MAX - shared.len().min(PATH_BYTES_MAX))?;
    if previous.get(shared.len()).is_some_and(|byte| rest.first() == Some(byte)) {
        return Err(Error::corrupt("a path shares less with the path before it than it could"));
    }
    Ok([shared, rest].concat())
}

/// Encodes a leaf.
pub(crate) fn encode_leaf(entries: &[Entry]) -> Vec<u8> {
    let mut out = head::write(1, entries.len());
    let mut previous: &[u8] = &[];
    for entry in entries {
        encode_path(&mut out, previous, &entry.path);
        out.varint(entry.mtime.unsigned_abs());
        entry.encode_rest(&mut out);
        previous = &entry.path;
    }
    out.into_bytes()
}

/// Encodes an inner node of `level`.
pub(crate) fn encode_inner(level: u8, children: &[Subtree]) -> Vec<u8> {
    let mut out = head::write(level, children.len());
    let mut previous: &[u8] = &[];
    for child in children {
        encode_path(&mut out, previous, &child.first);
        out.id(&child.id);
        out.id(&child.content_digest);
        out.varint(child.entries);
        out.varint(child.bytes);
        out.varint(1);
        out.varint(LAYOUT_TAR1);
        let mut measure = Writer::default();
        child.measure.encode(&mut measure);
        out.string(measure.bytes());
        out.string(&[]);
        previous = &child.first;
    }
    out.into_bytes()
}

/// Returns the content digest of a leaf: the hash of its entries with whole paths, without times.
fn leaf_digest(entries: &[Entry]) -> Id {
    let mut out = head::write(1, entries.len());
    for entry in entries {
        out.string(&entry.path);
        entry.encode_rest(&mut out);
    }
    digest::derived(context::CONTENT_DIGEST, out.bytes())
}

/// Returns the content digest of an inner node: the hash of its children's first paths and content
/// digests.
fn inner_digest(level: u8, children: &[Subtree]) -> Id {
    let mut out = head::write(level, children.len());
    for child in children {
        out.string(&child.first);
        out.id(&child.content_digest);
    }
    digest::derived(context::CONTENT_DIGEST, out.bytes())
}

fn decode_child(input: &mut Reader<'_>, previous: &[u8]) -> Result<Subtree> {
    let first = decode_path(input, previous)?;
    let (id, content_digest) = (input.id()?, input.id()?);
    let (entries, bytes) = (input.varint()?, input.varint()?);
    let mut measure = None;
    let mut last_layout = 0;
    let layouts = input.varint()?;
    if layouts > LAYOUTS_MAX {
        return Err(Error::corrupt(format!("a child with {layouts} measures")));
    }
    for _ in 0..layouts {
        let layout = input.varint()?;
        if layout <= last_layout {
            return Err(Error::corrupt("layouts are out of order"));
        }
        last_layout = layout;
        let bytes = input.string(MEASURE_BYTES_MAX)?;
        if layout == LAYOUT_TAR1 {
            let mut input = Reader::new(bytes);
            measure = Some(Measure::decode(&mut input)?);
            input.finish()?;
        }
    }
    if !input.extensions()?.is_empty() {
        return Err(Error::newer("a child reference with unknown extensions"));
    }
    let measure = measure.ok_or_else(|| Error::corrupt("a child without its tar1 measure"))?;
    Ok(Subtree { first, id, content_digest, entries, bytes, measure })
}

/// Returns the position of an encoded node in its manifest: its level, and the path of its first
/// entry; `None` if the bytes are not a node. Reads only the node's first bytes.
pub fn node_position(bytes: &[u8]) -> Option<(u8, Vec<u8>)> {
    let mut input = Reader::new(bytes);
    let (level, count) = head::skim(&mut input)?;
    match count {
        0 => Some((level, Vec::new())),
        _ => Some((level, decode_path(&mut input, &[]).ok()?)),
    }
}

/// Returns the offsets of the ids of contents and nodes in an encoded node, in order; `None` if the
/// bytes are not a node.
pub fn id_offsets(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut input = Reader::new(bytes);
    let (level, count) = head::skim(&mut input)?;
    let mut places = Vec::with_capacity(to_usize(count).min(NODE_ITEMS_MAX));
    for _ in 0..count {
        input.varint().ok()?;
        input.string(PATH_BYTES_MAX).ok()?;
        // An entry's time follows its path.
        let place = match level {
            1 => entry::skip_rest(&mut input, bytes.len()).ok()?,
            _ => Some(skip_child(&mut input, bytes.len()).ok()?),
        };
        places.extend(place);
    }
    Some(places)
}

/// Skips an encoded child reference after its first path. `length` is that of the whole node.
/// Returns the offset of the child's id in the node.
fn skip_child(input: &mut Reader<'_>, length: usize) -> Result<usize> {
    let place = length - input.remaining();
    input.raw(2 * size_of::<Id>())?;
    input.varint()?;
    input.varint()?;
    for _ in 0..input.varint()? {
        input.varint()?;
        input.string(MEASURE_BYTES_MAX)?;
    }
    input.extensions()?;
    Ok(place)
}

impl Node {
    /// Decodes a node, and checks that its items are in order and well formed.
    ///
    /// # Errors
    /// The bytes are not a node of version 1.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (level, count, mut input) = head::read(bytes, "a node")?;
        let items = if level == 1 {
            Items::Entries(decode_entries(&mut input, count)?)
        } else {
            Items::Children(decode_children(&mut input, count)?)
        };
        input.finish()?;
        Ok(Self { level, items })
    }

    /// Returns the path of the first entry; empty if there is none.
    pub fn first(&self) -> &[u8] {
        match &self.items {
            Items::Entries(entries) => entries.first().map_or(&[], |entry| &entry.path),
            Items::Children(children) => children.first().map_or(&[], |child| &child.first),
        }
    }

    /// Returns about how many bytes of memory the node takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let items = match &self.items {
            Items::Entries(entries) => entries.iter().map(Entry::memory_bytes).sum::<usize>(),
            Items::Children(children) => {
                children.iter().map(|child| size_of::<Subtree>() + child.first.len()).sum()
            }
        };
        size_of::<Self>() + items
    }

    /// Decodes the node `id`. `said` is the level of its parent, and what that says of it; `None` for
    /// the top node.
    ///
    /// # Errors
    /// The node is malformed, or does not agree with its parent.
    pub fn decode_below(bytes: &[u8], id: &Id, said: Option<(u8, &Subtree)>) -> Result<Self> {
        let node =
            Self::decode(bytes).map_err(|error| error.context(format!("manifest node {id}")))?;
        match said {
            Some((level, child)) if node.level + 1 != level || node.child(*id)? != *child => {
                Err(disagrees(id))
            }
            _ => Ok(node),
        }
    }

    /// Returns the reference to this node, whose id is `id`, as a parent would hold it.
    ///
    /// # Errors
    /// A total has more than 64 bits.
    pub fn child(&self, id: Id) -> Result<Subtree> {
        let first = self.first().to_vec();
        let sums = match &self.items {
            Items::Entries(entries) => entries.iter().try_fold((0u64, 0u64), |(count, sum), e| {
                Some((count + 1, sum.checked_add(e.size().unwrap_or(0))?))
            }),
            Items::Children(children) => children.iter().try_fold((0u64, 0u64), |(n, sum), c| {
                Some((n.checked_add(c.entries)?, sum.checked_add(c.bytes)?))
            }),
        };
        let (entries, bytes) = sums
            .ok_or_else(|| Error::refused("the sizes of all files add up to 2^64 bytes or more"))?;
        let (measure, content_digest) = match &self.items {
            Items::Entries(entries) => (
                entries.iter().fold(Measure::EMPTY, |sum, entry| sum.then(entry.measure())),
                leaf_digest(entries),
            ),
            Items::Children(children) => (
                children.iter().fold(Measure::EMPTY, |sum, child| sum.then(child.measure)),
                inner_digest(self.level, children),
            ),
        };
        Ok(Subtree { first, id, content_digest, entries, bytes, measure })
    }
}

fn decode_entries(input: &mut Reader<'_>, count: usize) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let previous = entries.last().map_or(&[][..], |entry| &entry.path);
        let path = decode_path(input, previous)?;
        let mtime = input.varint()?;
        let entry = Entry::decode_rest(path, mtime, input)?;
        if let Some(last) = entries.last()
            && path::compare(&last.path, &entry.path).is_ge()
        {
            return Err(Error::corrupt(format!(
                "entry {:?} is out of order",
                path::display(&entry.path)
            )));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_children(input: &mut Reader<'_>, count: usize) -> Result<Vec<Subtree>> {
    if count == 0 {
        return Err(Error::corrupt("an inner node without children"));
    }
    let mut children: Vec<Subtree> = Vec::with_capacity(count);
    for _ in 0..count {
        let previous = children.last().map_or(&[][..], |child| &child.first);
        let child = decode_child(input, previous)?;
        let in_order =
            children.last().is_none_or(|last| path::compare(&last.first, &child.first).is_lt());
        if !in_order || path::fault(&child.first).is_some() || child.entries == 0 {
            return Err(Error::corrupt(format!(
                "child {:?} is out of order or empty",
                path::display(&child.first)
            )));
        }
        children.push(child);
    }
    Ok(children)
}

/// Returns the error for a node that is not what its parent says.
pub(crate) fn disagrees(id: &Id) -> Error {
    Error::corrupt(format!("manifest node {id} does not agree with its parent"))
}
