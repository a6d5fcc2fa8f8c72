//! The directory that is pushed, as the store asks for it: walked again if need be.

use freestone_core::item::{FileOpener, Item, ItemSource, OpenFile};
use freestone_core::{Error, Result};
use freestone_source::directory::{self, DirectoryOptions, Opener, SourceReport, Walk};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A directory.
pub(super) struct Directory {
    place: PathBuf,
    options: DirectoryOptions,
    /// Opens what the last walk listed.
    opener: RwLock<Opener>,
    /// The first walk, until it is asked for: opening the directory tells what is wrong with it.
    first: Mutex<Option<Walk>>,
    report: Arc<Mutex<SourceReport>>,
}

/// The absolute path of `place`.
///
/// # Errors
/// The current directory is gone.
pub(super) fn absolute(place: &Path) -> Result<PathBuf> {
    std::path::absolute(place)
        .map_err(|error| Error::io(format!("{}: no such place", place.display()), error))
}

impl Directory {
    /// Opens the directory `place`.
    ///
    /// # Errors
    /// It cannot be opened, or the options make no sense.
    pub(super) fn new(place: &Path, options: DirectoryOptions) -> Result<Self> {
        let (walk, opener) = directory::open(place, &options)?;
        let place = place
            .canonicalize()
            .map_err(|error| Error::io(format!("{}: no such directory", place.display()), error))?;
        Ok(Self {
            place,
            options,
            opener: RwLock::new(opener),
            first: Mutex::new(Some(walk)),
            report: Arc::default(),
        })
    }

    /// What tells this directory from others of this machine.
    pub(super) fn key(&self) -> Vec<u8> {
        [b"directory\0", self.place.as_os_str().as_bytes()].concat()
    }

    /// Starts a walk.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub(super) fn walk(&self) -> Result<Box<dyn ItemSource>> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let walk = match first {
            Some(walk) => walk,
            None => {
                let (walk, opener) = directory::open(&self.place, &self.options)?;
                *self.opener.write().unwrap_or_else(PoisonError::into_inner) = opener;
                walk
            }
        };
        Ok(Box::new(Reporting { walk, report: self.report.clone() }))
    }

    /// What the last walk that came to its end has left out.
    pub(super) fn report(&self) -> SourceReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FileOpener for Directory {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        let opener = self.opener.read().unwrap_or_else(PoisonError::into_inner).clone();
        opener.open(path)
    }
}

/// A walk that leaves its report behind.
struct Reporting {
    walk: Walk,
    report: Arc<Mutex<SourceReport>>,
}

impl ItemSource for Reporting {
    fn next(&mut self) -> Result<Option<Item>> {
        let item = self.walk.next()?;
        if item.is_none() {
            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.clone_from(self.walk.report());
        }
        Ok(item)
    }
}
