//! The directories of objects that a repository borrows from.

use crate::own_file::{self, shown};
use freestone_core::{Error, Result};
use std::path::{Path, PathBuf};

/// The longest list of alternates.
const LIST_BYTES_MAX: u64 = 1 << 20;
/// The most directories of objects of one repository.
const FOLDERS_MAX: usize = 1024;

/// Returns the directory `folder` and those that it borrows from, directly or not, as canonical
/// paths. Checks that what a library opens in them by its path is a regular file.
///
/// # Errors
/// A directory cannot be read, or there are too many; a file is a pipe or a device.
pub(crate) fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        // Git ignores alternates that are gone.
        let canonical = match next.canonicalize() {
            Ok(canonical) => canonical,
            Err(_) if !found.is_empty() => continue,
            Err(error) => {
                return Err(Error::io(format!("{} cannot be opened", shown(&next)), error));
            }
        };
        if found.contains(&canonical) {
            continue;
        }
        if found.len() >= FOLDERS_MAX {
            return Err(Error::refused(format!(
                "{}: more than {FOLDERS_MAX} directories of objects",
                shown(folder)
            ))
            .hint("git itself follows five alternates; run `git repack -a -d` to need none"));
        }
        check_packs(&canonical.join("pack"))?;
        let list = canonical.join("info").join("alternates");
        if let Some(text) = own_file::read(&list, LIST_BYTES_MAX)? {
            let listed = gix_odb::alternate::parse(&text).map_err(|error| {
                Error::corrupt(format!("{} is malformed", shown(&list)))
                    .because(crate::faults::cause(error))
            })?;
            waiting.extend(listed.into_iter().rev().map(|path| canonical.join(path)));
        }
        found.push(canonical);
    }
    Ok(found)
}

/// Checks the files of a directory of packs.
fn check_packs(folder: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry =
            entry.map_err(|error| Error::io(format!("{} cannot be read", shown(folder)), error))?;
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            own_file::check(&entry.path())?;
        }
    }
    Ok(())
}
