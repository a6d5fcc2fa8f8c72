//! The working index as a push sees it: what a machine remembers of the files that it hashed.
//!
//! It is a cache. A push without one hashes every file and makes the same revision, so this trait
//! is all that a push knows of it, and a program without a database gives it none.

use crate::item::{Content, FileStamp};
use crate::{Id, Result, Sha1};

/// What the stat cache knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Its size, times and inode when it was hashed.
    pub stamp: FileStamp,
    /// The SHA-1 of its content.
    pub sha1: Sha1,
    /// The id of its content.
    pub content: Id,
}

/// A working index that one push has opened. What is remembered is kept once [`Self::close`] was
/// called; a push that fails drops the index without it.
pub trait WorkingIndex: Send {
    /// Returns whether this process has the index. Another process that pushes may have it; then
    /// nothing is known, and nothing is remembered.
    fn is_open(&mut self) -> bool;

    /// Begins a walk over the files of `source`, before its first file.
    fn begin(&mut self, source: &[u8]);

    /// Returns what is known of the file at `path` of the source. Paths are asked for in manifest
    /// order; the entries that are passed over are of files that are gone, and are removed.
    ///
    /// # Errors
    /// The index cannot be written.
    fn known(&mut self, path: &[u8]) -> Result<Option<KnownFile>>;

    /// Remembers a file of the source that was hashed.
    ///
    /// # Errors
    /// The index cannot be written.
    fn remember(&mut self, path: &[u8], known: &KnownFile) -> Result<()>;

    /// Removes the entries of the source after the last path that was asked for: its files are
    /// gone, since the walk has ended.
    ///
    /// # Errors
    /// The index cannot be written.
    fn remove_gone(&mut self) -> Result<()>;

    /// Returns the content of the bytes that `name` names, such as a git blob's id, if it is known.
    fn named(&mut self, name: &[u8]) -> Option<Content>;

    /// Remembers the content of the bytes that `name` names.
    ///
    /// # Errors
    /// The index cannot be written.
    fn remember_named(&mut self, name: &[u8], content: &Content) -> Result<()>;

    /// Begins to write what is left, while the caller goes on; dropping the index waits for the end
    /// of it. A failure costs the next push time and nothing else.
    fn close(&mut self);
}
