//! Which records a revision needs, in waves. The caller fetches each wave before the next, which is
//! read from it.

use super::needs::Need;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Error, ErrorKind, ExtentSource, Id, Result, path};
use freestone_format::record::RecordKind;
use freestone_manifest::content::{ContentNode, ContentRecord};
use freestone_manifest::{EntryKind, Items, Node, Subtree};
use freestone_store::Records;
use std::collections::HashSet;

/// Nodes that are read at once.
const NODES_AT_ONCE: usize = 1024;
/// Contents that are gathered before they are asked for: it bounds what is held of them.
const CONTENTS_AT_ONCE: usize = 1 << 16;

/// What is to be fetched.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The manifest's root.
    pub root: Id,
    /// Only what is at or below this path; `None` for everything.
    pub below: Option<Vec<u8>>,
    /// True for the contents too, false for the manifest alone.
    pub contents: bool,
}

impl Subject {
    /// Returns everything that the revision with this root needs.
    pub fn whole(root: Id) -> Self {
        Self { root, below: None, contents: true }
    }
}

/// Takes a wave: true if it is one of chunks, and the records. Returns false if some of them are
/// not here and will not be; what is below these is left out.
pub(crate) type Wave<'a> = dyn FnMut(bool, &[Need]) -> Result<bool> + 'a;

/// A walk over a manifest and what it names.
pub(crate) struct Walk<'a> {
    records: &'a Records,
    subject: &'a Subject,
}

/// The contents that were found on the way.
#[derive(Default)]
struct Gathered {
    /// Chunks, of small contents and of large ones.
    chunks: Vec<Need>,
    /// Contents that have a record.
    large: Vec<Need>,
    /// The nodes of contents that were asked for: level, length and id. Contents share nodes, and a
    /// node can name another one many times, so a tree of a few nodes may stand for any length.
    seen: HashSet<(u8, u64, Id)>,
}

fn chunk(id: Id) -> Need {
    Need { kind: RecordKind::Chunk, id }
}

/// A node to be read, with what its parent says of it. The root has no parent.
struct Open {
    id: Id,
    said: Option<(u8, Subtree)>,
    /// The first path after everything below it.
    end: Option<Vec<u8>>,
}

impl<'a> Walk<'a> {
    /// Creates the walk over what `subject` needs.
    pub(crate) fn new(records: &'a Records, subject: &'a Subject) -> Self {
        Self { records, subject }
    }

    /// Walks, and calls `wave` with what is needed before it is read.
    ///
    /// # Errors
    /// The error of `wave`; or a record is not what it should be.
    pub(crate) fn run(&self, wave: &mut Wave<'_>) -> Result<()> {
        let mut open = vec![Open { id: self.subject.root, said: None, end: None }];
        let mut gathered = Gathered::default();
        while !open.is_empty() {
            let batch = open.split_off(open.len().saturating_sub(NODES_AT_ONCE));
            let need = |open: &Open| Need { kind: RecordKind::ManifestNode, id: open.id };
            let needs: Vec<Need> = batch.iter().map(need).collect();
            let all_here = wave(false, &needs)?;
            // The first of them comes off the stack first.
            for node in batch.into_iter().rev() {
                let read = self.node(&node);
                match read {
                    Ok(read) => self.gather(&node, read, &mut open, &mut gathered),
                    Err(error) if !all_here && error.kind() != ErrorKind::Storage => {}
                    Err(error) => return Err(error),
                }
            }
            if gathered.chunks.len() + gathered.large.len() >= CONTENTS_AT_ONCE {
                self.contents(&mut gathered, wave)?;
            }
        }
        self.contents(&mut gathered, wave)
    }

    fn node(&self, open: &Open) -> Result<Node> {
        let bytes = self.records.node(NodeKind::Manifest, &open.id)?;
        let node = Node::decode(&bytes)
            .map_err(|error| error.context(format!("manifest node {}", open.id)))?;
        let is_as_said = |(level, child): &(u8, Subtree)| -> Result<bool> {
            Ok(node.level + 1 == *level && node.child(open.id)? == *child)
        };
        match &open.said {
            Some(said) if !is_as_said(said)? => Err(Error::corrupt(format!(
                "manifest node {} does not agree with its parent",
                open.id
            ))),
            _ => Ok(node),
        }
    }

    /// Returns true if anything from `first` on and before `end` is asked for.
    fn is_wanted(&self, first: &[u8], end: Option<&[u8]>) -> bool {
        let Some(wanted) = &self.subject.below else { return true };
        // What is below a directory continues with a `/`, which is ordered as 0.
        let behind = [wanted, &[1][..]].concat();
        path::compare(first, &behind).is_lt()
            && end.is_none_or(|end| path::compare(end, wanted).is_gt())
    }

    fn gather(&self, parent: &Open, node: Node, open: &mut Vec<Open>, gathered: &mut Gathered) {
        match node.items {
            Items::Children(children) => {
                let ends = children[1..].iter().map(|next| Some(next.first.clone()));
                let ends: Vec<_> = ends.chain([parent.end.clone()]).collect();
                let level = node.level;
                for (child, end) in children.into_iter().zip(ends).rev() {
                    if self.is_wanted(&child.first, end.as_deref()) {
                        open.push(Open { id: child.id, said: Some((level, child)), end });
                    }
                }
            }
            Items::Entries(entries) if self.subject.contents => {
                for entry in entries {
                    let wanted = self.subject.below.as_deref();
                    let wanted = wanted.is_none_or(|wanted| {
                        entry.path == wanted || path::is_below(&entry.path, wanted)
                    });
                    match entry.kind {
                        EntryKind::File { size, content, .. } if wanted && size > 0 => {
                            if size <= CONTENT_WHOLE_BYTES_MAX {
                                gathered.chunks.push(chunk(content));
                            } else {
                                let kind = RecordKind::ContentRecord;
                                gathered.large.push(Need { kind, id: content });
                            }
                        }
                        _ => {}
                    }
                }
            }
            Items::Entries(_) => {}
        }
    }

    /// Asks for the contents that were gathered, and for what the large ones are made of.
    fn contents(&self, gathered: &mut Gathered, wave: &mut Wave<'_>) -> Result<()> {
        let large = std::mem::take(&mut gathered.large);
        // The chunks of small contents with the records of large ones: neither waits for the other.
        wave(true, &std::mem::take(&mut gathered.chunks))?;
        let all_here = wave(false, &large)?;
        let mut nodes: Vec<(u8, u64, Id)> = Vec::new();
        for need in large {
            match ContentRecord::read(self.records, &need.id) {
                Ok(record) => nodes.push((record.level, record.length, record.top)),
                Err(error) if !all_here && error.kind() != ErrorKind::Storage => {}
                Err(error) => return Err(error),
            }
        }
        while !nodes.is_empty() {
            let mut batch = nodes.split_off(nodes.len().saturating_sub(NODES_AT_ONCE));
            batch.retain(|node| gathered.seen.insert(*node));
            let need = |(_, _, id): &(u8, u64, Id)| Need { kind: RecordKind::ContentNode, id: *id };
            let all_here = wave(false, &batch.iter().map(need).collect::<Vec<_>>())?;
            for (level, length, id) in batch.into_iter().rev() {
                match ContentNode::read(self.records, &id) {
                    Ok(node) if node.level() != level || node.length() != Some(length) => {
                        return Err(Error::corrupt(format!(
                            "content node {id} does not agree with its parent"
                        )));
                    }
                    Ok(ContentNode::Leaf(items)) => {
                        let ids = items.iter().filter_map(|item| match item.source() {
                            ExtentSource::Chunk(id) => Some(chunk(id)),
                            _ => None,
                        });
                        gathered.chunks.extend(ids);
                    }
                    Ok(ContentNode::Inner(_, children)) => {
                        let below =
                            |(length, id): &(u64, Id)| (level.saturating_sub(1), *length, *id);
                        nodes.extend(children.iter().rev().map(below));
                    }
                    Err(error) if !all_here && error.kind() != ErrorKind::Storage => {}
                    Err(error) => return Err(error),
                }
            }
            if gathered.chunks.len() >= CONTENTS_AT_ONCE {
                wave(true, &std::mem::take(&mut gathered.chunks))?;
            }
        }
        match gathered.chunks.is_empty() {
            true => Ok(()),
            false => wave(true, &std::mem::take(&mut gathered.chunks)).map(|_| ()),
        }
    }
}
