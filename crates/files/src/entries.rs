//! The names of a directory.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The entries of a directory, in no order. Made by [`Folder::entries`](crate::Folder::entries).
pub struct Entries {
    directory: Dir,
    descriptor: OwnedFd,
}

/// An entry of a directory.
pub struct FolderEntry {
    name: CString,
    /// What it is. Never [`FileType::Unknown`].
    pub kind: FileType,
}

impl FolderEntry {
    /// Returns its name in the directory.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name.to_bytes())
    }
}

impl Entries {
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self { directory: Dir::read_from(&descriptor)?, descriptor })
    }

    /// Returns what is known of an entry; of a link, not of what it leads to.
    ///
    /// # Errors
    /// The entry is gone, or the file system fails.
    pub fn stat(&self, entry: &FolderEntry) -> io::Result<Stat> {
        Ok(look(&self.descriptor, &entry.name)?)
    }
}

fn look(directory: &OwnedFd, name: &CStr) -> rustix::io::Result<Stat> {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

impl Iterator for Entries {
    type Item = io::Result<FolderEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.directory.read()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno.into())),
            };
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let name = entry.file_name().to_owned();
            // Some file systems tell the kind only by another call.
            let kind = match entry.file_type() {
                FileType::Unknown => match look(&self.descriptor, &name) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(errno) => return Some(Err(errno.into())),
                },
                kind => kind,
            };
            return Some(Ok(FolderEntry { name, kind }));
        }
    }
}
