//! A directory that is open.

use crate::entries::Entries;
use crate::owner::Owner;
use crate::resolve::open_below;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fstat, linkat, mkdirat, open, openat,
    readlinkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags to look at something of any kind without opening it.
const LOOK: OFlags = OFlags::PATH;
/// Flags to open a directory for listing it.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// A pipe or device in the place of a file must neither wait nor become the process's terminal.
const AT_ONCE: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// A directory that is open. Every name is below it, and no link is followed: see the front page of
/// this crate. Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct Folder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    descriptor: OwnedFd,
    path: PathBuf,
    has_openat2: AtomicBool,
}

impl Folder {
    /// Opens the directory `path`. Links in `path` itself are followed: it is the name that the
    /// user gave.
    ///
    /// # Errors
    /// It does not exist, is not a directory, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let descriptor = open(path, LIST | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self::of(descriptor, path.to_path_buf(), true))
    }

    /// Opens the directory `path`, which must not be a link itself.
    ///
    /// # Errors
    /// As [`Self::open`]; also if the last part of `path` is a link.
    pub fn open_itself(path: &Path) -> io::Result<Self> {
        let flags = LIST | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self::of(open(path, flags, Mode::empty())?, path.to_path_buf(), true))
    }

    /// Opens the directory `path`, as seen from this folder, with all links in it followed. Only
    /// for a path that the user gave, or that a link of the user's leads to.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn follow(&self, path: &Path) -> io::Result<Self> {
        let flags = LIST | OFlags::CLOEXEC;
        let descriptor = openat(&self.inner.descriptor, path, flags, Mode::empty())?;
        Ok(Self::of(descriptor, self.path_of(path), true))
    }

    fn of(descriptor: OwnedFd, path: PathBuf, has_openat2: bool) -> Self {
        let has_openat2 = AtomicBool::new(has_openat2);
        Self { inner: Arc::new(Inner { descriptor, path, has_openat2 }) }
    }

    /// Makes this folder resolve names as on a kernel without `openat2`, for tests.
    #[must_use]
    pub fn without_openat2(self) -> Self {
        self.inner.has_openat2.store(false, Ordering::Relaxed);
        self
    }

    /// Returns the path by which it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the path of `name`, for messages.
    pub fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.inner.path.join(name)
    }

    /// Returns the path of the directory without links in it, as far as the system knows it: it may
    /// have been moved or removed.
    ///
    /// # Errors
    /// Neither `/proc` nor the path by which it was opened leads to it.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.inner.descriptor.as_raw_fd());
        std::fs::read_link(link).or_else(|_| std::fs::canonicalize(&self.inner.path))
    }

    /// Returns the text of the link `name`.
    ///
    /// # Errors
    /// It does not exist, or is not a link.
    pub fn read_link(&self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        let text =
            self.beside(name.as_ref(), |parent, name| readlinkat(parent, name, Vec::new()))?;
        Ok(PathBuf::from(OsString::from_vec(text.into_bytes())))
    }

    /// Opens `name` with `flags` (`O_NOFOLLOW` and `O_CLOEXEC` are added), and with `mode` less the
    /// umask if it is created. An empty name opens the folder itself.
    ///
    /// # Errors
    /// Those of `openat2`; [`Errno::INVAL`] for a name that is not below the folder.
    pub fn open_at(
        &self,
        name: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        let name = name.as_ref().as_os_str().as_bytes();
        let root = self.inner.descriptor.as_fd();
        if name.is_empty() {
            return openat(root, c".", flags | OFlags::CLOEXEC, mode);
        }
        open_below(root, name, flags, mode, &self.inner.has_openat2)
    }

    /// Opens the directory `name`.
    ///
    /// # Errors
    /// It does not exist, is not a directory, or may not be read.
    pub fn folder(&self, name: impl AsRef<Path>) -> io::Result<Self> {
        let descriptor = self.open_at(&name, LIST, Mode::empty())?;
        let has_openat2 = self.inner.has_openat2.load(Ordering::Relaxed);
        Ok(Self::of(descriptor, self.path_of(name), has_openat2))
    }

    /// Opens the regular file `name` for reading. Never waits.
    ///
    /// # Errors
    /// It does not exist, may not be read, or is not a regular file
    /// ([`io::ErrorKind::InvalidInput`]).
    pub fn read_file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        self.regular(self.open_at(&name, OFlags::RDONLY | AT_ONCE, Mode::empty())?)
    }

    /// Opens the regular file `name` for reading and writing. Never waits, creates nothing.
    ///
    /// # Errors
    /// As [`Self::read_file`].
    pub fn update_file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        self.regular(self.open_at(&name, OFlags::RDWR | AT_ONCE, Mode::empty())?)
    }

    /// Opens the regular file `name` for reading and writing, and creates it if there is none.
    ///
    /// # Errors
    /// As [`Self::read_file`], or it cannot be created.
    pub fn update_or_create_file(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | AT_ONCE;
        self.regular(self.open_at(&name, flags, Mode::from_raw_mode(mode))?)
    }

    /// Creates the file `name`, open for reading and writing.
    ///
    /// # Errors
    /// There is something of that name, be it a link to nothing, or it cannot be created.
    pub fn create_file(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(self.open_at(&name, flags, Mode::from_raw_mode(mode))?.into())
    }

    fn regular(&self, opened: OwnedFd) -> io::Result<File> {
        let kind = FileType::from_raw_mode(fstat(&opened)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(opened.into())
    }

    /// Returns all bytes of the regular file `name`, which has at most `limit`. The memory depends
    /// on the bytes that are really there, not on the length that the file claims.
    ///
    /// # Errors
    /// As [`Self::read_file`]; [`io::ErrorKind::FileTooLarge`] if it is longer than `limit`.
    pub fn read_whole(&self, name: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_file(name)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).map_or(true, |length| length > limit) {
            let what = format!("it is longer than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        Ok(bytes)
    }

    /// Returns what is known of `name`; of a link, not of what it leads to.
    ///
    /// # Errors
    /// It does not exist, or the file system fails.
    pub fn stat(&self, name: impl AsRef<Path>) -> io::Result<Stat> {
        if name.as_ref().as_os_str().is_empty() {
            return Ok(fstat(&self.inner.descriptor)?);
        }
        self.beside(name.as_ref(), |parent, name| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// Returns the owner of `name`, or of the folder itself if `name` is empty.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn owner(&self, name: impl AsRef<Path>) -> io::Result<Owner> {
        Ok(Owner::of(&self.stat(name)?))
    }

    /// Lists the directory `name`, or the folder itself if `name` is empty.
    ///
    /// # Errors
    /// It does not exist, is not a directory, or may not be read.
    pub fn entries(&self, name: impl AsRef<Path>) -> io::Result<Entries> {
        Entries::new(self.open_at(name, LIST, Mode::empty())?)
    }

    /// Creates the directory `name`, whose parent exists.
    ///
    /// # Errors
    /// There is something of that name, or it cannot be created.
    pub fn create_folder(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        self.beside(name.as_ref(), |parent, name| mkdirat(parent, name, mode))
    }

    /// Creates the directory `name` and those above it that do not exist.
    ///
    /// # Errors
    /// Something else is in the place of one, or one cannot be created.
    pub fn create_folders(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        let name = name.as_ref();
        let mut made = self.create_folder(name, mode);
        if let Err(error) = &made
            && error.kind() == io::ErrorKind::NotFound
            && let Some(parent) = name.parent().filter(|parent| !parent.as_os_str().is_empty())
        {
            self.create_folders(parent, mode)?;
            made = self.create_folder(name, mode);
        }
        match made {
            // It was there, or another thread made it at the same time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.open_at(name, LOOK | OFlags::DIRECTORY, Mode::empty())?;
                Ok(())
            }
            made => made,
        }
    }

    /// Gives `from` the name `to`, and replaces a file of that name.
    ///
    /// # Errors
    /// `from` does not exist, or the file system refuses.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        self.beside(from.as_ref(), |parent, from| {
            self.beside_raw(to.as_ref(), |to_parent, to| renameat(parent, from, to_parent, to))
        })
    }

    /// Gives `from` the name `to`, unless there is something of that name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is; otherwise as [`Self::rename`]. A file system
    /// that can neither rename without replacing nor link gives `EOPNOTSUPP`.
    pub fn rename_new(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        self.beside(from.as_ref(), |parent, from| {
            self.beside_raw(to.as_ref(), |to_parent, to| {
                match renameat_with(parent, from, to_parent, to, RenameFlags::NOREPLACE) {
                    // A file system that does not support it may support links.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        linkat(parent, from, to_parent, to, AtFlags::empty())
                            .map_err(without_links)?;
                        unlinkat(parent, from, AtFlags::empty())
                    }
                    outcome => outcome,
                }
            })
        })
    }

    /// Removes the file `name`; a link itself, not what it leads to.
    ///
    /// # Errors
    /// It does not exist, is a directory, or may not be removed.
    pub fn remove_file(&self, name: impl AsRef<Path>) -> io::Result<()> {
        self.beside(name.as_ref(), |parent, name| unlinkat(parent, name, AtFlags::empty()))
    }

    /// Removes the directory `name`, which must be empty.
    ///
    /// # Errors
    /// It does not exist, is not an empty directory, or may not be removed.
    pub fn remove_folder(&self, name: impl AsRef<Path>) -> io::Result<()> {
        self.beside(name.as_ref(), |parent, name| unlinkat(parent, name, AtFlags::REMOVEDIR))
    }

    /// Removes `name` and, if it is a directory, all that is in it. No link is followed.
    ///
    /// # Errors
    /// Something may not be removed, or appears in a directory while it is emptied.
    pub fn remove_all(&self, name: impl AsRef<Path>) -> io::Result<()> {
        let name = name.as_ref();
        match self.remove_file(name) {
            Err(error)
                if matches!(Errno::from_io_error(&error), Some(Errno::ISDIR | Errno::PERM)) => {}
            outcome => return outcome,
        }
        let inside = self.folder(name)?;
        for entry in inside.entries("")? {
            inside.remove_all(entry?.name())?;
        }
        self.remove_folder(name)
    }

    /// Makes the names in the directory `name` durable, or those of the folder itself if `name` is
    /// empty.
    ///
    /// # Errors
    /// It does not exist, is not a directory, or cannot be synced.
    pub fn sync(&self, name: impl AsRef<Path>) -> io::Result<()> {
        File::from(self.open_at(name, LIST, Mode::empty())?).sync_all()
    }

    fn beside<T>(
        &self,
        name: &Path,
        call: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> io::Result<T> {
        Ok(self.beside_raw(name, call)?)
    }

    /// Calls `call` with the directory that holds `name`, and the last part of `name`.
    fn beside_raw<T>(
        &self,
        name: &Path,
        call: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let name = name.as_os_str().as_bytes();
        if !crate::resolve::is_below(name) {
            return Err(Errno::INVAL);
        }
        let Some(end) = name.iter().rposition(|byte| *byte == b'/') else {
            return call(self.inner.descriptor.as_fd(), name);
        };
        let flags = LOOK | OFlags::DIRECTORY;
        let root = self.inner.descriptor.as_fd();
        let parent = open_below(root, &name[..end], flags, Mode::empty(), &self.inner.has_openat2)?;
        call(parent.as_fd(), &name[end + 1..])
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.descriptor.as_fd()
    }
}

/// Returns the error of a link that was tried because the file system cannot rename without
/// replacing. Such a file system answers in many ways, also that the user may not, who just wrote.
fn without_links(errno: Errno) -> Errno {
    match errno {
        Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => {
            Errno::OPNOTSUPP
        }
        errno => errno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Returns a folder with `openat2`, and one as on a kernel without it.
    fn both(path: &Path) -> [Folder; 2] {
        [Folder::open(path).unwrap(), Folder::open(path).unwrap().without_openat2()]
    }

    #[test]
    fn links_are_never_followed_by_any_call() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("victim"), "victim").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let path = inside.path();
        symlink(outside.path(), path.join("away")).unwrap();
        symlink(outside.path().join("victim"), path.join("link")).unwrap();
        symlink("/proc/self/root", path.join("magic")).unwrap();
        std::fs::write(path.join("own"), "own").unwrap();
        for folder in both(path) {
            for name in ["away/victim", "link", "magic/etc/passwd", "../victim", "/etc/passwd"] {
                assert!(folder.read_file(name).is_err(), "{name}");
                assert!(folder.update_file(name).is_err(), "{name}");
                assert!(folder.update_or_create_file(name, 0o644).is_err(), "{name}");
                assert!(folder.create_file(name, 0o644).is_err(), "{name}");
                assert!(folder.entries(name).is_err(), "{name}");
                assert!(folder.create_folders(name, 0o755).is_err(), "{name}");
            }
            for name in ["away/victim", "magic/etc/passwd", "away/new"] {
                assert!(folder.remove_all(name).is_err(), "{name}");
                assert!(folder.rename("own", name).is_err(), "{name}");
                assert!(folder.rename_new("own", name).is_err(), "{name}");
                assert!(folder.create_folder(name, 0o755).is_err(), "{name}");
                assert!(folder.stat(name).is_err(), "{name}");
            }
            assert!(folder.entries("away").is_err());
            assert!(folder.sync("away").is_err());
            assert!(folder.create_temporary("away", "", 0o644).is_err());
            assert_eq!(folder.stat("link").unwrap().st_mode & 0o170_000, 0o120_000);
        }
        let folder = Folder::open(path).unwrap();
        // A link is removed itself, and what it leads to stays.
        folder.remove_all("away").unwrap();
        folder.rename("own", "link").unwrap();
        assert_eq!(std::fs::read(outside.path().join("victim")).unwrap(), b"victim");
        assert_eq!(std::fs::read(path.join("link")).unwrap(), b"own");
    }

    #[test]
    fn what_is_no_regular_file_is_neither_read_nor_waited_for() {
        let inside = tempfile::tempdir().unwrap();
        let pipe = inside.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
            .unwrap();
        std::fs::create_dir(inside.path().join("directory")).unwrap();
        for folder in both(inside.path()) {
            for name in ["pipe", "directory"] {
                let error = folder.read_whole(name, 10).unwrap_err();
                assert_eq!(error.to_string(), "it is not a regular file", "{name}");
            }
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let inside = tempfile::tempdir().unwrap();
        let folder = Folder::open(inside.path()).unwrap();
        // Claims 16 TiB, and has nothing on the disk.
        folder.create_file("sparse", 0o600).unwrap().set_len(1 << 43).unwrap();
        let error = folder.read_whole("sparse", 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(inside.path().join("ten"), "0123456789").unwrap();
        assert_eq!(folder.read_whole("ten", 10).unwrap(), b"0123456789");
        assert!(folder.read_whole("ten", 9).is_err());
    }

    #[test]
    fn nothing_is_replaced_unless_it_is_asked_for() {
        let inside = tempfile::tempdir().unwrap();
        for folder in both(inside.path()) {
            let new = folder.create_temporary("", "tmp-", 0o600).unwrap();
            assert!(new.name.to_str().unwrap().starts_with("tmp-"));
            folder.update_or_create_file("there", 0o600).unwrap();
            let error = folder.rename_new(&new.name, "there").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert!(folder.create_file("there", 0o600).is_err());
            folder.rename(&new.name, "there").unwrap();
            // Also by several threads at once.
            let make = |n| folder.create_folders(format!("a/b/{n}/c/d"), 0o700).unwrap();
            std::thread::scope(|scope| {
                (0..4).for_each(|_| drop(scope.spawn(|| (0..100).for_each(make))));
            });
            std::fs::write(inside.path().join("a/b/file"), "").unwrap();
            assert!(folder.create_folders("a/b/file", 0o700).is_err());
            folder.remove_all("a").unwrap();
            assert!(!inside.path().join("a").exists());
        }
    }

    #[test]
    fn a_folder_stays_itself_when_its_path_leads_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("at");
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("own"), "own").unwrap();
        let folder = Folder::open(&at).unwrap();
        std::fs::rename(&at, place.path().join("moved")).unwrap();
        std::fs::create_dir(&at).unwrap();
        assert_eq!(folder.read_whole("own", 10).unwrap(), b"own");
        folder.remove_file("own").unwrap();
        assert!(Folder::open_itself(&at).is_ok());
        std::fs::remove_dir(&at).unwrap();
        symlink(place.path(), &at).unwrap();
        assert!(Folder::open_itself(&at).is_err());
        assert!(Folder::open(&at).is_ok());
    }
}
