//! Revisions, read from what is in the cache.

use crate::cache::here::Here;
use crate::cache::sparse::PackRanges;
use crate::fetch::needs::{Need, absent, locate};
use crate::fetch::walk::{Subject, Walk};
use freestone_backend::Backend;
use freestone_core::limits::REVISION_BYTES_MAX;
use freestone_core::{Error, ErrorKind, Id, Result};
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
    fn revision(&self, id: &Id) -> Result<Option<Revision>> {
        let file = unless_io(self.here.get(&format!("revisions/{id}"), FILE_BYTES_MAX))?.flatten();
        if let Some((revision, _)) = file.and_then(|file| revision::decode_file(id, &file).ok()) {
            return Ok(Some(revision));
        }
        let mut bytes = Vec::new();
        match unless_io(self.records.read(RecordKind::Revision, id, &mut bytes))? {
            Some(true) => Ok(Revision::decode(&bytes).ok()),
            _ => Ok(None),
        }
    }

    /// Returns true if all of `needs` are here.
    fn are_here(&self, needs: &[Need]) -> Result<bool> {
        let pack = |id: &Id| self.here.pack(id);
        for need in needs {
            // A record that the index does not list is not here either.
            let absent = unless_io(absent(pack, &self.records, need, None, false))?;
            if !matches!(absent, Some(None)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns true if everything that revision `id` needs is here.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub(crate) fn is_complete(&self, id: &Id) -> Result<bool> {
        let Some(revision) = self.revision(id)? else { return Ok(false) };
        let walked = Walk::new(&self.records, &Subject::whole(revision.root)).run(
            // The first record that is not here ends the walk.
            &mut |_, needs| match self.are_here(needs)? {
                true => Ok(true),
                false => Err(Error::not_found("it is not complete")),
            },
        );
        Ok(unless_io(walked)?.is_some())
    }

    /// Adds to `ranges` those of packs that hold what is here of revision `id`.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub(crate) fn add_ranges(&self, id: &Id, ranges: &mut PackRanges) -> Result<()> {
        let Some(revision) = self.revision(id)? else { return Ok(()) };
        let subject = Subject::whole(revision.root);
        let walk = Walk::new(&self.records, &subject);
        let walked = walk.run(&mut |_, needs| {
            for need in needs {
                let places = unless_io(locate(&self.records, need))?;
                for (pack, range) in places.into_iter().flatten() {
                    ranges.entry(pack).or_default().add(range);
                }
            }
            self.are_here(needs)
        });
        // A walk that ends at what is damaged has found what is here up to that point.
        unless_io(walked).map(|_| ())
    }
}

/// Returns `None` in place of an error that says that something is not here or is damaged. The error
/// of a disk or a limit of the system says nothing about what is here, and stays.
pub(crate) fn unless_io<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Storage => Err(error),
        outcome => Ok(outcome.ok()),
    }
}
