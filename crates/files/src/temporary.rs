//! Temporary files and directories with random names, and what killed processes left of them.

use crate::Folder;
use rustix::fd::AsFd;
use rustix::fs::{FileType, FlockOperation, flock, fstat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How often something is created that another process takes for left over and removes.
const TRIES: usize = 100;
/// The random digits at the end of a temporary name.
const RANDOM_DIGITS: usize = 16;
/// The part of a name between that of the target and the random digits.
const MARK: &str = ".freestone-";
/// A name has at most 255 bytes, so the target's may have to be cut.
const NAME_BYTES_MAX: usize = 255 - 1 - MARK.len() - RANDOM_DIGITS;

/// A file that was created under a random name and is locked (`flock`). It stays until it is
/// renamed or removed.
pub struct Temporary {
    /// The file, open for reading and writing.
    pub file: File,
    /// Its name below the folder.
    pub name: PathBuf,
}

/// Returns the beginning of the names of temporary files next to the target `name`, which will
/// become it: `.NAME.freestone-`.
pub fn prefix_beside(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let mut prefix = vec![b'.'];
    prefix.extend_from_slice(&name[..name.len().min(NAME_BYTES_MAX)]);
    prefix.extend_from_slice(MARK.as_bytes());
    OsString::from_vec(prefix)
}

impl Folder {
    /// Creates and locks a file in the directory `parent`, or in the folder itself if `parent` is
    /// empty. Its name is `prefix` and 16 random hexadecimal digits; its mode is `mode` less the
    /// umask. As long as it is open, [`Self::clear_left_over`] does not remove it.
    ///
    /// # Errors
    /// No file can be created there, or another process removes every one.
    pub fn create_temporary(
        &self,
        parent: impl AsRef<Path>,
        prefix: impl AsRef<OsStr>,
        mode: u32,
    ) -> io::Result<Temporary> {
        let (file, name) =
            create_held(parent.as_ref(), prefix.as_ref(), |name| self.create_file(name, mode))?;
        Ok(Temporary { file, name })
    }

    /// Creates and locks a directory in the same way. Returns it with its name.
    ///
    /// # Errors
    /// No directory can be created there, or another process removes every one.
    pub fn create_temporary_folder(
        &self,
        parent: impl AsRef<Path>,
        prefix: impl AsRef<OsStr>,
        mode: u32,
    ) -> io::Result<(Self, PathBuf)> {
        create_held(parent.as_ref(), prefix.as_ref(), |name| {
            self.create_folder(name, mode)?;
            self.folder(name)
        })
    }

    /// Removes the files and directories in `parent`, or in the folder itself if `parent` is empty,
    /// that have a name of `prefix` and 16 hexadecimal digits, and that no process has locked: they
    /// were left by processes that died. Removes nothing on file systems without locks. It is a
    /// courtesy, so errors are ignored.
    pub fn clear_left_over(&self, parent: impl AsRef<Path>, prefix: impl AsRef<OsStr>) {
        let parent = parent.as_ref();
        for entry in self.entries(parent).into_iter().flatten().flatten() {
            let random = entry.name().as_bytes().strip_prefix(prefix.as_ref().as_bytes());
            let is_ours = random.is_some_and(|random| {
                random.len() == RANDOM_DIGITS && random.iter().all(u8::is_ascii_hexdigit)
            });
            if !is_ours {
                continue;
            }
            let name = parent.join(entry.name());
            if entry.kind == FileType::RegularFile {
                // Opened for writing where that is allowed: NFS requires it for such a lock.
                let file = self.update_file(&name).or_else(|_| self.read_file(&name));
                if file.is_ok_and(|file| flock(&file, EXCLUSIVE).is_ok()) {
                    // Another process may have given it its name in between; then it has no such
                    // name any more.
                    let _ = self.remove_file(&name);
                }
            } else if entry.kind == FileType::Directory
                && self.folder(&name).is_ok_and(|folder| flock(&folder, EXCLUSIVE).is_ok())
            {
                let _ = self.remove_all(&name);
            }
        }
    }
}

const EXCLUSIVE: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// Creates and locks something under a random name in `parent`. Tries again if another process took
/// it for left over: between its creation and its lock it looks like that.
fn create_held<T: AsFd>(
    parent: &Path,
    prefix: &OsStr,
    create: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    for _ in 0..TRIES {
        let name = parent.join(random_name(prefix)?);
        let made = match create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        // A file system without locks: there nobody removes it either.
        if flock(&made, EXCLUSIVE) == Err(Errno::WOULDBLOCK) {
            continue;
        }
        // A process that removes it holds its lock meanwhile; so now it is gone, or stays.
        if fstat(&made)?.st_nlink > 0 {
            return Ok((made, name));
        }
    }
    Err(io::Error::other("another process removes every temporary file"))
}

/// Returns `prefix` and 16 random hexadecimal digits.
fn random_name(prefix: &OsStr) -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut name = prefix.to_owned();
    name.push(format!("{:016x}", u64::from_le_bytes(random)));
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_cleared() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let prefix = prefix_beside("image".as_ref());
        let held = folder.create_temporary("", &prefix, 0o600).unwrap();
        let (held_folder, name) = folder.create_temporary_folder("", &prefix, 0o700).unwrap();
        drop(folder.create_temporary("", &prefix, 0o600).unwrap());
        let (left, left_name) = folder.create_temporary_folder("", &prefix, 0o700).unwrap();
        left.create_folders("a/b", 0o700).unwrap();
        drop(left);
        for other in [".image.freestone-", ".image.freestone-0123456789abcdefg", ".other"] {
            std::fs::write(place.path().join(other), "").unwrap();
        }
        std::os::unix::fs::symlink("/", place.path().join(".image.freestone-0123456789abcdef"))
            .unwrap();
        folder.clear_left_over("", &prefix);
        assert_eq!(folder.entries("").unwrap().count(), 6);
        assert!(folder.stat(&held.name).is_ok() && folder.stat(&name).is_ok());
        assert!(folder.stat(&left_name).is_err());
        drop((held.file, held_folder));
        folder.clear_left_over("", &prefix);
        assert_eq!(folder.entries("").unwrap().count(), 4);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(prefix_beside("a".as_ref()), ".a.freestone-");
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let prefix = prefix_beside("x".repeat(255).as_ref());
        let made = folder.create_temporary("", prefix, 0o600).unwrap();
        assert_eq!(made.name.as_os_str().len(), 255);
    }
}
