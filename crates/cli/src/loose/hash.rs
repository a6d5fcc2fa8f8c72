//! Hashing the files of a directory, each in one pass.

use super::contents::ContentsSpool;
use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{self, NameHasher, PlainHasher};
use freestone_core::item::{Content, FileOpener, FileStamp, OpenFile};
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::odd::{FirstBytes, OddReading};
use freestone_core::plan::NodeKind;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Unreadable, Watch, lock, path};
use freestone_manifest::NodeSink;
use freestone_manifest::content::{CHUNKER, ContentItem, ContentRecord, ContentTreeBuilder};
use freestone_store::spool::NodeSpool;
use std::io::Read as _;
use std::sync::Mutex;

/// Number of bytes of a large file that are read at once.
const READ_BYTES: usize = 1 << 20;

/// How often a file is read that changes meanwhile, before this is an error.
const READS_MAX: usize = 5;

/// Hashes the files of a directory.
pub(super) struct FileHasher<'a> {
    /// Opens the files.
    pub(super) opener: &'a dyn FileOpener,
    /// Takes the nodes of content trees, and content records.
    pub(super) nodes: &'a Mutex<NodeSpool>,
    /// Takes the places of chunks.
    pub(super) contents: &'a Mutex<ContentsSpool>,
    /// Counts hashed bytes.
    pub(super) watch: Watch<'a>,
    /// Files that cannot be read. After the first one, further files are only opened, to find out
    /// whether they can be: there will not be an image.
    pub(super) unreadable: &'a Mutex<Unreadable>,
}

/// A file that was hashed.
pub(super) struct HashedFile {
    /// The length in bytes.
    pub(super) size: u64,
    /// In whole seconds since 1970.
    pub(super) mtime: i64,
    /// The SHA-1 of the content.
    pub(super) sha1: Sha1,
    /// The content id.
    pub(super) content: Id,
}

impl HashedFile {
    /// Hashes the bytes of a file of one chunk.
    fn of(bytes: &[u8], stamp: FileStamp) -> Self {
        Self {
            size: bytes.len() as u64,
            mtime: seconds(stamp),
            sha1: digest::sha1(bytes),
            content: digest::plain(bytes),
        }
    }

    fn content(&self) -> Content {
        Content { size: self.size, sha1: self.sha1, id: self.content }
    }
}

/// The spool of nodes that all threads share.
struct SharedNodes<'a>(&'a Mutex<NodeSpool>);

impl NodeSink for SharedNodes<'_> {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        lock(self.0).put(kind, id, bytes)
    }
}

impl FileHasher<'_> {
    /// Hashes the file at `path`. Returns `None` if it was removed after it was listed, or if it or
    /// an earlier file cannot be read.
    pub(super) fn file(&self, path: &[u8]) -> Result<Option<HashedFile>> {
        let unreadable = || lock(self.unreadable);
        let outcome = if unreadable().is_empty() {
            self.read(path).map(Some)
        } else {
            self.opener.open(path).map(|_| None)
        };
        match outcome {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            outcome => outcome.or_else(|error| unreadable().collect(error).map(|()| None)),
        }
    }

    /// Hashes the file at `path`. Starts again if the file changes meanwhile.
    fn read(&self, path: &[u8]) -> Result<HashedFile> {
        let mut earlier: Option<OddReading> = None;
        for _ in 0..READS_MAX {
            let mut file = self.opener.open(path)?;
            let before = file.stamp()?;
            let hashed = match &earlier {
                Some(earlier) => self.first_bytes(path, &mut *file, before, earlier.limit())?,
                None if before.size > CONTENT_WHOLE_BYTES_MAX => {
                    self.large(path, &mut *file, before, Some(before.size))?
                }
                None => self.small(path, &mut *file, before)?,
            };
            let after = file.stamp()?;
            let content = hashed.as_ref().map(HashedFile::content);
            if let (Some(hashed), Some(content)) = (hashed, &content)
                && (after == before && hashed.size == before.size
                    || earlier.as_ref().is_some_and(|it| it.is_confirmed_by(content, &after)))
            {
                return Ok(hashed);
            }
            earlier = OddReading::next(earlier, (&before, &after), content);
        }
        let path = path::display(path);
        Err(Error::new(ErrorKind::Conflict, format!("file {path} keeps changing while it is read"))
            .hint("run this again when nothing writes to the file, or leave it out with --exclude"))
    }

    /// Hashes the first `limit` bytes of a file, or all of it if it is shorter, whatever its stamp
    /// says. Returns `None` if it becomes shorter meanwhile.
    fn first_bytes(
        &self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: FileStamp,
        limit: u64,
    ) -> Result<Option<HashedFile>> {
        let whole = CONTENT_WHOLE_BYTES_MAX + 1;
        let mut bytes = Vec::new();
        file.take(limit.min(whole))
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(path, error))?;
        let length = bytes.len() as u64;
        if length < whole {
            self.watch.add(length);
            return Ok(Some(HashedFile::of(&bytes, stamp)));
        }
        file.seek(0)?;
        self.large(path, &mut FirstBytes::new(file, limit), stamp, None)
    }

    /// Hashes a file of one chunk. Returns `None` if its length differs from that in `stamp`.
    fn small(
        &self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: FileStamp,
    ) -> Result<Option<HashedFile>> {
        // One byte more, so that the same read shows whether the file grew.
        let mut bytes = vec![0; to_usize(stamp.size + 1)];
        let length = fill(file, &mut bytes).map_err(|error| unreadable(path, error))?;
        bytes.truncate(length);
        self.watch.add(bytes.len() as u64);
        Ok((bytes.len() as u64 == stamp.size).then(|| HashedFile::of(&bytes, stamp)))
    }

    /// Hashes a file of several chunks. Returns `None` if its length is not `wanted`, or it is short
    /// enough for one chunk. The places of its chunks and the nodes of its content tree go to the
    /// spools.
    fn large(
        &self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: FileStamp,
        wanted: Option<u64>,
    ) -> Result<Option<HashedFile>> {
        let contents = || lock(self.contents);
        let record = contents().file(path)?;
        let mut tree = ContentTreeBuilder::new(SharedNodes(self.nodes));
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
            self.watch.check()?;
            let count = match file.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(path, error)),
            };
            length += count as u64;
            // A file that grows as fast as it is read would never end.
            if count == 0 || wanted.is_some_and(|wanted| length > wanted) {
                break;
            }
            let bytes = &buffer[..count];
            sha1.update(bytes);
            plain.update(bytes);
            chunker.push(bytes, &mut each)?;
            self.watch.add(count as u64);
        }
        if length <= CONTENT_WHOLE_BYTES_MAX || wanted.is_some_and(|wanted| length != wanted) {
            return Ok(None);
        }
        chunker.finish(&mut each)?;
        let (level, top, _) = tree.finish()?;
        let sha1 = NameHasher::finish(sha1);
        let chunker = CHUNKER;
        let record = ContentRecord { chunker, length, sha1, blake3: plain.finish(), level, top };
        let content = record.id();
        SharedNodes(self.nodes).put(NodeKind::ContentRecord, content, &record.encode())?;
        Ok(Some(HashedFile { size: length, mtime: seconds(stamp), sha1, content }))
    }
}

/// Reads until `out` is full except perhaps for its last byte. Returns the number of bytes read.
pub(super) fn fill(file: &mut dyn OpenFile, out: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    // If a file is shorter than its stamp says, the stamp after reading differs too.
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
