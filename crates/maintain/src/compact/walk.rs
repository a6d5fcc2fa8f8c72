//! The order in which a compaction writes: the newest revision first, whole, then each older one,
//! of which only what differs from the one after it is still to be written.

use super::writer::Writer;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{ExtentSource, NodeKind};
use freestone_core::{Id, Result};
use freestone_format::record::RecordKind;
use freestone_manifest::content::{distinct_pieces, visit_nodes};
use freestone_manifest::{Cursor, Entry, EntryKind, Subtree, Times, Tree, diff};
use freestone_store::{Records, Store};
use std::collections::{HashMap, HashSet};

/// Nodes that are remembered as written, about 50 bytes each. When there are more, all are
/// forgotten: they are visited again, and found to be written.
const SEEN_MAX: usize = 1 << 17;

/// A revision, and the one that came from it, if there is one.
struct Step {
    root: Id,
    id: Id,
    newer: Option<Id>,
}

/// Returns the revisions of a store, each after what came from it; those that nothing came from by
/// their times, the newest first.
fn order(store: &Store, ids: &[Id]) -> Result<Vec<Step>> {
    let mut revisions: HashMap<Id, (Id, Option<Id>)> = HashMap::new();
    let mut parents: HashSet<Id> = HashSet::new();
    let mut heads: Vec<(bool, i64, Id)> = Vec::new();
    for id in ids {
        if let Some(revision) = store.revision(id)? {
            revisions.insert(*id, (revision.root, revision.parents.first().copied()));
            parents.extend(&revision.parents);
            heads.push((false, revision.time, *id));
        }
    }
    for (is_head, _, id) in &mut heads {
        *is_head = !parents.contains(id);
    }
    heads.sort_unstable_by(|a, b| b.cmp(a));
    let mut steps = Vec::with_capacity(revisions.len());
    for (_, _, head) in heads {
        let (mut id, mut newer) = (head, None);
        while let Some((root, parent)) = revisions.remove(&id) {
            steps.push(Step { root, id, newer });
            newer = Some(id);
            let Some(parent) = parent else { break };
            id = parent;
        }
    }
    Ok(steps)
}

/// Gives the writer all that the revisions `ids` lead to.
pub(super) fn walk(store: &Store, ids: &[Id], writer: &mut Writer<'_>) -> Result<()> {
    let records = writer.records;
    let mut seen: HashSet<Id> = HashSet::new();
    let mut last: Option<(Id, Tree<Records>)> = None;
    for step in order(store, ids)? {
        let tree = Tree::open(records.clone(), &step.root)
            .map_err(|error| error.context(format!("revision {}", step.id)))?;
        match last.as_ref().filter(|(id, _)| Some(*id) == step.newer) {
            Some((_, newer)) => diff(&tree, newer, Times::Ignore, &mut |change| {
                let content = |entry: &Entry| match &entry.kind {
                    EntryKind::File { size, content, .. } => Some((*content, *size)),
                    EntryKind::Directory => None,
                };
                let after = change.after.as_ref().and_then(content);
                let after = after.filter(|(_, size)| *size <= CONTENT_WHOLE_BYTES_MAX);
                match change.before.as_ref().and_then(content) {
                    Some(before) => file(writer, change.path(), before, after.map(|(id, _)| id)),
                    None => Ok(()),
                }
            })?,
            None => {
                let mut cursor: Cursor<'_, Records> = tree.cursor();
                while let Some(entry) = cursor.next()? {
                    if let EntryKind::File { size, content, .. } = &entry.kind {
                        file(writer, &entry.path, (*content, *size), None)?;
                    }
                }
            }
        }
        nodes(&tree, &mut seen, writer)?;
        writer.revision(step.id);
        last = Some((step.id, tree));
    }
    Ok(())
}

/// Writes the nodes of a manifest that are not `seen`, each after those below it, so that it need
/// not hold their ids.
fn nodes(tree: &Tree<Records>, seen: &mut HashSet<Id>, writer: &mut Writer<'_>) -> Result<()> {
    let kind = RecordKind::ManifestNode;
    let mut above: Vec<(Id, u8)> = Vec::new();
    tree.visit(&mut |child: &Subtree, level| {
        while let Some((id, _)) = above.pop_if(|(_, before)| *before <= level) {
            writer.node(kind, &id)?;
        }
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        let is_new = seen.insert(child.id);
        if is_new {
            above.push((child.id, level));
        }
        Ok(is_new)
    })?;
    above.iter().rev().try_for_each(|(id, _)| writer.node(kind, id))
}

/// Writes a file's content.
fn file(
    writer: &mut Writer<'_>,
    path: &[u8],
    (id, size): (Id, u64),
    newer: Option<Id>,
) -> Result<()> {
    if size <= CONTENT_WHOLE_BYTES_MAX {
        return writer.content(&id, newer.as_ref(), path);
    }
    if !writer.open.contains_key(&(RecordKind::ContentRecord, id)) {
        return Ok(());
    }
    let records = writer.records;
    distinct_pieces(records, &id, size, None, &mut |piece| match piece.source {
        ExtentSource::Chunk(chunk) => writer.chunk(&chunk, piece.offset),
        _ => Ok(()),
    })?;
    visit_nodes(records, &id, &mut |kind, node| {
        if kind == NodeKind::Content {
            writer.node(RecordKind::ContentNode, node)?;
        }
        Ok(true)
    })?;
    writer.node(RecordKind::ContentRecord, &id)
}
