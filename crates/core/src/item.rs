//! The traits by which a push reads a source: items in manifest order, and the bytes of files on
//! demand.

use crate::{Error, Id, Result, Sha1};
use std::io::Read;

/// A content's length, name and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Length in bytes.
    pub size: u64,
    /// The SHA-1 of its bytes, by which it is looked up.
    pub sha1: Sha1,
    /// Its content id, by which it is proven.
    pub id: Id,
}

/// The numbers of the file system by which a file is recognised as unchanged. If two stamps of one
/// path are equal, and the second was taken well after the last change, the bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the bytes: nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of the bytes or of the inode: nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl FileStamp {
    /// Returns true if `other` is a stamp of the same unchanged file. The device number is not
    /// compared: a file system may have another one after it is mounted again, with the same files.
    pub fn is_same_file(&self, other: &Self) -> bool {
        *self == Self { device: self.device, ..*other }
    }
}

/// A file or directory of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The path relative to the source's top, valid in a manifest ([`crate::path::fault`]).
    pub path: Vec<u8>,
    /// The time of its own last change, in whole seconds since 1970.
    pub mtime: i64,
    /// A directory or a file.
    pub kind: ItemKind,
}

/// The kind of an [`Item`], with what belongs to a file alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory; it comes before its contents.
    Directory,
    /// A regular file, or a link to one inside the source.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// The stamp of the file; for a link, that of its target.
        stamp: FileStamp,
        /// The text of the link, if the source has a symbolic link here.
        link: Option<Vec<u8>>,
    },
}

/// A source of items: each path once, in manifest order ([`crate::path::compare`]). Every directory
/// is an item, before the items in it.
pub trait ItemSource: Send {
    /// Returns the next item; `None` after the last.
    ///
    /// # Errors
    /// Reading failed; or, instead of the end, a list of all paths that cannot be pushed.
    fn next(&mut self) -> Result<Option<Item>>;
}

/// An open file of a source.
pub trait OpenFile: Read + Send {
    /// Returns the stamp of the open file as it is now.
    ///
    /// # Errors
    /// The file system does not report it.
    fn stamp(&self) -> Result<FileStamp>;

    /// Continues reading at `offset`, in bytes from the start.
    ///
    /// # Errors
    /// Seeking failed.
    fn seek(&mut self, offset: u64) -> Result<()>;
}

/// An opener of a source's files for reading, used by many threads at once.
pub trait FileOpener: Send + Sync {
    /// Opens the file at `path`; if the source has a link there, the link's target.
    ///
    /// # Errors
    /// The file is unreadable, or no longer a regular file inside the source.
    /// [`crate::ErrorKind::NotFound`] if it was removed after it was listed: a push of a directory
    /// then leaves it out.
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>>;
}

/// One path of a [`ChangeSource`], and what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemChange {
    /// The path relative to the source's top, valid in a manifest ([`crate::path::fault`]).
    pub path: Vec<u8>,
    /// What is there now.
    pub kind: ChangeKind,
}

/// What is at the path of an [`ItemChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Nothing. If it was a directory, each path below it is a change of its own.
    Gone,
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// The text of the link, if the source has a symbolic link here.
        link: Option<Vec<u8>>,
        /// Its bytes.
        bytes: FileBytes,
    },
}

/// The way to the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileBytes {
    /// A [`FileOpener`] opens them by this name, which never names other bytes.
    Named(Vec<u8>),
    /// They are stored already.
    Stored(Content),
}

/// A source that returns paths in manifest order, each once, every directory before its contents:
/// either all paths, or only those that changed since another revision.
pub trait ChangeSource: Send {
    /// Returns the next path; `None` after the last.
    ///
    /// # Errors
    /// Reading failed.
    fn next(&mut self) -> Result<Option<ItemChange>>;

    /// Called by the push if the bytes at `path`, which the source returned before, cannot be
    /// pushed; `why` is the reason.
    ///
    /// # Errors
    /// The source does not allow it; the push ends.
    fn refuse(&mut self, path: &[u8], why: Error) -> Result<()>;

    /// Ends the source after all its bytes were read. Returns labels for the revision.
    ///
    /// # Errors
    /// Some paths cannot be pushed; the error lists all of them.
    fn finish(&mut self) -> Result<Vec<(String, String)>>;
}

/// A file with its path.
pub type NamedFile = (Vec<u8>, Box<dyn OpenFile>);

/// A source that can be read once, in an order of its own, such as an archive in a pipe.
pub trait StreamSource: Send {
    /// Returns the next file, its path and its bytes, which the caller must read to the end before
    /// the next call; `None` after the last.
    ///
    /// # Errors
    /// Reading failed, or the bytes are not of this kind of source.
    fn next_file(&mut self) -> Result<Option<NamedFile>>;

    /// Called by the push with the content of the file that [`Self::next_file`] returned last.
    ///
    /// # Errors
    /// The source cannot keep it.
    fn stored(&mut self, content: Content) -> Result<()>;

    /// Returns all paths in manifest order. Called after the last file; a second call begins again.
    ///
    /// # Errors
    /// The paths cannot be sorted.
    fn sorted(&mut self) -> Result<Box<dyn ChangeSource>>;
}
