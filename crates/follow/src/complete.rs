//! Whether all that a revision needs is here.

use super::Inner;
use super::fetch::{Subject, Walk};
use super::needs::{Need, Overlay, locate};
use super::reach::Complete;
use crate::read::records::Records;
use crate::store::Store;
use freestone_core::{Error, Id, Result};

impl Inner {
    /// Whether all of these are here.
    fn are_here(&self, records: &Records, needs: &[Need]) -> Result<bool> {
        for need in needs {
            if self.absent(records, need, None)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The ranges of packs that hold what is here of a manifest and its contents.
    pub(super) fn ranges_of(
        &self,
        records: &Records,
        root: &Id,
        ranges: &mut Overlay,
    ) -> Result<()> {
        let subject = Subject { root: *root, below: None, contents: true };
        Walk::new(records, &subject).run(&mut |_, needs| {
            for need in needs {
                // What the index does not know is not here either.
                for (pack, range) in locate(records, need).unwrap_or_default() {
                    ranges.entry(pack).or_default().add(range);
                }
            }
            Ok(self.are_here(records, needs).unwrap_or(false))
        })
    }
}

impl Store {
    /// Whether all that revision `id` needs is here; true where this store follows no upstream.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_complete(&self, id: &Id) -> Result<bool> {
        let Some(follower) = self.following() else { return Ok(true) };
        let store = self.offline()?;
        let records = store.records()?;
        let Ok(Some(revision)) = store.revision(id) else { return Ok(false) };
        let subject = Subject { root: revision.root, below: None, contents: true };
        let mut complete = true;
        let stop = || Error::not_found("not complete");
        let walked = Walk::new(&records, &subject).run(&mut |_, needs| {
            // The first that is not here ends the walk.
            complete = complete && follower.0.are_here(&records, needs).unwrap_or(false);
            if complete { Ok(true) } else { Err(stop()) }
        });
        Ok(walked.is_ok() && complete)
    }

    /// The revisions that were fetched whole and still are here whole.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn complete(&self) -> Result<Vec<Complete>> {
        let Some(follower) = self.following() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for complete in follower.0.client.reach.complete() {
            if self.is_complete(&complete.id)? {
                found.push(complete);
            }
        }
        Ok(found)
    }

    /// Notes that revision `id`, asked for as `name`, was fetched whole.
    pub fn note_complete(&self, id: &Id, name: &str) {
        if let Some(follower) = self.following() {
            follower.0.client.reach.add_complete(id, name);
        }
    }
}
