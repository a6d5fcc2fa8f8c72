//! A tar archive that is pushed as a revision.

use freestone_core::item::{FileOpener, OpenFile, StreamSource};
use freestone_core::{Error, ErrorKind, Id, Result, lock, path};
use freestone_format::Revision;
use freestone_push::PushOptions;
use freestone_push::series::{Items, Series, Step};
use freestone_source::archive::{self, Archive};
use freestone_source::report::SourceReport;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The series of one revision that an archive becomes.
pub(super) struct ArchiveSeries {
    archive: Archive,
    options: PushOptions,
    /// True after the archive was read, which is possible only once.
    is_read: bool,
    /// True after the only step of this attempt was returned.
    is_given: bool,
    reported: Arc<Mutex<SourceReport>>,
}

/// Opens no files: the entries of an archive bring their bytes.
struct NoFiles;

impl FileOpener for NoFiles {
    fn open(&self, _: &[u8]) -> Result<Box<dyn OpenFile>> {
        Err(Error::new(ErrorKind::Failed, "an archive can be read only once"))
    }
}

/// Returns true if `place` is an archive and not a directory.
pub(super) fn is_one(place: &Path) -> bool {
    place == Path::new("-") || place.metadata().is_ok_and(|metadata| !metadata.is_dir())
}

impl ArchiveSeries {
    /// Opens the archive at `place`; `-` is standard input.
    ///
    /// # Errors
    /// It cannot be opened, or is not an archive.
    pub(super) fn open(
        place: &Path,
        walking: freestone_source::directory::DirectoryOptions,
        options: &PushOptions,
    ) -> Result<Self> {
        let (name, input): (String, Box<dyn Read + Send>) = match place.to_str() {
            Some("-") => ("standard input".into(), Box::new(std::io::stdin())),
            _ => {
                let name = path::display(place.as_os_str().as_bytes());
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
            is_given: false,
            reported,
        })
    }

    /// Returns which paths were skipped or left out.
    pub(super) fn report(&self) -> SourceReport {
        lock(&self.reported).clone()
    }
}

impl Series for ArchiveSeries {
    fn begin(&mut self, _: Option<(&Id, &Revision)>) -> Result<()> {
        self.is_given = false;
        Ok(())
    }

    fn next(&mut self, _: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>> {
        if std::mem::replace(&mut self.is_given, true) {
            return Ok(None);
        }
        let items = match std::mem::replace(&mut self.is_read, true) {
            false => Items::Stream(&mut self.archive),
            true => Items::All(self.archive.sorted()?),
        };
        Ok(Some(Step {
            items,
            opener: &NoFiles,
            time: self.options.time,
            message: self.options.message.clone(),
            labels: self.options.labels.clone(),
        }))
    }
}
