//! What differs between two manifests, in stats.

use crate::values::size::{count, show};
use freestone_core::Result;
use freestone_manifest::{Change, Entry};
use serde::Serialize;

/// The stats; directories are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiffStats {
    /// Files that were not there before.
    pub new: u64,
    /// Files whose content, mode or link is another.
    pub changed: u64,
    /// Files that are no longer there.
    pub gone: u64,
    /// Bytes of the new files, and of the changed ones as they are now.
    pub bytes_after: u64,
    /// Bytes of the changed files as they were, and of those that are gone.
    pub bytes_before: u64,
}

impl DiffStats {
    /// The keys, for the help.
    pub const KEYS: &str =
        "\"new\", \"changed\", \"gone\" (files), \"bytes_after\", \"bytes_before\" (of them)";

    /// Counts a change.
    pub fn add(&mut self, change: &Change) {
        let size = |entry: &Option<Entry>| entry.as_ref().and_then(Entry::size);
        let (before, after) = (size(&change.before), size(&change.after));
        match (before, after) {
            (None, Some(_)) => self.new += 1,
            (Some(_), Some(_)) => self.changed += 1,
            (Some(_), None) => self.gone += 1,
            (None, None) => {}
        }
        self.bytes_before = self.bytes_before.saturating_add(before.unwrap_or(0));
        self.bytes_after = self.bytes_after.saturating_add(after.unwrap_or(0));
    }

    /// Those of all changes that `changes` gives.
    ///
    /// # Errors
    /// What `changes` returns.
    pub fn of(
        changes: impl FnOnce(&mut dyn FnMut(&Change) -> Result<()>) -> Result<()>,
    ) -> Result<Self> {
        let mut stats = Self::default();
        changes(&mut |change| {
            stats.add(change);
            Ok(())
        })?;
        Ok(stats)
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let files = count(self.new + self.changed + self.gone, "file", "files");
        format!(
            "{files}: {} new, {} changed, {} gone; {} became {}",
            self.new,
            self.changed,
            self.gone,
            show(self.bytes_before),
            show(self.bytes_after)
        )
    }
}
