//! Commits, each with its first parent: the history that a branch has had.

use crate::commit::Commit;
use crate::repository::Repository;
use freestone_core::{Error, Result};
use gix_hash::ObjectId;

/// First-parent history, from a commit back to where it is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The commits behind that end, the oldest first.
    pub commits: Vec<ObjectId>,
    /// Whether it ended where it was to, and not at the first commit of all.
    pub met: bool,
    /// Where a shallow clone ends, if the history did there.
    pub cut: Option<ObjectId>,
}

impl Chain {
    /// Goes from `tip` back until `is_end` says that a commit is known already.
    ///
    /// # Errors
    /// A commit cannot be read or is missing.
    pub fn behind(
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
                let shown = repository.path().display();
                Error::not_found(format!(
                    "{shown}: commit {parent}, parent of {}, is missing",
                    commit.id
                ))
                .hint("`git fsck` tells what is missing")
            })?);
        }
        chain.commits.reverse();
        Ok(chain)
    }
}
