//! The paths of a manifest that FAT cannot hold. All are collected before the manifest is refused.

use freestone_core::{Error, Result, path};

/// How many paths are listed.
const LISTED_MAX: u64 = 100;

/// The paths that FAT cannot hold, each with the reason.
#[derive(Default)]
pub(super) struct Refusals {
    listed: Vec<String>,
    count: u64,
}

impl Refusals {
    /// Adds a path, which is empty for the top. `why` continues the sentence, as in "is not UTF-8".
    pub(super) fn add(&mut self, path: &[u8], why: &str) {
        self.count += 1;
        if self.count <= LISTED_MAX {
            let shown = if path.is_empty() { "(the top)".into() } else { path::display(path) };
            self.listed.push(format!("  {shown} {why}"));
        }
    }

    /// Returns true if further paths are only counted, so that their reasons need not be found.
    pub(super) fn is_full(&self) -> bool {
        self.count >= LISTED_MAX
    }

    /// Refuses the manifest if there are any.
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) with a list of the paths.
    pub(super) fn check(self) -> Result<()> {
        let count = self.count;
        if count == 0 {
            return Ok(());
        }
        let mut listed = self.listed;
        if count > LISTED_MAX {
            listed.push(format!("  and {} more", count - LISTED_MAX));
        }
        Err(Error::refused(format!("FAT cannot hold {count} of the paths:"))
            .list(listed)
            .hint("rename them, leave them out, or make a tar image, which holds them"))
    }
}
