//! Hashing the files of a directory in one pass each.

use super::contents::ContentsSpool;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{self, NameHasher, PlainHasher};
use freestone_core::item::{FileOpener, FileStamp, OpenFile};
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::NodeKind;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Unreadable, path};
use freestone_manifest::NodeSink;
use freestone_manifest::content::{CHUNKER, ContentItem, ContentRecord, ContentTreeBuilder};
use freestone_store::spool::NodeSpool;
use std::sync::{Mutex, PoisonError};

/// How much of a large file is read at once.
const READ_BYTES: usize = 1 << 20;

/// How often a file that changes while it is read is read, before that is an error.
const READS_MAX: usize = 5;

/// What is needed to hash any file of the directory.
pub(super) struct Hashing<'a> {
    pub(super) opener: &'a dyn FileOpener,
    pub(super) nodes: &'a Mutex<NodeSpool>,
    pub(super) contents: &'a Mutex<ContentsSpool>,
    pub(super) progress: &'a Progress,
    pub(super) interrupt: &'a Interrupt,
    /// What cannot be read. From the first on, files are only opened: no image will come of this.
    pub(super) unreadable: &'a Mutex<Unreadable>,
}

/// What a file's bytes came to.
pub(super) struct Hashed {
    pub(super) size: u64,
    /// In whole seconds since 1970.
    pub(super) mtime: i64,
    pub(super) sha1: Sha1,
    pub(super) content: Id,
}

/// Puts nodes into the spool that all threads share.
struct Shared<'a>(&'a Mutex<NodeSpool>);

impl NodeSink for Shared<'_> {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(kind, id, bytes)
    }
}

impl Hashing<'_> {
    /// Hashes the file at `path`; `None` if it cannot be read, or another could not.
    pub(super) fn file(&self, path: &[u8]) -> Result<Option<Hashed>> {
        let unreadable = || self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = if unreadable().is_empty() {
            self.read(path).map(Some)
        } else {
            self.opener.open(path).map(|_| None)
        };
        outcome.or_else(|error| unreadable().collect(error).map(|()| None))
    }

    /// Hashes the file at `path`, again if it changes meanwhile.
    fn read(&self, path: &[u8]) -> Result<Hashed> {
        for _ in 0..READS_MAX {
            let mut file = self.opener.open(path)?;
            let before = file.stamp()?;
            let hashed = if before.size > CONTENT_WHOLE_BYTES_MAX {
                self.large(path, &mut *file, before)?
            } else {
                self.small(path, &mut *file, before)?
            };
            if let Some(hashed) = hashed
                && file.stamp()? == before
            {
                return Ok(hashed);
            }
        }
        let path = path::display(path);
        Err(Error::new(ErrorKind::Failed, format!("file {path} changes while it is read"))
            .hint("repeat this when nothing writes to the file, or leave it out with --exclude"))
    }

    /// `None` if the length is not what the stamp says.
    fn small(
        &self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: FileStamp,
    ) -> Result<Option<Hashed>> {
        // One byte more, so that a file that grew is noticed with the same read.
        let mut bytes = vec![0; usize::try_from(stamp.size + 1).unwrap_or(0)];
        let length = fill(file, &mut bytes).map_err(|error| unreadable(path, error))?;
        bytes.truncate(length);
        self.progress.add(bytes.len() as u64);
        Ok((bytes.len() as u64 == stamp.size).then(|| Hashed {
            size: stamp.size,
            mtime: seconds(stamp),
            sha1: digest::sha1(&bytes),
            content: digest::plain(&bytes),
        }))
    }

    /// As [`Self::small`]; the chunks' places and the tree's nodes go to the spools as they come.
    fn large(
        &self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: FileStamp,
    ) -> Result<Option<Hashed>> {
        let contents = || self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let record = contents().file(stamp.size, path)?;
        let mut tree = ContentTreeBuilder::new(Shared(self.nodes));
        let mut offset = 0;
        let mut each = |piece: ContentPiece<'_>| {
            let item = match piece {
                ContentPiece::Zeros(length) => ContentItem::Zeros(length),
                ContentPiece::Chunk(bytes) => {
                    let (id, length) = (digest::plain(bytes), bytes.len() as u64);
                    contents().chunk(id, record, offset, length)?;
                    ContentItem::Chunk(length, id)
                }
            };
            offset += item.length();
            tree.push(item)
        };
        let (mut sha1, mut plain) = (digest::sha1_hasher(), PlainHasher::default());
        let mut chunker = Chunker::default();
        let mut buffer = vec![0; READ_BYTES];
        let mut length = 0;
        loop {
            self.interrupt.check()?;
            let count = match file.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(path, error)),
            };
            length += count as u64;
            // A file that grows as fast as it is read would have no end.
            if count == 0 || length > stamp.size {
                break;
            }
            let bytes = &buffer[..count];
            sha1.update(bytes);
            plain.update(bytes);
            chunker.push(bytes, &mut each)?;
            self.progress.add(count as u64);
        }
        if length != stamp.size {
            return Ok(None);
        }
        chunker.finish(&mut each)?;
        let (level, top, _) = tree.finish()?;
        let sha1 = NameHasher::finish(sha1);
        let chunker = CHUNKER;
        let record = ContentRecord { chunker, length, sha1, blake3: plain.finish(), level, top };
        let content = record.id();
        Shared(self.nodes).put(NodeKind::ContentRecord, content, &record.encode())?;
        Ok(Some(Hashed { size: length, mtime: seconds(stamp), sha1, content }))
    }
}

/// Reads until `out` is full but for its last byte, or more than that; gives how much was read.
pub(super) fn fill(file: &mut dyn OpenFile, out: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    // What a regular file has less than its stamp says, the stamp after reading says too.
    while length + 1 < out.len() {
        match file.read(&mut out[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn seconds(stamp: FileStamp) -> i64 {
    stamp.mtime_ns.div_euclid(1_000_000_000)
}

fn unreadable(path: &[u8], error: std::io::Error) -> Error {
    Error::io(format!("file {} cannot be read", path::display(path)), error).at_path(path.to_vec())
}
