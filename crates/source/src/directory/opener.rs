//! Opens the files that a walk has listed.

use super::changing::CHANGING;
use super::link::{self, LinkTarget};
use super::stamp;
use super::tree::{LOOK, READ, Tree};
use crate::lfs;
use crate::report::{Reason, SourceReport};
use freestone_core::item::{FileOpener, FileStamp, OpenFile};
use freestone_core::{Error, ErrorKind, Result, lock, path};
use rustix::fs::{FileType, OFlags, fstat, readlinkat};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

/// An opener of the files of a directory, made by [`super::open`]. Clones are cheap, and any number
/// of threads may share one.
///
/// It opens only regular files inside the directory. The only links that it follows are those that
/// the walk returned as files, and it follows them by the same rules again. (Above some hundred
/// thousand links, any link to a file inside counts as one of them.) The stamp of the open file
/// says whether it is still the *same* file.
#[derive(Clone)]
pub struct Opener {
    tree: Arc<Tree>,
    skip_special: bool,
    /// What was skipped when it was opened.
    skipped: Arc<Mutex<SourceReport>>,
}

impl Opener {
    pub(super) fn new(tree: Arc<Tree>, skip_special: bool) -> Self {
        Self { tree, skip_special, skipped: Arc::default() }
    }

    /// Returns the report of a walk, together with what was skipped when it was opened.
    pub fn report_with(&self, walked: &SourceReport) -> SourceReport {
        let mut report = walked.clone();
        report.add(&lock(&self.skipped));
        report
    }

    /// Returns the error of a file that is a Git LFS pointer; `None` for other files.
    fn refusal_of_pointer(&self, path: &[u8], file: &File, stamp: &FileStamp) -> Option<Error> {
        if !(lfs::POINTER_BYTES_MIN..=lfs::POINTER_BYTES_MAX).contains(&stamp.size) {
            return None;
        }
        let mut start = [0; lfs::START_BYTES];
        if file.read_exact_at(&mut start, 0).is_err() || !lfs::starts_pointer(&start) {
            return None;
        }
        if self.skip_special {
            lock(&self.skipped).refuse(path, Reason::LfsPointer);
            // The push leaves it out, as a file that is gone.
            return Some(Error::not_found(Reason::LfsPointer.to_string()));
        }
        let what = format!("{}: {}", path::display(path), Reason::LfsPointer);
        Some(Error::refused(what).hint(
            "run `git lfs pull` in that directory, or leave pointers out with --skip-special",
        ))
    }

    /// Returns the path of the file that the listed link at `path` leads to now.
    fn follow(&self, path: &[u8]) -> Result<Vec<u8>> {
        let link = self.tree.open_at(path, LOOK).map_err(|errno| self.cannot(path, errno))?;
        let text = match readlinkat(&link, c"", Vec::new()) {
            Ok(text) => text,
            // It is not a link any more.
            Err(Errno::NOENT | Errno::INVAL) => return Ok(path.to_vec()),
            Err(errno) => return Err(self.cannot(path, errno)),
        };
        match link::follow(&self.tree, path, text.to_bytes())? {
            LinkTarget::File(target, _) => Ok(target),
            LinkTarget::Refused(reason) => {
                let what = format!("{} has become {reason}", path::display(path));
                Err(Error::new(ErrorKind::Conflict, what).hint(CHANGING))
            }
        }
    }

    fn open_file(&self, path: &[u8]) -> Result<(File, FileStamp)> {
        let file = match self.tree.open_at(path, READ) {
            Err(Errno::LOOP) if self.tree.is_listed_link(path) => {
                let target = self.follow(path)?;
                self.tree.open_at(&target, READ)
            }
            opened => opened,
        };
        let file = file.map_err(|errno| self.cannot(path, errno))?;
        let stat = fstat(&file).map_err(|errno| self.cannot(path, errno))?;
        if stamp::kind(&stat) != FileType::RegularFile {
            return Err(changed(path));
        }
        Ok((File::from(file), stamp::of(&stat)))
    }

    /// Returns the error of a listed file that cannot be opened. Its kind is
    /// [`ErrorKind::NotFound`] only if the file alone is gone: files whose directory was renamed
    /// are somewhere else, and a push without them would be one of half a directory.
    fn cannot(&self, path: &[u8], errno: Errno) -> Error {
        let name = path::display(path);
        match errno {
            Errno::NOENT => {
                let directory = path::parent(path).unwrap_or_default();
                if self.tree.open_at(directory, LOOK | OFlags::DIRECTORY).is_ok() {
                    return Error::not_found(format!(
                        "file {name} was removed after it was listed"
                    ))
                    .hint(CHANGING);
                }
                let what = format!("the directory of file {name} was removed after it was listed");
                Error::new(ErrorKind::Conflict, what).hint(CHANGING)
            }
            // A link replaced a file, or a file a directory; a socket cannot be opened at all.
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO => changed(path),
            Errno::ACCESS | Errno::PERM => {
                Error::io(format!("file {name} cannot be opened"), errno.into())
                    .hint("make it readable, or leave it out with --exclude")
            }
            _ => Error::io(format!("file {name} cannot be opened"), errno.into()),
        }
    }
}

impl FileOpener for Opener {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        let opened = self.open_file(path).and_then(|(file, stamp)| {
            match self.refusal_of_pointer(path, &file, &stamp) {
                Some(refusal) => Err(refusal),
                None => Ok((file, stamp)),
            }
        });
        let (file, stamp) = opened.map_err(|error| error.at_path(path.to_vec()))?;
        Ok(Box::new(Opened { file, path: path.into(), first: Cell::new(Some(stamp)) }))
    }
}

fn changed(path: &[u8]) -> Error {
    let path = path::display(path);
    let what = format!("{path} was a file when it was listed, but is not a file now");
    Error::new(ErrorKind::Conflict, what).hint(CHANGING)
}

struct Opened {
    file: File,
    path: Box<[u8]>,
    /// The stamp from when the file was opened. The first question for the stamp takes it.
    first: Cell<Option<FileStamp>>,
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // A later question is about the file after reading, so it needs a new stamp.
        self.first.set(None);
        self.file.read(buffer)
    }
}

impl OpenFile for Opened {
    fn stamp(&self) -> Result<FileStamp> {
        if let Some(stamp) = self.first.take() {
            return Ok(stamp);
        }
        let stat = fstat(&self.file).map_err(|errno| {
            let what = format!("file {}: its status cannot be read", path::display(&self.path));
            Error::io(what, errno.into()).at_path(self.path.to_vec())
        })?;
        Ok(stamp::of(&stat))
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| {
            let what =
                format!("file {}: cannot seek to offset {offset}", path::display(&self.path));
            Error::io(what, error)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_kernel_without_openat2_opens_the_same_files() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        std::fs::create_dir(root.join("a")).unwrap();
        std::fs::write(root.join("a/file"), "file").unwrap();
        symlink("a/file", root.join("listed")).unwrap();
        symlink("a/file", root.join("late")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let tree = Tree::open(root, &[]).unwrap().without_openat2();
        tree.remember_link(b"listed");
        let opener = Opener::new(Arc::new(tree), false);
        for path in [&b"a/file"[..], b"listed"] {
            let mut text = String::new();
            opener.open(path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "file");
        }
        for path in [&b"late"[..], b"b/file", b"a/file/x"] {
            let error = opener.open(path).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
    }
}
