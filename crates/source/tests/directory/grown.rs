//! Makes directories for tests, and collects the result of a walk.

use freestone_core::item::{Item, ItemKind, ItemSource};
use freestone_core::{Error, ErrorKind, path};
use freestone_source::directory::{DirectoryOptions, SourceReport, Walk, open};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory to push, inside a temporary directory that can hold files outside of it, too.
pub struct Grown {
    temporary: TempDir,
}

impl Grown {
    /// Creates `paths`: those that end in `/` become directories, `name -> text` becomes a link,
    /// others become files that hold their own path.
    pub fn new(paths: &[&str]) -> Self {
        let grown = Self { temporary: tempfile::tempdir().unwrap() };
        std::fs::create_dir(grown.root()).unwrap();
        for path in paths {
            grown.add(path);
        }
        grown
    }

    pub fn root(&self) -> PathBuf {
        self.temporary.path().join("root")
    }

    pub fn at(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.root().join(OsStr::from_bytes(path.as_ref()))
    }

    pub fn add(&self, path: &str) {
        let (place, link) = match path.split_once(" -> ") {
            Some((place, text)) => (place, Some(text)),
            None => (path, None),
        };
        let full = self.at(place);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        match link {
            Some(text) => symlink(text, full).unwrap(),
            None if place.ends_with('/') => std::fs::create_dir_all(full).unwrap(),
            None => std::fs::write(full, place).unwrap(),
        }
    }

    pub fn walk(&self, options: &DirectoryOptions) -> Walk {
        open(&self.root(), options).unwrap().0
    }

    /// Returns the listed paths as text, directories with a `/` at the end.
    pub fn shown(&self, options: &DirectoryOptions) -> Vec<String> {
        show(&self.items(options))
    }

    pub fn items(&self, options: &DirectoryOptions) -> Vec<Item> {
        all(&mut self.walk(options)).unwrap()
    }

    /// Returns the listed paths and the refused ones, with special files skipped.
    pub fn skipping(&self) -> (Vec<String>, SourceReport) {
        let mut walk =
            self.walk(&DirectoryOptions { skip_special: true, ..DirectoryOptions::default() });
        let items = all(&mut walk).unwrap();
        (show(&items), walk.report().clone())
    }

    /// Returns the lines of the error at the end of a walk.
    pub fn refused(&self) -> Vec<String> {
        let error = all(&mut self.walk(&DirectoryOptions::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.hint_text().unwrap().contains("--skip-special"));
        error.to_string().lines().skip(1).map(|line| line.trim_start().to_owned()).collect()
    }
}

pub fn all(walk: &mut Walk) -> Result<Vec<Item>, Error> {
    std::iter::from_fn(|| walk.next().transpose()).collect()
}

pub fn show(items: &[Item]) -> Vec<String> {
    let shown = |item: &Item| {
        let slash = if item.kind == ItemKind::Directory { "/" } else { "" };
        format!("{}{slash}", path::display(&item.path))
    };
    items.iter().map(shown).collect()
}

/// Returns the text of an error.
pub fn failure<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(error) => error,
    }
}

pub fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}
