//! Reads a manifest: by path, by number, and by position in an image.

use crate::cursor::Cursor;
use crate::entry::Entry;
use crate::node::{Items, Node, Subtree, disagrees};
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::wire::to_usize;
use freestone_core::{Error, Id, Result, lock, path};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The most bytes of decoded nodes that a tree keeps: enough for all inner nodes of a million
/// entries with paths of usual length. Bytes are counted, not nodes, because a node with the
/// longest paths is a hundred times as long as others.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// A node, and the one correct reference to it.
type Known = (Arc<Node>, Arc<Subtree>);

/// The nodes that a tree keeps.
#[derive(Default)]
struct Cache {
    nodes: HashMap<Id, Known>,
    /// The memory that they take, about.
    bytes: usize,
}

/// A manifest, opened at its root. It keeps decoded nodes up to a bound; clones share them.
#[derive(Clone)]
pub struct Tree<S> {
    source: S,
    root: Arc<Node>,
    summary: Subtree,
    cache: Arc<Mutex<Cache>>,
}

/// The position of a unit of a tar image in a manifest.
pub struct UnitPosition<'a, S> {
    /// A cursor before the entry that covers the unit.
    pub cursor: Cursor<'a, S>,
    /// The unit at which that entry starts, including the filler before it.
    pub start: u64,
}

impl<S: NodeSource> Tree<S> {
    /// Opens the manifest whose root is `id`.
    ///
    /// # Errors
    /// The root cannot be read or is malformed.
    pub fn open(source: S, id: &Id) -> Result<Self> {
        let root = Arc::new(read(&source, id)?);
        let summary = root.child(*id)?;
        Ok(Self { source, root, summary, cache: Arc::default() })
    }

    /// Returns the totals of the manifest, as a parent of the root would hold them.
    pub fn summary(&self) -> &Subtree {
        &self.summary
    }

    /// Returns the id of the root.
    pub fn id(&self) -> Id {
        self.summary.id
    }

    /// Returns the root's level: the number of nodes on the way to an entry.
    pub fn levels(&self) -> u8 {
        self.root.level
    }

    /// Returns the source of the nodes.
    pub fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Reads the node that `child` refers to, an item of a node of `level`, and checks that it
    /// agrees with the reference.
    pub(crate) fn below(&self, level: u8, child: &Subtree) -> Result<Arc<Node>> {
        let cached = self.cached(&child.id);
        let (node, truth) = match cached {
            Some(cached) => cached,
            None => {
                let node = Arc::new(read(&self.source, &child.id)?);
                let truth = Arc::new(node.child(child.id)?);
                self.keep(child.id, (node.clone(), truth.clone()));
                (node, truth)
            }
        };
        if node.level + 1 != level || *truth != *child {
            return Err(disagrees(&child.id));
        }
        Ok(node)
    }

    fn cached(&self, id: &Id) -> Option<Known> {
        lock(&self.cache).nodes.get(id).cloned()
    }

    fn keep(&self, id: Id, node: Known) {
        let bytes = node.0.memory_bytes();
        let mut cache = lock(&self.cache);
        // Another thread may have read it meanwhile.
        if cache.nodes.contains_key(&id) {
            return;
        }
        if cache.bytes + bytes > CACHE_BYTES_MAX {
            *cache = Cache::default();
        }
        cache.bytes += bytes;
        cache.nodes.insert(id, node);
    }

    /// Returns a cursor before the first entry.
    pub fn cursor(&self) -> Cursor<'_, S> {
        Cursor::at_start(self)
    }

    /// Returns a cursor before the first entry that is not before `path` in manifest order.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn seek<'a>(&'a self, path: &[u8]) -> Result<Cursor<'a, S>> {
        Cursor::descend(
            self,
            |children| {
                children
                    .partition_point(|c| path::compare(&c.first, path).is_le())
                    .saturating_sub(1)
            },
            |entries| entries.partition_point(|e| path::compare(&e.path, path).is_lt()),
        )
    }

    /// Returns a cursor after the first `index` entries in manifest order, or after the last entry
    /// if there are fewer.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn seek_index(&self, index: u64) -> Result<Cursor<'_, S>> {
        let left = std::cell::Cell::new(index);
        Cursor::descend(
            self,
            |children| {
                children
                    .iter()
                    .take_while(|child| {
                        let is_before = child.entries <= left.get();
                        if is_before {
                            left.set(left.get() - child.entries);
                        }
                        is_before
                    })
                    .count()
            },
            |entries| to_usize(left.get()).min(entries.len()),
        )
    }

    /// Returns the number of entries before `path` in manifest order. The path need not be an
    /// entry.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn index_of(&self, path: &[u8]) -> Result<u64> {
        let before = std::cell::Cell::new(0u64);
        Cursor::descend(
            self,
            |children| {
                let after = children.partition_point(|c| path::compare(&c.first, path).is_le());
                let picked = after.saturating_sub(1);
                let skipped: u64 = children[..picked].iter().map(|child| child.entries).sum();
                before.set(before.get() + skipped);
                picked
            },
            |entries| {
                let picked = entries.partition_point(|e| path::compare(&e.path, path).is_lt());
                before.set(before.get() + picked as u64);
                picked
            },
        )?;
        Ok(before.get())
    }

    /// Returns the entry at `path`.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn get(&self, path: &[u8]) -> Result<Option<Entry>> {
        let mut cursor = self.seek(path)?;
        Ok(cursor.next()?.filter(|entry| entry.path == path).cloned())
    }

    /// Returns a cursor before the entry that covers `unit` of a tar image whose entries start at
    /// unit `start`; after the last entry if none covers it. Units are 512 bytes.
    ///
    /// # Errors
    /// A node cannot be read, or an entry before the unit cannot be expressed in tar.
    pub fn seek_unit(&self, unit: u64, start: u64) -> Result<UnitPosition<'_, S>> {
        let inexpressible = || Error::refused("the manifest holds what tar cannot express");
        let at = std::cell::Cell::new(start);
        let failed = std::cell::Cell::new(false);
        let pick = |measures: &mut dyn Iterator<Item = freestone_core::Measure>| -> usize {
            let mut index = 0;
            for measure in measures {
                match measure.end(at.get()) {
                    Some(end) if end <= unit => at.set(end),
                    Some(_) => break,
                    None => {
                        failed.set(true);
                        break;
                    }
                }
                index += 1;
            }
            index
        };
        let cursor = Cursor::descend(
            self,
            |children| pick(&mut children.iter().map(|child| child.measure)),
            |entries| pick(&mut entries.iter().map(Entry::measure)),
        )?;
        if failed.get() {
            return Err(inexpressible());
        }
        Ok(UnitPosition { cursor, start: at.get() })
    }

    /// Returns the node of this tree at the same position as the encoded node `bytes` of another
    /// one: the node of the same level that covers its first path. `None` if this tree has no such
    /// level, or the bytes are not a node.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn node_at_position_of(&self, bytes: &[u8]) -> Result<Option<Id>> {
        let Some((level, first)) = crate::node::node_position(bytes) else { return Ok(None) };
        if level > self.root.level {
            return Ok(None);
        }
        let (mut node, mut id) = (self.root.clone(), self.summary.id);
        while node.level > level {
            let Items::Children(children) = &node.items else { return Ok(None) };
            let at = children.partition_point(|c| path::compare(&c.first, &first).is_le());
            let Some(child) = children.get(at.saturating_sub(1)) else { return Ok(None) };
            id = child.id;
            if node.level - 1 == level {
                break;
            }
            node = self.below(node.level, child)?;
        }
        Ok(Some(id))
    }

    /// Calls `each` with every node of the tree and its level, the root first. The nodes below a
    /// node are visited only if `each` returns true for it.
    ///
    /// # Errors
    /// A node cannot be read, or `each` failed.
    pub fn visit(&self, each: &mut dyn FnMut(&Subtree, u8) -> Result<bool>) -> Result<()> {
        let mut open = vec![(self.summary.clone(), self.root.level)];
        while let Some((child, level)) = open.pop() {
            if each(&child, level)? && level > 1 {
                let node = self.below(level + 1, &child)?;
                if let Items::Children(children) = &node.items {
                    open.extend(children.iter().rev().map(|child| (child.clone(), level - 1)));
                }
            }
        }
        Ok(())
    }
}

fn read<S: NodeSource>(source: &S, id: &Id) -> Result<Node> {
    let bytes = source.node(NodeKind::Manifest, id)?;
    Node::decode(&bytes).map_err(|error| error.context(format!("manifest node {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, MemoryNodes};

    #[test]
    fn the_nodes_that_are_kept_are_bounded_by_their_bytes() {
        // Each path shares nothing with the one before it: a leaf is half a megabyte.
        let mut builder = Builder::new(MemoryNodes::default());
        for number in 0..20_000u32 {
            let path = [format!("{number:05}").as_bytes(), &[b'x'; 4000]].concat();
            builder.push(Entry::directory(path, 0)).unwrap();
        }
        let (root, nodes) = builder.finish().unwrap();
        let tree = Tree::open(nodes, &root.id).unwrap();
        let mut cursor = tree.cursor();
        let (mut count, mut most) = (0, 0);
        while cursor.next().unwrap().is_some() {
            count += 1;
            let cache = tree.cache.lock().unwrap();
            let bytes: usize = cache.nodes.values().map(|(node, _)| node.memory_bytes()).sum();
            assert_eq!(bytes, cache.bytes);
            most = most.max(bytes);
        }
        assert_eq!(count, 20_000);
        assert!((CACHE_BYTES_MAX / 2..=CACHE_BYTES_MAX).contains(&most), "{most}");
    }
}
