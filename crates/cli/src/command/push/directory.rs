//! A directory that is pushed. The store may ask for a second walk.

use freestone_core::item::{FileOpener, Item, ItemSource, OpenFile};
use freestone_core::{Error, Result, lock, path};
use freestone_source::directory::{self, DirectoryOptions, Opener, SourceReport, Walk};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A directory that is pushed.
pub(super) struct PushedDirectory {
    place: PathBuf,
    options: DirectoryOptions,
    /// Opens the files that the last walk listed.
    opener: RwLock<Opener>,
    /// The first walk, until it is asked for: it was started to check the directory.
    first: Mutex<Option<Walk>>,
    report: Arc<Mutex<SourceReport>>,
}

impl PushedDirectory {
    /// Opens the directory `place`.
    ///
    /// # Errors
    /// It cannot be opened, or the options are not valid.
    pub(super) fn new(place: &Path, options: DirectoryOptions) -> Result<Self> {
        let (walk, opener) = directory::open(place, &options)?;
        let place = place.canonicalize().map_err(|error| {
            let place = path::display(place.as_os_str().as_bytes());
            Error::io(format!("directory {place} cannot be found"), error)
        })?;
        Ok(Self {
            place,
            options,
            opener: RwLock::new(opener),
            first: Mutex::new(Some(walk)),
            report: Arc::default(),
        })
    }

    /// Returns a key that distinguishes this directory from others on this machine.
    pub(super) fn key(&self) -> Vec<u8> {
        [b"directory\0", self.place.as_os_str().as_bytes()].concat()
    }

    /// Starts a walk.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub(super) fn walk(&self) -> Result<Box<dyn ItemSource>> {
        let first = lock(&self.first).take();
        let walk = match first {
            Some(walk) => walk,
            None => {
                let (walk, opener) = directory::open(&self.place, &self.options)?;
                *self.opener.write().unwrap_or_else(PoisonError::into_inner) = opener;
                walk
            }
        };
        Ok(Box::new(ReportingWalk { walk, report: self.report.clone() }))
    }

    /// Returns what the last complete walk has left out.
    pub(super) fn report(&self) -> SourceReport {
        let opener = self.opener.read().unwrap_or_else(PoisonError::into_inner);
        opener.report_with(&lock(&self.report))
    }
}

impl FileOpener for PushedDirectory {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        let opener = self.opener.read().unwrap_or_else(PoisonError::into_inner).clone();
        opener.open(path)
    }
}

/// A walk that saves its report at its end.
struct ReportingWalk {
    walk: Walk,
    report: Arc<Mutex<SourceReport>>,
}

impl ItemSource for ReportingWalk {
    fn next(&mut self) -> Result<Option<Item>> {
        let item = self.walk.next()?;
        if item.is_none() {
            let mut report = lock(&self.report);
            report.clone_from(self.walk.report());
        }
        Ok(item)
    }
}
