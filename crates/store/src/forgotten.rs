//! Revisions that are not to be kept, whatever says that the entries of their refs are.

use crate::store::Store;
use freestone_core::{Id, Result};
use freestone_format::forgotten;
use std::collections::HashSet;

impl Store {
    /// Returns the revisions that were forgotten: collections keep them only as the newest entry of
    /// a ref.
    ///
    /// # Errors
    /// Listing failed.
    pub fn forgotten(&self) -> Result<HashSet<Id>> {
        let listed = self.backend().list("forgotten")?;
        Ok(listed.iter().filter_map(|listed| forgotten::of_object(&listed.name)).collect())
    }

    /// Returns true if the revision `id` was forgotten.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_forgotten(&self, id: &Id) -> Result<bool> {
        Ok(self.backend().open(&forgotten::object_name(id))?.is_some())
    }

    /// Notes, durably, that the revision `id` is not to be kept.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn set_forgotten(&self, id: &Id) -> Result<()> {
        self.backend().create(&forgotten::object_name(id), b"").map(|_| ())
    }
}
