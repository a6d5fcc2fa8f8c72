//! Files of which one reading is not enough.
//!
//! Most files have the length that their stamp says, before and after reading. A file whose stamp
//! does not say its length (procfs, FUSE with direct I/O) and one that only grows (a log) are read
//! until two readings give the same bytes: all of the first file, and of the second the bytes that
//! it had when it was opened first. Their stamp proves nothing later, so it must not be kept.

use crate::Result;
use crate::item::{Content, FileStamp, OpenFile};
use std::io::Read;

/// A reading of a file whose length is not what its stamp says, or that grew meanwhile.
#[derive(Clone, Debug)]
pub struct OddReading {
    /// The stamp of the file when it was opened first.
    first: FileStamp,
    /// How many bytes the next reading takes.
    limit: u64,
    /// What this reading gave, if it was limited so.
    content: Option<Content>,
}

impl OddReading {
    /// Returns what a reading between two stamps says about the next one; `None` if the file was
    /// changed otherwise, so that reading begins again. `content` is what the reading gave, if it
    /// took as many bytes as [`Self::limit`] of `earlier` says.
    pub fn next(
        earlier: Option<Self>,
        (before, after): (&FileStamp, &FileStamp),
        content: Option<Content>,
    ) -> Option<Self> {
        let is_same = |a: &FileStamp, b: &FileStamp| (a.device, a.inode) == (b.device, b.inode);
        let earlier =
            earlier.filter(|it| is_same(&it.first, after) && it.is_kept_by(before, after));
        match earlier {
            Some(earlier) => Some(Self { content, ..earlier }),
            None if before == after => {
                Some(Self { first: *before, limit: u64::MAX, content: None })
            }
            None if is_same(before, after) && after.size > before.size => {
                Some(Self { first: *before, limit: before.size, content: None })
            }
            None => None,
        }
    }

    /// Returns how many bytes the next reading takes, at most.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns true if the file still behaves as it did in this reading: it is as it was, or its
    /// first bytes are still there.
    fn is_kept_by(&self, before: &FileStamp, after: &FileStamp) -> bool {
        match self.limit {
            u64::MAX => before == after && *after == self.first,
            limit => before.size.min(after.size) >= limit,
        }
    }

    /// Returns true if another reading gave the same bytes.
    pub fn is_confirmed_by(&self, content: &Content, after: &FileStamp) -> bool {
        (self.first.device, self.first.inode) == (after.device, after.inode)
            && self.is_kept_by(after, after)
            && self.content == Some(*content)
    }
}

/// The first bytes of a file.
pub struct FirstBytes<'a> {
    file: &'a mut dyn OpenFile,
    left: u64,
}

impl<'a> FirstBytes<'a> {
    /// Limits an open file to its first `length` bytes.
    pub fn new(file: &'a mut dyn OpenFile, length: u64) -> Self {
        Self { file, left: length }
    }
}

impl Read for FirstBytes<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let count = self.file.read(&mut out[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl OpenFile for FirstBytes<'_> {
    fn stamp(&self) -> Result<FileStamp> {
        self.file.stamp()
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.file.seek(offset)
    }
}
