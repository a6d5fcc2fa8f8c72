//! The seam between a store and what keeps its objects: named, immutable byte strings.
//!
//! Names are relative paths such as `packs/ab/<id>.pack`. Everything a store relies on is said
//! here: what `create` and `publish` acknowledge is durable, exists under its name only when it
//! is whole, and never takes the place of another object.

pub mod clock;
pub mod directory;
pub mod pages;
mod random;

pub use random::random;

use freestone_core::wire::Bytes;
use freestone_core::{Error, Result};
use freestone_files::{Folder, Temporary};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether an object was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made by this call.
    New,
    /// There was one of that name already; it was left as it is.
    Existed,
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its whole name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// When it was created, by the clock of the storage: seconds since 1970; 0 if that is not
    /// known. Nothing that must be right may depend on it.
    pub modified: u64,
}

/// The store of which a backend keeps a cache: what those must know who read through the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its URL or path.
    pub url: String,
    /// True if only the cache is read, and the upstream is not contacted.
    pub offline: bool,
}

impl Upstream {
    /// Returns the error for an attempt to write to the cache.
    pub fn refused(&self) -> Error {
        Error::refused(format!("this store follows {}, and is not written to itself", self.url))
            .hint(format!("write to the upstream: freestone -s {} …", self.url))
    }
}

/// Keeps the objects of a store. Used by many threads at once.
pub trait Backend: Send + Sync {
    /// Returns where the objects are, for messages: a path or a URL.
    fn place(&self) -> String {
        "there".into()
    }

    /// Returns true if each request takes long enough that several should be under way at once.
    fn is_far(&self) -> bool {
        false
    }

    /// Returns true if listings follow hints, which may be old: an object that is not listed may be
    /// there, and one that is listed may be gone.
    fn lists_by_hints(&self) -> bool {
        false
    }

    /// Returns the store of which this backend keeps a cache; `None` if it keeps the store itself.
    /// A cache is not written to, is told which bytes were proven, and may lack what its index
    /// names.
    fn upstream(&self) -> Option<Upstream> {
        None
    }

    /// Returns the error of everything that writes, for a backend that can only be read: what writes
    /// fails with it unless the backend has another implementation.
    fn read_only(&self) -> Error {
        match self.upstream() {
            Some(upstream) => upstream.refused(),
            None => Error::refused(format!("{} can only be read", self.place())),
        }
    }

    /// Checks that what is made here stays as it was made, whatever other programs make: called
    /// once before the first object is. Says early what would fail late, such as a key that may
    /// only read.
    ///
    /// # Errors
    /// [`freestone_core::ErrorKind::Refused`] if two writers could overwrite each other's objects
    /// and another one writes here; or nothing can be made.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the backend of what is at this place now, if that is not what this backend has open: a
    /// directory may have been unmounted, or another one put in its place. A backend that opens the
    /// place for each request has nothing to return.
    ///
    /// # Errors
    /// There is nothing at the place, or it cannot be opened.
    fn moved(&self) -> Result<Option<Arc<dyn Backend>>> {
        Ok(None)
    }

    /// Returns all objects whose names begin with the folder `folder` (without a `/` at its end),
    /// at any depth, sorted by name. Files that are being written are not listed.
    ///
    /// # Errors
    /// The listing failed. A folder that does not exist is empty.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;

    /// Returns the objects of [`Self::list`] that come first, sorted by name: at least `count` of
    /// them, or all if there are fewer. What comes after the last of them is not reported.
    ///
    /// # Errors
    /// As [`Self::list`].
    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        let mut listed = self.list(folder)?;
        listed.truncate(count);
        Ok(listed)
    }

    /// Opens an object for reading; `None` if there is none.
    ///
    /// # Errors
    /// It exists, but cannot be opened.
    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>>;

    /// Opens an object whose length is known from elsewhere, such as a listing or the index:
    /// where asking is dear, it is not asked for before it is read. Reading it fails with
    /// [`freestone_core::ErrorKind::NotFound`] if it is gone.
    ///
    /// # Errors
    /// As [`Self::open`]; or ([`freestone_core::ErrorKind::NotFound`]) there is none.
    fn open_listed(&self, name: &str, length: u64) -> Result<Box<dyn Object>> {
        let _ = length;
        self.open(name)?.ok_or_else(|| Error::not_found(format!("{name} does not exist")))
    }

    /// Fills `out` from `offset` on of an object that is known to exist, from elsewhere: who
    /// plans what is read, and wants nothing else of it.
    ///
    /// # Errors
    /// ([`freestone_core::ErrorKind::NotFound`]) there is no such object; reading failed, or it
    /// ends before `out` is full.
    fn read_range(&self, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let object = self.open(name)?;
        let absent = || Error::not_found(format!("{name} does not exist"));
        object.ok_or_else(absent)?.read_at(offset, out)
    }

    /// Makes or replaces a small object that is no authority for anything, so that those find
    /// others who cannot list. It need not last.
    ///
    /// # Errors
    /// It could not be written.
    fn hint(&self, _name: &str, _bytes: &[u8]) -> Result<()> {
        Err(self.read_only())
    }

    /// Makes a small object, unless there is one of that name.
    ///
    /// # Errors
    /// It could not be made durable; then it may or may not exist, whole.
    fn create(&self, _name: &str, _bytes: &[u8]) -> Result<Created> {
        Err(self.read_only())
    }

    /// Returns a file to write a large object into.
    ///
    /// # Errors
    /// The disk or the folder of temporary files is full.
    fn spool(&self) -> Result<Spool> {
        Err(self.read_only())
    }

    /// Makes an object of a spool, unless there is one of that name.
    ///
    /// # Errors
    /// As [`Self::create`].
    fn publish(&self, _spool: Spool, _name: &str) -> Result<Created> {
        Err(self.read_only())
    }

    /// Makes durable all that a listing of `folder` shows, by whichever program it was made: an
    /// object is seen as soon as it has its name, and who made it may have died before the name was
    /// durable.
    ///
    /// # Errors
    /// It could not be made durable.
    fn settle(&self, folder: &str) -> Result<()>;

    /// Removes an object; one that does not exist is removed already.
    ///
    /// # Errors
    /// It could not be removed.
    fn remove(&self, _name: &str) -> Result<()> {
        Err(self.read_only())
    }

    /// Reads a whole object of at most `max` bytes; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is longer.
    fn get(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let Some(object) = self.open(name)? else { return Ok(None) };
        let length = object.length();
        if length > max {
            return Err(Error::corrupt(format!("{name} is longer than {max} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        object.read_at(0, &mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Times that an object is read of which each reading gives other damage.
const READINGS_MAX: usize = 4;

/// Reads and decodes a whole object of at most `max` bytes; `None` if there is none. What `decode`
/// finds damaged is read again, and is damaged if it is the same then: else it was damaged on the
/// way.
///
/// # Errors
/// As [`Backend::get`]; or what `decode` says.
pub fn get_decoded<T>(
    backend: &dyn Backend,
    name: &str,
    max: u64,
    decode: impl Fn(&[u8]) -> Result<T>,
) -> Result<Option<T>> {
    let mut before: Option<Vec<u8>> = None;
    for reading in 1.. {
        let Some(bytes) = backend.get(name, max)? else { return Ok(None) };
        match decode(&bytes) {
            Err(error)
                if error.kind() == freestone_core::ErrorKind::Corrupt
                    && reading < READINGS_MAX
                    && before.as_ref() != Some(&bytes) =>
            {
                before = Some(bytes);
            }
            outcome => return outcome.map(Some),
        }
    }
    Ok(None)
}

/// An object that is open for reading. Where objects are files it stays readable when its name is
/// removed.
pub trait Object: Send + Sync {
    /// Returns its length in bytes.
    fn length(&self) -> u64;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// Reading failed, or the object ends before `out` is full.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;

    /// Returns its bytes to be read here and there, also after the object is gone.
    ///
    /// # Errors
    /// It cannot be mapped or read.
    fn map(&self) -> Result<Bytes>;

    /// Returns true if a range can be read without a request to another machine.
    fn is_at_hand(&self, _offset: u64, _length: u64) -> bool {
        true
    }

    /// Notes that a range was read and proven: it may be kept nearer.
    fn confirm(&self, _offset: u64, _length: u64) {}

    /// Notes that a range was read and cannot be right. Returns true if reading it again may give
    /// other bytes.
    fn refute(&self, _offset: u64, _length: u64) -> bool {
        false
    }

    /// Returns the file that holds exactly these bytes, from its start on, where it is one of this
    /// machine; so that they can be read without waiting, and shared.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// A file of the backend that is being written. It is removed when it is dropped, unless
/// [`Self::keep`] is called.
pub struct Spool {
    file: File,
    /// Where the file is; `None` for one without a name.
    place: Option<(Folder, PathBuf)>,
    path: PathBuf,
}

impl Spool {
    /// Returns a spool that is written to `file`, which has no name.
    pub fn new(file: File) -> Self {
        Self { file, place: None, path: PathBuf::new() }
    }

    /// Returns a spool that is written to a temporary file below `folder`.
    pub fn below(folder: Folder, temporary: Temporary) -> Self {
        let path = folder.path_of(&temporary.name);
        Self { file: temporary.file, place: Some((folder, temporary.name)), path }
    }

    /// Returns the path of the file, for messages. It is empty for a file without a name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of the file below its folder. It is empty for a file without a name.
    pub fn name(&self) -> &Path {
        self.place.as_ref().map_or(Path::new(""), |(_, name)| name)
    }

    /// Leaves the file where it is, or wherever it was moved.
    pub fn keep(&mut self) {
        self.place = None;
    }

    /// Returns the file, to be written at any place.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some((folder, name)) = &self.place {
            // It is in `tmp/`, where the next push clears what is left over.
            let _ = folder.remove_file(name);
        }
    }
}
