//! A tar stream as a source: read once, in bounded memory, whatever its order.
//!
//! Bytes of files are given as they come; paths are sorted, in a temporary file where they are too
//! many for memory, and told at the end. Of a path that is there more than once the last counts, as
//! when the archive is unpacked. Directories that are not there but in paths are made.
//!
//! | found | pushed as |
//! |---|---|
//! | directory, regular file | itself; of its mode, only whether its owner may execute it |
//! | regular file whose path ends in `/` | a directory |
//! | hard link to a file | that file |
//! | symbolic link to a file inside | that file, with the link's text |
//! | any other link, device, pipe, sparse file | refused, or skipped with [`ArchiveOptions::skip_special`] |
//! | a path that is absolute or has `..` | the same |
//! | version control's names, and what a pattern names | nothing |
//!
//! Formats are what GNU tar, bsdtar, Python and git write: v7, ustar, pax and GNU's long names;
//! compressed by gzip or zstd, which the first bytes tell. One that ends without a block of zeros is
//! taken for cut off.

mod extended;
mod input;
mod listing;
mod member;
mod members;
mod paths;

use crate::directory::version_control;
use crate::exclude::Excludes;
use crate::report::{Reason, SourceReport};
use freestone_core::item::{ChangeSource, Content, NamedFile, StreamSource};
use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::{Error, Result};
use input::{Input, MemberFile};
use listing::{ListedKind, Listing, Sorted};
use member::{Member, MemberKind};
use members::Members;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What of an archive is pushed, and what sorting it may take.
pub struct ArchiveOptions {
    /// Patterns of what to leave out ([`crate::exclude`]), later ones winning.
    pub excludes: Vec<String>,
    /// Whether to skip and report what cannot be pushed, instead of failing.
    pub skip_special: bool,
    /// How much memory the paths may take, in bytes; what is more goes to a temporary file.
    pub memory_bytes: usize,
    /// Where that temporary file goes. It never has a name.
    pub spill_dir: PathBuf,
}

/// An archive that is read.
pub struct Archive {
    members: Members,
    excludes: Excludes,
    skip_special: bool,
    listing: Listing,
    sorted: Option<Arc<Sorted>>,
    /// The file that was given last: its path, and whether it is executable.
    given: Option<(Vec<u8>, bool)>,
    report: SourceReport,
    reported: Arc<Mutex<SourceReport>>,
}

impl Archive {
    /// The archive that `input` gives, called `name`; what is skipped stands in `reported` when
    /// all has been told.
    ///
    /// # Errors
    /// A pattern cannot be understood, or the first bytes are those of no archive.
    pub fn open(
        name: &str,
        input: Box<dyn Read + Send>,
        options: &ArchiveOptions,
        reported: Arc<Mutex<SourceReport>>,
    ) -> Result<Self> {
        Ok(Self {
            excludes: Excludes::new(&options.excludes)?,
            members: Members::new(Input::open(name, input)?),
            skip_special: options.skip_special,
            listing: Listing::new(options.memory_bytes, options.spill_dir.clone()),
            sorted: None,
            given: None,
            report: SourceReport::default(),
            reported,
        })
    }

    /// Whether `path`, or a directory on its way, is left out.
    fn leaves_out(&mut self, path: &[u8], is_directory: bool) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let (part, below) = (&path[..end], end < path.len());
            let name = part.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if version_control::owns(name, below || is_directory) {
                self.report.version_control_count += 1;
                return true;
            }
            if self.excludes.leaves_out(part, below || is_directory) {
                self.report.excluded_count += 1;
                return true;
            }
        }
        false
    }

    /// Takes a member; gives the path and executable bit of a file whose bytes are to be read.
    fn take(&mut self, member: &Member) -> Result<Option<(Vec<u8>, bool)>> {
        let path = match member::clean(&member.path) {
            Ok(path) if path.is_empty() => return Ok(None),
            Ok(path) => path,
            Err(reason) => {
                let mut shown = member.path.clone();
                shown.truncate(PATH_BYTES_MAX);
                self.report.refuse(&shown, reason);
                return Ok(None);
            }
        };
        if self.leaves_out(&path, matches!(member.what, MemberKind::Directory)) {
            return Ok(None);
        }
        let kind = match &member.what {
            MemberKind::File { executable } => return Ok(Some((path, *executable))),
            MemberKind::Directory => ListedKind::Directory,
            MemberKind::Link(text) if text.len() > LINK_BYTES_MAX => {
                self.report.refuse(&path, Reason::LinkLong);
                return Ok(None);
            }
            MemberKind::Link(text) => ListedKind::Link(text.clone()),
            MemberKind::HardLink(target) => match member::clean(target) {
                Ok(target) => ListedKind::HardLink(target),
                Err(_) => {
                    self.report.refuse(&path, Reason::HardLink);
                    return Ok(None);
                }
            },
            MemberKind::Refused(reason) => {
                self.report.refuse(&path, *reason);
                return Ok(None);
            }
        };
        self.listing.add(path, kind)?;
        Ok(None)
    }
}

impl StreamSource for Archive {
    fn next_file(&mut self) -> Result<Option<NamedFile>> {
        while let Some(member) = self.members.next()? {
            if let Some((path, executable)) = self.take(&member)? {
                self.given = Some((path.clone(), executable));
                let file = MemberFile::new(self.members.input(), member.size);
                return Ok(Some((path, Box::new(file))));
            }
        }
        Ok(None)
    }

    fn stored(&mut self, content: Content) -> Result<()> {
        match self.given.take() {
            Some((path, executable)) => {
                self.listing.add(path, ListedKind::File { executable, content })
            }
            None => Err(Error::new(freestone_core::ErrorKind::Failed, "no file was given")),
        }
    }

    fn sorted(&mut self) -> Result<Box<dyn ChangeSource>> {
        let sorted = match &self.sorted {
            Some(sorted) => sorted.clone(),
            None => {
                let sorted = Arc::new(std::mem::take(&mut self.listing).sort()?);
                self.sorted.insert(sorted).clone()
            }
        };
        let report = (self.report.clone(), self.reported.clone());
        Ok(Box::new(paths::Paths::new(sorted, self.skip_special, report)))
    }
}
