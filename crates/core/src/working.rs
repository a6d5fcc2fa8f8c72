//! The trait by which a push uses the working index: what a machine remembers of the files that it
//! hashed.
//!
//! It is a cache: a push without one hashes every file and makes the same revision. So a push
//! depends on this trait alone, and a program without a database passes none.

use crate::item::{Content, FileStamp};
use crate::{Id, Result, Sha1};

/// A file as the stat cache knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Its size, times and inode when it was hashed.
    pub stamp: FileStamp,
    /// The SHA-1 of its content.
    pub sha1: Sha1,
    /// The id of its content.
    pub content: Id,
}

/// A working index that one push has opened. What it remembers is kept only if [`Self::close`] is
/// called; a push that fails drops the index without that call.
pub trait WorkingIndex: Send {
    /// Returns true if this process has the index open. If another process that pushes has it,
    /// nothing is known, and nothing is remembered.
    fn is_open(&mut self) -> bool;

    /// Begins a walk over the files of `source`, before its first file.
    fn begin(&mut self, source: &[u8]);

    /// Returns what is known of the file at `path` of the source. The caller asks in manifest
    /// order; an entry between two paths it asks for is of a file that is gone, and is removed.
    ///
    /// # Errors
    /// The index cannot be written.
    fn known(&mut self, path: &[u8]) -> Result<Option<KnownFile>>;

    /// Remembers a file of the source that was hashed.
    ///
    /// # Errors
    /// The index cannot be written.
    fn remember(&mut self, path: &[u8], known: &KnownFile) -> Result<()>;

    /// Removes the entries of the source after the last path that was asked for. Called when the
    /// walk has ended: their files are gone.
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

    /// Starts writing what is left, while the caller continues; dropping the index waits until it
    /// is written. A failure only makes the next push slower.
    fn close(&mut self);
}
