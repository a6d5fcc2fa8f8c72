//! Which entries of a ref need not have their revisions any more.

use super::Refs;
use freestone_core::Result;
use freestone_format::ref_entry;

/// What the names of these objects begin with, after the folder of the ref.
const COLLECTED: &str = "collected-";

/// Returns the name of the object that says that entries of ref `name` before `n` are collected.
fn object_name(name: &str, n: u64) -> String {
    format!("{}/{COLLECTED}{n:016x}", ref_entry::folder(name))
}

impl Refs {
    /// Returns the number of the entry from which on ref `name` has all of its revisions: a
    /// collection need not have kept those of the entries before. 0 if nothing was collected.
    ///
    /// # Errors
    /// Listing failed.
    pub fn collected(&self, name: &str) -> Result<u64> {
        let folder = ref_entry::folder(name);
        let of = |name: &str| {
            let digits = name.strip_prefix(&folder)?.strip_prefix('/')?.strip_prefix(COLLECTED)?;
            let is_number = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16).ok().filter(|_| is_number)
        };
        let listed = self.backend.list(&folder)?;
        Ok(listed.iter().filter_map(|listed| of(&listed.name)).max().unwrap_or(0))
    }

    /// Notes, durably, that the revisions of the entries of ref `name` before `n` may be collected.
    /// What was noted before is removed if it says less.
    ///
    /// # Errors
    /// The store cannot be read or written to.
    pub fn set_collected(&self, name: &str, n: u64) -> Result<()> {
        let before = self.collected(name)?;
        if before >= n {
            return Ok(());
        }
        self.backend.create(&object_name(name, n), b"")?;
        match before {
            0 => Ok(()),
            before => self.backend.remove(&object_name(name, before)),
        }
    }
}
