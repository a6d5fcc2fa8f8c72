//! A tar stream as a source: read once, in bounded memory, whatever the order of its members.
//!
//! The bytes of files are pushed in the order of the stream. The paths are sorted, in a temporary
//! file if they are too many for memory, and returned at the end. If a path comes more than once,
//! the last one counts, as when the archive is unpacked. Directories that only occur in longer
//! paths are added.
//!
//! | found | pushed as |
//! |---|---|
//! | directory, regular file | itself; of its mode, only whether its owner may execute it |
//! | regular file whose path ends in `/` | directory |
//! | hard link to a file | that file |
//! | symbolic link to a file inside | that file, with the link's text |
//! | any other link, device, pipe, sparse file | refused, or skipped with
//! [`ArchiveOptions::skip_special`] |
//! | a path that is absolute or has `..` | the same |
//! | what belongs to version control, and names that a pattern excludes | nothing |
//! | a Git LFS pointer ([`crate::lfs`]) | refused, or skipped with
//! [`ArchiveOptions::skip_special`] |
//!
//! The formats are those that GNU tar, bsdtar, Python and git write: v7, ustar, pax and GNU's long
//! names. Compression by gzip or zstd is recognised by the first bytes. An archive that ends
//! without a block of zeros counts as cut off.

mod extended;
mod input;
mod listing;
mod member;
mod members;
mod paths;

use crate::directory::version_control;
use crate::exclude::Excludes;
use crate::lfs;
use crate::report::{Reason, SourceReport};
use freestone_core::item::{ChangeSource, Content, NamedFile, StreamSource};
use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::{Error, ErrorKind, Result};
use input::{Input, MemberFile};
use listing::{ListedKind, Listing, Sorted};
use member::{Member, MemberKind};
use members::Members;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Options of an [`Archive`]: what is left out, and the memory for sorting.
pub struct ArchiveOptions {
    /// Patterns of paths to leave out ([`crate::exclude`]); a later pattern overrides earlier ones.
    pub excludes: Vec<String>,
    /// Whether paths that cannot be pushed are skipped and reported, instead of making the push
    /// fail.
    pub skip_special: bool,
    /// The memory for paths, in bytes. If they need more, they go to a temporary file.
    pub memory_bytes: usize,
    /// The directory of that temporary file, which never has a name.
    pub spill_dir: PathBuf,
}

/// A tar archive that is being read.
pub struct Archive {
    members: Members,
    excludes: Excludes,
    skip_special: bool,
    listing: Listing,
    sorted: Option<Arc<Sorted>>,
    /// Whether all of it was read.
    is_read: bool,
    /// The file that was returned last: its path, and whether it is executable.
    given: Option<(Vec<u8>, bool)>,
    report: SourceReport,
    reported: Arc<Mutex<SourceReport>>,
}

impl Archive {
    /// Opens the archive that `input` reads, called `name` in errors. What was skipped is in
    /// `reported` when the source has ended.
    ///
    /// # Errors
    /// A pattern is invalid, or the first bytes are those of an unsupported compression.
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
            is_read: false,
            given: None,
            report: SourceReport::default(),
            reported,
        })
    }

    /// Returns true if `path`, or a directory that contains it, is left out.
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

    /// Takes a member. If it is a file whose bytes must be read, returns its path and executable
    /// bit.
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
            let Some((path, executable)) = self.take(&member)? else { continue };
            let mut file = MemberFile::new(self.members.input(), member.size);
            if (lfs::POINTER_BYTES_MIN..=lfs::POINTER_BYTES_MAX).contains(&member.size)
                && lfs::starts_pointer(file.peek(lfs::START_BYTES)?)
            {
                self.report.refuse(&path, Reason::LfsPointer);
                continue;
            }
            self.given = Some((path.clone(), executable));
            return Ok(Some((path, Box::new(file))));
        }
        self.is_read = true;
        Ok(None)
    }

    fn stored(&mut self, content: Content) -> Result<()> {
        match self.given.take() {
            Some((path, executable)) => {
                self.listing.add(path, ListedKind::File { executable, content })
            }
            None => Err(Error::new(ErrorKind::Failed, "internal error: a content without a file")),
        }
    }

    fn sorted(&mut self) -> Result<Box<dyn ChangeSource>> {
        // A push that begins again must not take a part for the whole.
        if !self.is_read {
            let what = "the push has to begin again, but only a part of the archive was read";
            return Err(Error::new(ErrorKind::Failed, what).hint("run the command again"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_part_that_was_read_is_not_taken_for_the_whole() {
        // A block of one file's header with octal fields, and the end.
        let mut header = [0u8; 512];
        header[..4].copy_from_slice(b"file");
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(b"00000000000\0");
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let bytes = [&header[..], &[0; 1024]].concat();
        let options = ArchiveOptions {
            excludes: Vec::new(),
            skip_special: false,
            memory_bytes: 1 << 20,
            spill_dir: std::env::temp_dir(),
        };
        let input = Box::new(Cursor::new(bytes));
        let mut archive = Archive::open("it", input, &options, Arc::default()).unwrap();
        let (path, file) = archive.next_file().unwrap().unwrap();
        assert_eq!(path, b"file");
        drop(file);
        let error = archive.sorted().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
        assert!(archive.next_file().unwrap().is_none());
        archive.sorted().unwrap();
    }
}
