//! Revisions, read from what is in the cache.

use crate::cache::here::Here;
use crate::cache::sparse::PackRanges;
use crate::fetch::needs::{Need, absent, locate};
use crate::fetch::walk::{Subject, Walk};
use freestone_backend::Backend;
use freestone_core::limits::REVISION_BYTES_MAX;
use freestone_core::{Error, Id, Result};
use freestone_format::record::RecordKind;
use freestone_format::revision::{self, Revision};
use freestone_store::{Index, Packs, Records};
use std::sync::Arc;

/// The longest file of a revision that is read, with its locator.
const FILE_BYTES_MAX: u64 = (REVISION_BYTES_MAX as u64) + (64 << 20);

/// What is in a cache, read as a store.
pub(crate) struct View {
    here: Here,
    records: Records,
}

impl View {
    /// Opens the index of what is here.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(crate) fn open(here: &Here) -> Result<Self> {
        let index = Arc::new(Index::open(here)?);
        let packs = Arc::new(Packs::new(Arc::new(here.clone())));
        Ok(Self { here: here.clone(), records: Records { index, packs } })
    }

    /// Returns revision `id`, if it is here.
    fn revision(&self, id: &Id) -> Option<Revision> {
        let file = self.here.get(&format!("revisions/{id}"), FILE_BYTES_MAX).ok().flatten();
        let decoded = file.and_then(|file| revision::decode_file(id, &file).ok());
        decoded.map(|(revision, _)| revision).or_else(|| {
            let mut bytes = Vec::new();
            let is_here = self.records.read(RecordKind::Revision, id, &mut bytes).unwrap_or(false);
            is_here.then(|| Revision::decode(&bytes).ok())?
        })
    }

    /// Returns true if all of `needs` are here.
    fn are_here(&self, needs: &[Need]) -> bool {
        let pack = |id: &Id| self.here.pack(id);
        needs.iter().all(|need| matches!(absent(pack, &self.records, need, None, false), Ok(None)))
    }

    /// Returns true if everything that revision `id` needs is here.
    pub(crate) fn is_complete(&self, id: &Id) -> bool {
        let Some(revision) = self.revision(id) else { return false };
        let walked = Walk::new(&self.records, &Subject::whole(revision.root)).run(
            // The first record that is not here ends the walk.
            &mut |_, needs| match self.are_here(needs) {
                true => Ok(true),
                false => Err(Error::not_found("it is not complete")),
            },
        );
        walked.is_ok()
    }

    /// Adds to `ranges` those of packs that hold what is here of revision `id`.
    pub(crate) fn add_ranges(&self, id: &Id, ranges: &mut PackRanges) {
        let Some(revision) = self.revision(id) else { return };
        // A walk that fails has found what is here up to that point.
        let _ = Walk::new(&self.records, &Subject::whole(revision.root)).run(&mut |_, needs| {
            for need in needs {
                // A record that the index does not list is not here either.
                for (pack, range) in locate(&self.records, need).unwrap_or_default() {
                    ranges.entry(pack).or_default().add(range);
                }
            }
            Ok(self.are_here(needs))
        });
    }
}
