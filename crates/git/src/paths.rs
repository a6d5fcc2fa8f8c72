//! Bounds the number of paths of a tree.
//!
//! Trees can share subtrees, so that a few small ones have more paths than anybody can list: 41 trees
//! of two entries have 2^40. The paths of a tree are counted without walking them, by remembering
//! those of each subtree, and compared with the entries that are really there.

use crate::entry::{Mode, entries};
use crate::repository::Repository;
use freestone_core::{Error, Result};
use gix_hash::ObjectId;
use std::collections::HashMap;

/// The paths that any tree may have.
pub(crate) const PATHS_MAX: u64 = 1 << 20;
/// The paths that a tree may have for each entry that is stored, above [`PATHS_MAX`].
const PATHS_PER_ENTRY_MAX: u64 = 64;
/// The most trees that are remembered. It bounds the memory. A tree with more subtrees has as many
/// paths as it likes, since that many entries are really there.
const TREES_MAX: usize = 1 << 20;

/// A tree whose subtrees are being counted.
struct Open {
    id: ObjectId,
    subtrees: Vec<ObjectId>,
    paths: u64,
}

/// Checks that `tree` does not have far more paths than its trees have entries.
///
/// # Errors
/// It does, or a tree cannot be read.
pub(crate) fn check(repository: &Repository, tree: ObjectId) -> Result<()> {
    let mut known: HashMap<ObjectId, u64> = HashMap::new();
    let mut entry_count = 0_u64;
    let mut open = Vec::new();
    let mut next = Some(tree);
    loop {
        if let Some(id) = next.take() {
            let listed = entries(repository, id)?;
            entry_count += listed.len() as u64;
            let subtrees = listed
                .iter()
                .filter(|entry| entry.mode == Mode::Tree)
                .map(|entry| ObjectId::from_bytes_or_panic(entry.id));
            open.push(Open { id, subtrees: subtrees.collect(), paths: listed.len() as u64 });
        }
        let Some(top) = open.last_mut() else { break };
        match top.subtrees.last() {
            Some(subtree) => match known.get(subtree) {
                Some(paths) => {
                    top.paths = top.paths.saturating_add(*paths);
                    top.subtrees.pop();
                }
                None if known.len() >= TREES_MAX => return Ok(()),
                // A tree cannot hold itself: its id is a hash of what it holds.
                None => next = Some(*subtree),
            },
            None => {
                known.insert(top.id, top.paths);
                open.pop();
            }
        }
    }
    let paths = known.get(&tree).copied().unwrap_or_default();
    let allowed = PATHS_MAX.saturating_add(entry_count.saturating_mul(PATHS_PER_ENTRY_MAX));
    if paths <= allowed {
        return Ok(());
    }
    let shown = match paths {
        u64::MAX => "more paths than can be counted".to_owned(),
        paths => format!("{paths} paths"),
    };
    Err(Error::refused(format!(
        "git tree {tree} has {shown}, of {entry_count} entries: its subtrees are shared in each other"
    ))
    .hint("no repository of files looks like this; push one of its directories with --subdir"))
}
