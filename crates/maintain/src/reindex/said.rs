//! What the records say of each other's names, in a temporary file.
//!
//! ```text
//! id 32 | 0 | SHA-1 of the content 20
//! id 32 | 1 | first bytes of the revision's commit | zeros
//! ```

use crate::sorted::{Sorted, SortedWriter};
use freestone_core::{Id, Result, Sha1};
use freestone_format::segment::PREFIX_BYTES;
use freestone_store::index::rows::Name;
use std::collections::HashSet;

const ID_BYTES: usize = 32;
const NAME_BYTES: usize = 20;
const RECORD_BYTES: usize = ID_BYTES + 1 + NAME_BYTES;

const SHA1: u8 = 0;
const COMMIT: u8 = 1;

/// Contents that are remembered as named: the leaves of many revisions name the same ones, and as a
/// rule one after the other.
const RECENT_MAX: usize = 1 << 16;

/// Takes names.
pub(super) struct SaidWriter {
    names: SortedWriter<RECORD_BYTES>,
    recent: HashSet<(Id, Sha1)>,
}

impl SaidWriter {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { names: SortedWriter::new()?, recent: HashSet::new() })
    }

    /// Adds the SHA-1 of the content `id`.
    pub(super) fn add_sha1(&mut self, id: &Id, sha1: Sha1) -> Result<()> {
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        match self.recent.insert((*id, sha1)) {
            true => self.add(id, SHA1, &sha1.0),
            false => Ok(()),
        }
    }

    /// Adds the first bytes of the commit that the revision `id` was made of.
    pub(super) fn add_commit(&mut self, id: &Id, commit: &[u8; PREFIX_BYTES]) -> Result<()> {
        self.add(id, COMMIT, commit)
    }

    fn add(&mut self, id: &Id, kind: u8, name: &[u8]) -> Result<()> {
        let mut record = [0; RECORD_BYTES];
        record[..ID_BYTES].copy_from_slice(&id.0);
        record[ID_BYTES] = kind;
        record[ID_BYTES + 1..][..name.len()].copy_from_slice(name);
        self.names.add(&record)
    }

    /// Sorts the names.
    pub(super) fn finish(self) -> Result<Said> {
        Ok(Said(self.names.finish()?))
    }
}

/// Names, to be looked up.
pub(super) struct Said(Sorted<RECORD_BYTES>);

impl Said {
    /// Returns the name of a record, if it has one.
    pub(super) fn name(&self, id: &Id) -> Option<Name> {
        let record = self.0.with_key(&id.0).next()?;
        let name = record.last_chunk::<NAME_BYTES>()?;
        match record[ID_BYTES] {
            SHA1 => Some(Name::Sha1(Sha1(*name))),
            _ => Some(Name::Commit(*name.first_chunk()?)),
        }
    }
}
