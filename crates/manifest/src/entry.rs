//! An entry of a manifest: a path, and the file or directory there.

use freestone_core::limits::{CONTENT_WHOLE_BYTES_MAX, LINK_BYTES_MAX, MTIME_MAX};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Measure, Result, Sha1, path, tar1};

/// A path of a revision, and the file or directory there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, bytes, relative to the revision's top.
    pub path: Vec<u8>,
    /// Last change, in seconds since 1970; 0 to [`MTIME_MAX`].
    pub mtime: i64,
    /// A directory, or a file with its content.
    pub kind: EntryKind,
    /// The link text, if this file was a symbolic link when it was pushed.
    pub link: Option<Vec<u8>>,
    /// Extension fields, encoded as in the node; unknown ones are kept.
    pub extensions: Vec<u8>,
}

/// The kind of an [`Entry`], with what belongs to a file alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its length in bytes.
        size: u64,
        /// The SHA-1 of its bytes, by which the content is looked up.
        sha1: Sha1,
        /// Its content id, by which the content is proven.
        content: Id,
    },
}

const FILE: u8 = 1;
const EXECUTABLE: u8 = 2;
const LINK: u8 = 4;
const EXTENSIONS: u8 = 8;

/// Skips an encoded entry after its path. `length` is that of the whole node. Returns the offset of
/// the content id in the node, if the entry has one.
pub(crate) fn skip_rest(input: &mut Reader<'_>, length: usize) -> Result<Option<usize>> {
    input.varint()?;
    let flags = input.u8()?;
    let mut place = None;
    if flags & FILE != 0 {
        input.varint()?;
        input.sha1()?;
        place = Some(length - input.remaining());
        input.id()?;
    }
    if flags & LINK != 0 {
        input.string(length)?;
    }
    if flags & EXTENSIONS != 0 {
        input.string(length)?;
    }
    Ok(place)
}

impl Entry {
    /// Returns the entry of a directory.
    pub fn directory(path: impl Into<Vec<u8>>, mtime: i64) -> Self {
        Self {
            path: path.into(),
            mtime,
            kind: EntryKind::Directory,
            link: None,
            extensions: Vec::new(),
        }
    }

    /// Returns the size of the file; `None` for a directory.
    pub fn size(&self) -> Option<u64> {
        match self.kind {
            EntryKind::Directory => None,
            EntryKind::File { size, .. } => Some(size),
        }
    }

    /// Returns about how many bytes of memory the entry takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let link = self.link.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + self.path.len() + link + self.extensions.len()
    }

    /// Returns true if this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory)
    }

    /// Returns the length of the entry in a tar image.
    pub fn measure(&self) -> Measure {
        tar1::measure(&self.path, self.size())
    }

    /// Returns true if the two differ at most in their times.
    pub fn same_but_for_time(&self, other: &Self) -> bool {
        self.path == other.path
            && self.kind == other.kind
            && self.link == other.link
            && self.extensions == other.extensions
    }

    /// Returns the reason why the entry cannot be in a manifest; `None` if it can.
    pub(crate) fn fault(&self) -> Option<String> {
        if let Some(fault) = path::fault(&self.path) {
            return Some(fault.into());
        }
        if !(0..=MTIME_MAX).contains(&self.mtime) {
            return Some(format!(
                "has the time {}, which is not within 0 to {MTIME_MAX}",
                self.mtime
            ));
        }
        match &self.link {
            Some(_) if self.is_directory() => Some("is a directory with a link text".into()),
            Some(text) if text.is_empty() || text.len() > LINK_BYTES_MAX => {
                Some(format!("has a link text of {} bytes", text.len()))
            }
            _ => None,
        }
    }

    /// Writes everything except path and time, which the node and the content digest treat
    /// differently.
    pub(crate) fn encode_rest(&self, out: &mut Writer) {
        let mut flags = 0;
        if let EntryKind::File { executable, .. } = self.kind {
            flags |= FILE | if executable { EXECUTABLE } else { 0 };
        }
        if self.link.is_some() {
            flags |= LINK;
        }
        if !self.extensions.is_empty() {
            flags |= EXTENSIONS;
        }
        out.u8(flags);
        if let EntryKind::File { size, sha1, content, .. } = &self.kind {
            out.varint(*size);
            out.sha1(sha1);
            out.id(content);
        }
        if let Some(text) = &self.link {
            out.string(text);
        }
        if !self.extensions.is_empty() {
            out.string(&self.extensions);
        }
    }

    pub(crate) fn decode_rest(path: Vec<u8>, mtime: u64, input: &mut Reader<'_>) -> Result<Self> {
        let flags = input.u8()?;
        if flags & !(FILE | EXECUTABLE | LINK | EXTENSIONS) != 0
            || (flags & FILE == 0 && flags & EXECUTABLE != 0)
        {
            return Err(Error::corrupt(format!("entry with unknown flags {flags:#x}")));
        }
        let kind = if flags & FILE == 0 {
            EntryKind::Directory
        } else {
            EntryKind::File {
                executable: flags & EXECUTABLE != 0,
                size: input.varint()?,
                sha1: input.sha1()?,
                content: input.id()?,
            }
        };
        let link = match flags & LINK {
            0 => None,
            _ => Some(input.string(LINK_BYTES_MAX)?.to_vec()),
        };
        let extensions = match flags & EXTENSIONS {
            0 => Vec::new(),
            _ => match input.extensions()? {
                [] => return Err(Error::corrupt("entry with empty extensions")),
                bytes => bytes.to_vec(),
            },
        };
        let mtime = i64::try_from(mtime)
            .map_err(|_| Error::corrupt("entry with a time of more than 63 bits"))?;
        let entry = Self { path, mtime, kind, link, extensions };
        match entry.fault() {
            None => Ok(entry),
            Some(fault) => {
                Err(Error::corrupt(format!("entry {:?} {fault}", path::display(&entry.path))))
            }
        }
    }

    /// Returns true if the content is cut into chunks, and so has a content record.
    pub fn is_chunked(&self) -> bool {
        self.size().is_some_and(|size| size > CONTENT_WHOLE_BYTES_MAX)
    }
}

/// Returns the reason why the entry `next` cannot follow `previous` (its path, and whether it is a
/// directory); `None` if it can. It must come later in manifest order, and its directory must have
/// come before it.
pub fn placement_fault(previous: Option<(&[u8], bool)>, next: &[u8]) -> Option<&'static str> {
    if let Some((before, _)) = previous
        && path::compare(before, next).is_ge()
    {
        return Some("is out of order");
    }
    let directory = path::parent(next)?;
    match previous {
        Some((before, is_directory))
            if path::is_below(before, directory) || (is_directory && before == directory) =>
        {
            None
        }
        _ => Some("is in a directory that has no entry"),
    }
}
