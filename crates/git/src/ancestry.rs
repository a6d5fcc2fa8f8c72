//! Tells whether a commit is an ancestor of another.

use crate::commit::Commit;
use crate::repository::Repository;
use freestone_core::Result;
use gix_hash::ObjectId;
use std::collections::{BinaryHeap, HashSet};

/// How far the clocks of committers may differ, in seconds: a commit may be that much older than
/// its parent.
const CLOCKS_DIFFER_MAX: i64 = 86_400;
/// The most commits that are looked at.
const COMMITS_MAX: usize = 1 << 20;

impl Repository {
    /// Returns true if `older` is an ancestor of the commit `newer`, and not that commit itself.
    /// Commits that are missing have no parents, such as at the end of a shallow clone. Calls
    /// `each` for each commit that is read.
    ///
    /// # Errors
    /// A commit cannot be read, or `each` failed.
    pub fn is_ancestor(
        &self,
        older: &Commit,
        newer: ObjectId,
        each: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let mut seen = HashSet::from([newer]);
        // The newest first, so that the walk ends when all that are left are too old.
        let mut open = BinaryHeap::new();
        if let Some(commit) = self.commit(newer)? {
            open.push((commit.time, commit.parents));
        }
        while let Some((time, parents)) = open.pop() {
            if time < older.time.saturating_sub(CLOCKS_DIFFER_MAX) || seen.len() > COMMITS_MAX {
                return Ok(false);
            }
            for parent in parents {
                each()?;
                if parent == older.id {
                    return Ok(true);
                }
                if seen.insert(parent)
                    && let Some(commit) = self.commit(parent)?
                {
                    open.push((commit.time, commit.parents));
                }
            }
        }
        Ok(false)
    }
}
