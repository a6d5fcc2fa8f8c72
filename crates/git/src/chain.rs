//! The first-parent history of a commit: the commits that a branch has pointed at.

use crate::commit::Commit;
use crate::repository::Repository;
use freestone_core::{Error, Result};
use gix_hash::ObjectId;

/// A part of a first-parent history: from a commit back to one that is known, or to the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The commits after the known one, the oldest first.
    pub commits: Vec<ObjectId>,
    /// Whether a known commit was found. If not, the history ended before.
    pub met: bool,
    /// The oldest commit, if the history ended because the clone is shallow.
    pub cut: Option<ObjectId>,
}

impl Chain {
    /// Follows the first parents of `tip` until `is_end` returns true for a commit, which is then
    /// known already.
    ///
    /// # Errors
    /// A commit cannot be read or is missing, or `is_end` failed.
    pub fn back_from(
        repository: &Repository,
        tip: &Commit,
        is_end: &mut dyn FnMut(ObjectId) -> Result<bool>,
    ) -> Result<Self> {
        let mut chain = Self::default();
        let mut next = Some(tip.clone());
        while let Some(commit) = next.take() {
            if is_end(commit.id)? {
                chain.met = true;
                break;
            }
            chain.commits.push(commit.id);
            let Some(parent) = commit.parents.first() else { break };
            if repository.is_cut_at(commit.id) {
                chain.cut = Some(commit.id);
                break;
            }
            next = Some(repository.commit(*parent)?.ok_or_else(|| {
                let shown = repository.shown();
                Error::not_found(format!(
                    "{shown}: commit {parent}, parent of {}, is missing",
                    commit.id
                ))
                .hint("run `git fsck` for a list of what is missing")
            })?);
        }
        chain.commits.reverse();
        Ok(chain)
    }
}
