//! What a source gives to a push: items in manifest order, and the bytes of files on demand.

use crate::{Error, Id, Result, Sha1};
use std::io::Read;

/// A content by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Length in bytes.
    pub size: u64,
    /// What it is looked up by.
    pub sha1: Sha1,
    /// What it is proven by.
    pub id: Id,
}

/// Which file this is and when it last changed, as the file system tells it. Two equal stamps of
/// one path, the second taken well after the last change, mean unchanged bytes.
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

/// A file or directory of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative to the source's top; fit for a manifest ([`crate::path::fault`]).
    pub path: Vec<u8>,
    /// Its own time of last change, in whole seconds since 1970.
    pub mtime: i64,
    /// What it is.
    pub kind: ItemKind,
}

/// What an [`Item`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory; it comes before what is in it.
    Directory,
    /// A regular file, or a link to one inside the source.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// The stamp of the file, of the link's target where it is a link.
        stamp: FileStamp,
        /// The link's text where it was a symbolic link.
        link: Option<Vec<u8>>,
    },
}

/// A source of items, each path once, in manifest order ([`crate::path::compare`]), every
/// directory explicit and before what is in it.
pub trait ItemSource: Send {
    /// The next item; `None` after the last.
    ///
    /// # Errors
    /// Reading failed; or, in place of the end, things were found that cannot be pushed, every
    /// path listed.
    fn next(&mut self) -> Result<Option<Item>>;
}

/// An open file of a source.
pub trait OpenFile: Read + Send {
    /// The stamp of the open file as it is now.
    ///
    /// # Errors
    /// The file system does not tell.
    fn stamp(&self) -> Result<FileStamp>;

    /// Continues reading at `offset`, in bytes from the start.
    ///
    /// # Errors
    /// Seeking failed.
    fn seek(&mut self, offset: u64) -> Result<()>;
}

/// Opens the files of a source for reading; used by many threads at once.
pub trait FileOpener: Send + Sync {
    /// Opens the file at `path`, following a link where the source gave the link as a file.
    ///
    /// # Errors
    /// It is gone, unreadable, or no longer a regular file inside the source.
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>>;
}

/// What a source that knows more than its files says of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemChange {
    /// Relative to the source's top; fit for a manifest ([`crate::path::fault`]).
    pub path: Vec<u8>,
    /// What stands there now.
    pub kind: ChangeKind,
}

/// What stands at the path of an [`ItemChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Nothing. What was below it is told path by path.
    Gone,
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// The link's text where it was a symbolic link.
        link: Option<Vec<u8>>,
        /// Its bytes.
        bytes: FileBytes,
    },
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileBytes {
    /// A [`FileOpener`] opens them by this name, which never names other bytes.
    Named(Vec<u8>),
    /// They have been stored already.
    Stored(Content),
}

/// A source that tells paths in manifest order, each once, every directory before what is in it:
/// either all that there is, or what has changed since another revision.
pub trait ChangeSource: Send {
    /// The next path; `None` behind the last.
    ///
    /// # Errors
    /// Reading failed.
    fn next(&mut self) -> Result<Option<ItemChange>>;

    /// Hears that the bytes at `path`, told before, cannot be pushed, and why.
    ///
    /// # Errors
    /// That ends the push.
    fn refuse(&mut self, path: &[u8], why: Error) -> Result<()>;

    /// Ends the source, all of whose bytes have been read; gives labels for the revision.
    ///
    /// # Errors
    /// Things were found that cannot be pushed, every path listed.
    fn finish(&mut self) -> Result<Vec<(String, String)>>;
}

/// A file with its path.
pub type NamedFile = (Vec<u8>, Box<dyn OpenFile>);

/// A source that can be read once, in an order of its own, such as an archive in a pipe.
pub trait StreamSource: Send {
    /// The next file, its path and its bytes, to be read to their end before the next call;
    /// `None` behind the last.
    ///
    /// # Errors
    /// Reading failed, or what is read is no such source.
    fn next_file(&mut self) -> Result<Option<NamedFile>>;

    /// Hears what the file that was given last holds.
    ///
    /// # Errors
    /// It cannot be kept.
    fn stored(&mut self, content: Content) -> Result<()>;

    /// All that there is, when the last file has been given; again, if it has to be told again.
    ///
    /// # Errors
    /// It cannot be sorted.
    fn sorted(&mut self) -> Result<Box<dyn ChangeSource>>;
}
