//! A tar stream as a revision.

use freestone_core::item::{FileOpener, OpenFile, StreamSource};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_source::archive::{self, Archive};
use freestone_source::report::SourceReport;
use freestone_store::Revision;
use freestone_store::push::PushOptions;
use freestone_store::push::series::{Items, Series, Step};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// An archive to be pushed: one revision.
pub(super) struct Tar {
    archive: Archive,
    options: PushOptions,
    /// Whether the bytes have been read; they are there once.
    is_read: bool,
    is_told: bool,
    reported: Arc<Mutex<SourceReport>>,
}

/// Opens nothing: an archive's bytes come by themselves.
struct Nothing;

impl FileOpener for Nothing {
    fn open(&self, _: &[u8]) -> Result<Box<dyn OpenFile>> {
        Err(Error::new(ErrorKind::Failed, "an archive is read once"))
    }
}

/// Whether `place` is read as an archive, and not walked.
pub(super) fn is_one(place: &Path) -> bool {
    place == Path::new("-") || place.metadata().is_ok_and(|metadata| !metadata.is_dir())
}

impl Tar {
    /// The archive at `place`; `-` is the standard input.
    ///
    /// # Errors
    /// It cannot be opened, or is none.
    pub(super) fn open(
        place: &Path,
        walking: freestone_source::directory::DirectoryOptions,
        options: &PushOptions,
    ) -> Result<Self> {
        let (name, input): (String, Box<dyn Read + Send>) = match place.to_str() {
            Some("-") => ("the standard input".into(), Box::new(std::io::stdin())),
            _ => {
                let name = place.display().to_string();
                let file = File::open(place)
                    .map_err(|error| Error::io(format!("{name} cannot be opened"), error))?;
                (name, Box::new(file))
            }
        };
        let wanted = archive::ArchiveOptions {
            excludes: walking.excludes,
            skip_special: walking.skip_special,
            memory_bytes: walking.memory_bytes,
            spill_dir: walking.spill_dir,
        };
        let reported: Arc<Mutex<SourceReport>> = Arc::default();
        Ok(Self {
            archive: Archive::open(&name, input, &wanted, reported.clone())?,
            options: options.clone(),
            is_read: false,
            is_told: false,
            reported,
        })
    }

    /// What was skipped and left out.
    pub(super) fn report(&self) -> SourceReport {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Series for Tar {
    fn begin(&mut self, _: Option<(&Id, &Revision)>) -> Result<()> {
        self.is_told = false;
        Ok(())
    }

    fn next(&mut self, _: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>> {
        if std::mem::replace(&mut self.is_told, true) {
            return Ok(None);
        }
        let items = match std::mem::replace(&mut self.is_read, true) {
            false => Items::Stream(&mut self.archive),
            true => Items::All(self.archive.sorted()?),
        };
        Ok(Some(Step {
            items,
            opener: &Nothing,
            time: self.options.time,
            message: self.options.message.clone(),
            labels: self.options.labels.clone(),
        }))
    }
}
