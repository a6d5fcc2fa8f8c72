//! Compares two manifests. Subtrees with equal ids are not read.

use crate::entry::Entry;
use crate::node::{Items, Subtree};
use crate::tree::Tree;
use freestone_core::{Error, NodeSource, Result, path};
use std::cmp::Ordering;

/// Whether a difference of times alone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Entries that differ in their time alone are different.
    Count,
    /// Entries that differ in their time alone are equal.
    Ignore,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The entry in the first manifest.
    pub before: Option<Entry>,
    /// The entry in the second manifest.
    pub after: Option<Entry>,
}

impl Change {
    /// Returns the path.
    pub fn path(&self) -> &[u8] {
        match (&self.before, &self.after) {
            (Some(entry), _) | (_, Some(entry)) => &entry.path,
            (None, None) => &[],
        }
    }
}

enum Head {
    Subtree(Subtree, u8),
    Entry(Entry),
}

impl Head {
    fn path(&self) -> &[u8] {
        match self {
            Self::Subtree(child, _) => &child.first,
            Self::Entry(entry) => &entry.path,
        }
    }

    fn level(&self) -> u8 {
        match self {
            Self::Subtree(_, level) => *level,
            Self::Entry(_) => 0,
        }
    }
}

/// One of the two manifests: the subtrees and entries still to be compared, the next one last.
struct Side<'a, S> {
    tree: &'a Tree<S>,
    heads: Vec<Head>,
    /// The path of the entry or subtree that was passed last.
    passed: Option<Vec<u8>>,
}

impl<'a, S: NodeSource> Side<'a, S> {
    fn new(tree: &'a Tree<S>) -> Self {
        let summary = tree.summary();
        let heads = match summary.entries {
            0 => Vec::new(),
            _ => vec![Head::Subtree(summary.clone(), tree.levels())],
        };
        Self { tree, heads, passed: None }
    }

    /// Replaces the next subtree by its items.
    fn expand(&mut self) -> Result<()> {
        if let Some(Head::Subtree(child, level)) = self.heads.pop() {
            let node = self.tree.below(level + 1, &child)?;
            match &node.items {
                Items::Entries(entries) => {
                    self.heads.extend(entries.iter().rev().cloned().map(Head::Entry));
                }
                Items::Children(children) => self.heads.extend(
                    children.iter().rev().map(|child| Head::Subtree(child.clone(), level - 1)),
                ),
            }
        }
        Ok(())
    }

    /// Passes the next entry or subtree. Each node has its items in order, but only here it shows
    /// that the nodes have: a tree whose nodes name each other often would take for ever.
    fn pass(&mut self) -> Result<Option<Entry>> {
        let Some(head) = self.heads.pop() else { return Ok(None) };
        let path = head.path();
        match &mut self.passed {
            Some(passed) if path::compare(passed, path).is_ge() => {
                return Err(Error::corrupt(format!(
                    "manifest {}: entry {:?} is out of order",
                    self.tree.id(),
                    path::display(path)
                )));
            }
            Some(passed) => {
                passed.clear();
                passed.extend_from_slice(path);
            }
            passed => *passed = Some(path.to_vec()),
        }
        Ok(match head {
            Head::Entry(entry) => Some(entry),
            Head::Subtree(..) => None,
        })
    }
}

/// The differences between two manifests, path by path in manifest order, each computed when it is
/// asked for.
pub struct Differences<'a, A, B> {
    left: Side<'a, A>,
    right: Side<'a, B>,
    times: Times,
}

impl<'a, A: NodeSource, B: NodeSource> Differences<'a, A, B> {
    /// Compares `after` with `before`.
    pub fn new(before: &'a Tree<A>, after: &'a Tree<B>, times: Times) -> Self {
        Self { left: Side::new(before), right: Side::new(after), times }
    }

    fn find(&mut self) -> Result<Option<Change>> {
        let (left, right) = (&mut self.left, &mut self.right);
        loop {
            let step = match (left.heads.last(), right.heads.last()) {
                (None, None) => return Ok(None),
                (Some(Head::Entry(_)), None) => Advance::Gone,
                (None, Some(Head::Entry(_))) => Advance::New,
                (Some(Head::Subtree(..)), None) => Advance::ExpandLeft,
                (None, Some(Head::Subtree(..))) => Advance::ExpandRight,
                (Some(a), Some(b)) => step(a, b, self.times),
            };
            match step {
                Advance::SkipBoth => {
                    left.pass()?;
                    right.pass()?;
                }
                Advance::ExpandLeft => left.expand()?,
                Advance::ExpandRight => right.expand()?,
                Advance::ExpandBoth => {
                    left.expand()?;
                    right.expand()?;
                }
                Advance::Gone => return Ok(Some(Change { before: left.pass()?, after: None })),
                Advance::New => return Ok(Some(Change { before: None, after: right.pass()? })),
                Advance::Compare => {
                    let (before, after) = (left.pass()?, right.pass()?);
                    let equal = match (&before, &after) {
                        (Some(a), Some(b)) if self.times == Times::Ignore => a.same_but_for_time(b),
                        _ => before == after,
                    };
                    if !equal {
                        return Ok(Some(Change { before, after }));
                    }
                }
            }
        }
    }
}

/// An item is an error if a node cannot be read.
impl<A: NodeSource, B: NodeSource> Iterator for Differences<'_, A, B> {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find().transpose()
    }
}

/// Passes every path that differs to `each`, in manifest order.
///
/// # Errors
/// A node cannot be read or is out of order, or `each` failed.
pub fn diff<A: NodeSource, B: NodeSource>(
    before: &Tree<A>,
    after: &Tree<B>,
    times: Times,
    each: &mut dyn FnMut(Change) -> Result<()>,
) -> Result<()> {
    Differences::new(before, after, times).try_for_each(|change| each(change?))
}

enum Advance {
    SkipBoth,
    ExpandLeft,
    ExpandRight,
    ExpandBoth,
    Gone,
    New,
    Compare,
}

fn step(a: &Head, b: &Head, times: Times) -> Advance {
    if let (Head::Subtree(x, _), Head::Subtree(y, _)) = (a, b)
        && (x.id == y.id || (times == Times::Ignore && x.content_digest == y.content_digest))
    {
        return Advance::SkipBoth;
    }
    let order = path::compare(a.path(), b.path());
    match (order, a.level(), b.level()) {
        (Ordering::Equal, 0, 0) => Advance::Compare,
        (Ordering::Less, 0, _) => Advance::Gone,
        (Ordering::Greater, _, 0) => Advance::New,
        (Ordering::Less, _, _) => Advance::ExpandLeft,
        (Ordering::Greater, _, _) => Advance::ExpandRight,
        (Ordering::Equal, x, y) => match x.cmp(&y) {
            Ordering::Less => Advance::ExpandRight,
            Ordering::Greater => Advance::ExpandLeft,
            Ordering::Equal => Advance::ExpandBoth,
        },
    }
}
