//! Which entries of a ref need not have their revisions any more.

use super::Refs;
use freestone_backend::get_decoded;
use freestone_core::Result;
use freestone_format::collected::{self, BYTES_MAX, Collected};
use freestone_format::ref_entry;

/// What collections have kept of a ref.
#[derive(Clone, Debug, Default)]
pub struct CollectedRef {
    /// What each says that was not taken into another, with its object.
    said: Vec<(String, Collected)>,
}

impl CollectedRef {
    /// Returns true if the revision of entry `n` may be gone, since a collection did not keep it.
    pub fn may_lack(&self, n: u64) -> bool {
        self.said.iter().any(|(_, collected)| collected.may_lack(n))
    }
}

impl Refs {
    /// Returns what collections have kept of ref `name`.
    ///
    /// # Errors
    /// Listing or reading failed, or an object is damaged.
    pub fn collected(&self, name: &str) -> Result<CollectedRef> {
        let folder = ref_entry::folder(name);
        let mut said = Vec::new();
        for listed in self.backend.list(&folder)? {
            let key = listed.name.strip_prefix(&folder).and_then(|key| key.strip_prefix('/'));
            if !key.is_some_and(collected::is_key) {
                continue;
            }
            let found = get_decoded(&*self.backend, &listed.name, BYTES_MAX, Collected::decode);
            let found = found.map_err(|error| {
                error.context(&listed.name).hint(
                    "bring it back from a copy of the store; without it, entries that a collection \
                     did not keep are taken for lost",
                )
            })?;
            // One that is gone was taken into another.
            said.extend(found.map(|found| (listed.name, found)));
        }
        Ok(CollectedRef { said })
    }

    /// Notes, durably, that of the entries of ref `name` before `before` only those of `kept` need
    /// their revisions. What other collections did not keep is not kept by this one, either.
    ///
    /// # Errors
    /// The store cannot be read or written to.
    pub fn set_collected(&self, name: &str, before: u64, kept: &[u64]) -> Result<()> {
        let earlier = self.collected(name)?;
        let before = earlier.said.iter().map(|(_, c)| c.before).fold(before, u64::max);
        let kept = kept.iter().filter(|n| **n < before && !earlier.may_lack(**n));
        let mut collected = Collected { before, kept: kept.copied().collect() };
        collected.kept.sort_unstable();
        if matches!(&earlier.said[..], [(_, said)] if *said == collected) {
            return Ok(());
        }
        let key = collected::key(&freestone_backend::random());
        let object = format!("{}/{key}", ref_entry::folder(name));
        self.backend.create(&object, &collected.encode())?;
        earlier.said.iter().try_for_each(|(object, _)| self.backend.remove(object))
    }
}
