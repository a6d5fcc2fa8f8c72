//! The directories of objects of a repository: its own, and those that it borrows from.
//!
//! A library opens what is in them by path, so it is looked at first. A repository that somebody
//! else made must not have a pipe or a device there, and must not lead to objects elsewhere: a
//! push would publish what the repository does not hold.

use crate::own_file::{self, shown};
use freestone_core::{Error, Result};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

/// The longest list of alternates.
const LIST_BYTES_MAX: u64 = 1 << 20;
/// The most directories of objects of one repository.
const FOLDERS_MAX: usize = 1024;

/// Returns the directory `folder` and those that it borrows from, directly or not, as canonical
/// paths. With `inside`, the canonical path of a repository, all of them and what is in them must be
/// there. Checks that what a library opens by its path is a regular file.
///
/// # Errors
/// A directory cannot be read or leads out of the repository, or there are too many; a file is a
/// pipe or a device.
pub(crate) fn all(folder: &Path, inside: Option<&Path>) -> Result<Vec<PathBuf>> {
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
        check_inside(&next, &canonical, inside)?;
        for entry in own_file::entries(&canonical)? {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            let is_loose = name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit);
            if is_loose || name == b"pack" {
                check_files(&entry, inside)?;
            }
        }
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

/// Checks the files of a directory of packs or of objects.
fn check_files(folder: &DirEntry, inside: Option<&Path>) -> Result<()> {
    check_link(folder, inside)?;
    for entry in own_file::entries(&folder.path())? {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            own_file::check(&entry.path())?;
            check_link(&entry, inside)?;
        }
    }
    Ok(())
}

/// Checks that a link leads to where it may.
fn check_link(entry: &DirEntry, inside: Option<&Path>) -> Result<()> {
    if entry.file_type().is_ok_and(|kind| kind.is_symlink())
        && let Ok(canonical) = entry.path().canonicalize()
    {
        check_inside(&entry.path(), &canonical, inside)?;
    }
    Ok(())
}

fn check_inside(path: &Path, canonical: &Path, inside: Option<&Path>) -> Result<()> {
    if inside.is_none_or(|inside| canonical.starts_with(inside)) {
        return Ok(());
    }
    let what = format!("{} leads to objects outside of the repository", shown(path));
    Err(Error::refused(what).hint(
        "it belongs to another user; `git repack -a -d` copies objects that are borrowed, then remove \
         objects/info/alternates. If you trust the repository, name it in GIT_DIR as well",
    ))
}
