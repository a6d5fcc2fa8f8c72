//! Finding entries in many manifests that share nodes.

use crate::entry::Entry;
use crate::node::{Items, Node, Subtree};
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Id, Result};
use std::collections::HashSet;

/// Nodes that are remembered as having nothing that is wanted: 32 bytes each, one for some 25
/// entries. More are read again.
const WITHOUT_MAX: usize = 1 << 20;

/// A search of many manifests for the same entries: a node that has none of them is not read again.
#[derive(Debug, Default)]
pub struct Search {
    without: HashSet<Id>,
}

/// What is searched for.
pub struct Wanted<'a> {
    /// Returns true if an entry is wanted. It depends on nothing but the entry.
    pub is_wanted: &'a mut dyn FnMut(&Entry) -> Result<bool>,
    /// The id of a node that is wanted, too.
    pub node: Option<Id>,
    /// Called with the path of every entry that is wanted, and with the first path of the wanted node.
    pub each: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl Search {
    /// Finds the wanted entries of the manifest whose top node is `root`, in order. Returns true if
    /// there are any.
    ///
    /// # Errors
    /// A node is missing or damaged; or an error of the functions of `wanted`.
    pub fn manifest<S: NodeSource + ?Sized>(
        &mut self,
        source: &S,
        root: &Id,
        wanted: &mut Wanted<'_>,
    ) -> Result<bool> {
        self.node(source, root, None, wanted)
    }

    /// Searches a node. `said` is its level and what its parent says of it.
    fn node<S: NodeSource + ?Sized>(
        &mut self,
        source: &S,
        id: &Id,
        said: Option<(u8, &Subtree)>,
        wanted: &mut Wanted<'_>,
    ) -> Result<bool> {
        if self.without.contains(id) {
            return Ok(false);
        }
        let bytes = source.node(NodeKind::Manifest, id)?;
        let node = Node::decode_below(&bytes, id, said)?;
        let mut any = wanted.node == Some(*id);
        if any {
            (wanted.each)(node.first())?;
        }
        match &node.items {
            Items::Children(children) => {
                for child in children {
                    any |= self.node(source, &child.id, Some((node.level, child)), wanted)?;
                }
            }
            Items::Entries(entries) => {
                for entry in entries {
                    if (wanted.is_wanted)(entry)? {
                        any = true;
                        (wanted.each)(&entry.path)?;
                    }
                }
            }
        }
        if !any {
            if self.without.len() >= WITHOUT_MAX {
                self.without.clear();
            }
            self.without.insert(*id);
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, MemoryNodes};
    use freestone_core::Error;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the nodes that are read.
    struct Counted<'a>(&'a MemoryNodes, AtomicUsize);

    impl NodeSource for Counted<'_> {
        fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.node(kind, id)
        }
    }

    #[test]
    fn shared_nodes_without_what_is_wanted_are_read_once() {
        let mut builder = Builder::new(MemoryNodes::default());
        for number in 0..5000 {
            builder.push(Entry::directory(format!("{number:04}"), 0)).unwrap();
        }
        let (root, nodes) = builder.finish().unwrap();
        let source = Counted(&nodes, AtomicUsize::new(0));
        let mut search = Search::default();
        let mut read = |path: &str, expected: bool| {
            let mut found = Vec::new();
            let any = search.manifest(
                &source,
                &root.id,
                &mut Wanted {
                    is_wanted: &mut |entry| Ok(entry.path == path.as_bytes()),
                    node: None,
                    each: &mut |path| {
                        found.push(path.to_vec());
                        Ok(())
                    },
                },
            );
            assert_eq!(any.unwrap(), expected);
            assert_eq!(found.len(), usize::from(expected));
            source.1.swap(0, Ordering::Relaxed)
        };
        let all = read("1234", true);
        assert!(all > 100, "{all}");
        // The nodes that lead to the entry, and no others.
        let again = read("1234", true);
        assert!(again <= usize::from(root_level(&nodes, &root.id)), "{again}");
    }

    fn root_level(nodes: &MemoryNodes, root: &Id) -> u8 {
        Node::decode(&nodes.node(NodeKind::Manifest, root).unwrap()).unwrap().level
    }

    #[test]
    fn an_error_of_the_caller_ends_the_search() {
        let mut builder = Builder::new(MemoryNodes::default());
        builder.push(Entry::directory("a", 0)).unwrap();
        let (root, nodes) = builder.finish().unwrap();
        let mut wanted = Wanted {
            is_wanted: &mut |_| Ok(true),
            node: None,
            each: &mut |_| Err(Error::not_found("enough")),
        };
        assert!(Search::default().manifest(&nodes, &root.id, &mut wanted).is_err());
    }
}
