//! Counts of the differences between two manifests.

use crate::values::size::{count, show};
use freestone_core::Result;
use freestone_manifest::{Change, Entry};
use serde::Serialize;

/// Counts of changed files and their sizes; directories are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiffStats {
    /// Files that exist only in the second manifest.
    pub new: u64,
    /// Files whose content, mode or link differs.
    pub changed: u64,
    /// Files that exist only in the first manifest.
    pub gone: u64,
    /// Bytes of new files, and of changed files in the second manifest.
    pub bytes_after: u64,
    /// Bytes of gone files, and of changed files in the first manifest.
    pub bytes_before: u64,
}

impl DiffStats {
    /// The keys, for the help.
    pub const KEYS: &str = "\
\"new\", \"changed\", \"gone\" (files), \"bytes_before\" and \"bytes_after\" (their sizes)";

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

    /// Counts all changes that `changes` passes to its argument.
    ///
    /// # Errors
    /// `changes` fails.
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

    /// Renders the counts as a line for people.
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
