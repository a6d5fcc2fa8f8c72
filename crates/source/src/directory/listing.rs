//! Lists the names of a directory in bytewise order, any number of them in bounded memory.

use super::names::{NameKind, Names};
use super::spill::{RunReader, Spill};
use freestone_core::{Error, ErrorKind, Result, path};
use rustix::fd::BorrowedFd;
use rustix::fs::RawDir;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The bytes that are read from the kernel at once. A record has at most 65,535 bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// The names of a directory may always take this much memory, even if the directories around it use
/// all of it: a small directory is not worth a file, and no path has more than 2,047 directories.
const SMALL_BYTES: usize = 16 << 10;

/// The names of one directory that the walk has not reached yet.
pub(super) enum Listing {
    /// All names, and the index of the next one.
    Memory(Names, usize),
    /// The names in a run of the temporary file.
    File(RunReader),
}

/// The lister of all directories of a walk. It counts the memory of the lists that are in use.
pub(super) struct Lister {
    buffer: Vec<u8>,
    spill: Spill,
    bytes_max: usize,
    bytes: usize,
}

impl Lister {
    /// Returns a lister whose lists take at most `bytes_max` of memory together, small directories
    /// aside. Longer lists go to a file without a name in `spill_dir`.
    pub(super) fn new(bytes_max: usize, spill_dir: PathBuf) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        Self { buffer, spill: Spill::new(spill_dir), bytes_max, bytes: 0 }
    }

    /// Returns the length of the temporary file: the offset at which the next list begins in it.
    pub(super) fn spilled(&self) -> u64 {
        self.spill.length()
    }

    /// Lists the names of `directory`, whose path is `place`.
    pub(super) fn list(&mut self, directory: BorrowedFd<'_>, place: &[u8]) -> Result<Listing> {
        // Vectors that grow may have twice the capacity that they fill.
        let small = SMALL_BYTES.min(self.bytes_max / 2);
        let allowed = (self.bytes_max.saturating_sub(self.bytes) / 2).max(small);
        let mut names = Names::default();
        let mut runs = Vec::new();
        let mut entries = RawDir::new(directory, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| {
                Error::io(format!("directory {} cannot be read", shown(place)), errno.into())
                    .at_path(place.to_vec())
            })?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if name.is_empty() || name.contains(&b'/') {
                let (place, name) = (shown(place), path::display(name));
                let what = format!("directory {place} lists \"{name}\", which is not a file name");
                return Err(Error::new(ErrorKind::Storage, what)
                    .hint("the file system is damaged or malicious"));
            }
            let kind = NameKind::of(entry.file_type());
            if !names.add(kind, name, allowed) {
                names.sort();
                runs.push(self.spill.write(&names).map_err(|error| spilling(&self.spill, error))?);
                names.clear();
                let _always = names.add(kind, name, allowed);
            }
        }
        names.sort();
        if runs.is_empty() {
            names.shrink();
            self.bytes += names.bytes();
            return Ok(Listing::Memory(names, 0));
        }
        let merged = self.spill.write(&names).and_then(|run| {
            drop(names);
            runs.push(run);
            self.spill.merge(runs)
        });
        let run = merged.map_err(|error| spilling(&self.spill, error))?;
        Ok(Listing::File(self.spill.read(run)))
    }

    /// Returns the next name of `listing`.
    pub(super) fn next<'a>(
        &self,
        listing: &'a mut Listing,
    ) -> Result<Option<(NameKind, &'a [u8])>> {
        match listing {
            Listing::Memory(names, next) => {
                *next += 1;
                Ok(names.get(*next - 1))
            }
            Listing::File(cursor) => match cursor.advance(&self.spill) {
                Ok(true) => Ok(Some(cursor.record())),
                Ok(false) => Ok(None),
                Err(error) => Err(spilling(&self.spill, error)),
            },
        }
    }

    /// Frees the memory and the file space of `listing`, which must be the newest one that is in
    /// use. `spilled` is the value of [`Self::spilled`] before it was made.
    pub(super) fn release(&mut self, listing: Listing, spilled: u64) -> Result<()> {
        if let Listing::Memory(names, _) = listing {
            self.bytes -= names.bytes();
        }
        self.spill.truncate(spilled).map_err(|error| spilling(&self.spill, error))
    }
}

fn spilling(spill: &Spill, error: std::io::Error) -> Error {
    let place = path::display(spill.directory().as_os_str().as_bytes());
    let what = format!("temporary file in {place}: the names of a directory cannot be sorted");
    Error::io(what, error).hint("set TMPDIR to a directory with more space")
}

/// Returns the path of a directory for people.
pub(super) fn shown(place: &[u8]) -> String {
    if place.is_empty() { ".".to_owned() } else { path::display(place) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::fs::{Mode, OFlags, open};

    #[test]
    fn a_removed_directory_is_an_error_and_no_empty_one() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("x");
        std::fs::create_dir(&path).unwrap();
        let directory = open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        std::fs::remove_dir(&path).unwrap();
        let mut lister = Lister::new(1 << 20, temporary.path().to_owned());
        let error = lister.list(directory.as_fd(), b"x").err().unwrap();
        assert_eq!(error.to_string(), "directory x cannot be read");
    }

    /// The memory of a directory is counted while the walk is in it, and free again after that.
    #[test]
    fn memory_and_file_are_given_back() {
        let temporary = tempfile::tempdir().unwrap();
        for number in 0..5_000 {
            std::fs::write(temporary.path().join(format!("{number:04}")), "").unwrap();
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        // Each takes 55,000 bytes, and may take half of those that are free: 100,000, 72,500,
        // 45,000.
        let mut lister = Lister::new(200_000, temporary.path().to_owned());
        let mut lists = Vec::new();
        for _ in 0..3 {
            let directory = open(temporary.path(), flags, Mode::empty()).unwrap();
            let spilled = lister.spilled();
            lists.push((lister.list(directory.as_fd(), b"").unwrap(), spilled));
        }
        let in_memory = |(list, _): &(Listing, u64)| matches!(list, Listing::Memory(..));
        assert!(lists.iter().map(in_memory).eq([true, true, false]));
        assert_eq!(lister.bytes, 110_000);
        assert!(lister.spilled() >= 35_000);
        while let Some((list, spilled)) = lists.pop() {
            lister.release(list, spilled).unwrap();
        }
        assert_eq!((lister.bytes, lister.spilled()), (0, 0));
    }
}
