//! The format of the temporary file with the entries of a directory and the places of its chunks.
//!
//! ```text
//! record:  length u32 of what follows | kind u8 | body
//! entry:   mtime i64 | flags u8 | [size, SHA-1, content id] | path | [link text]
//! file:    path                                       of more than one chunk; its chunks follow
//! chunk:   id | offset of the file's record | offset in the file | length
//! ```
//! Numbers without a type are varints, texts have a varint length.

use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result};
use freestone_manifest::{Entry, EntryKind};

/// Size of the length at the start of a record.
pub(super) const LENGTH_BYTES: usize = 4;
/// Offset of the time in the record of an entry, after length and kind.
pub(super) const TIME_OFFSET: u64 = 5;

const ENTRY: u8 = 0;
const FILE: u8 = 1;
const CHUNK: u8 = 2;

const IS_FILE: u8 = 1;
const IS_EXECUTABLE: u8 = 2;
const HAS_LINK: u8 = 4;

/// A record of the temporary file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// An entry.
    Entry(Entry),
    /// A file whose chunks have records of their own.
    File { path: Vec<u8> },
    /// A chunk: its id, the offset of its file's record, and its offset and length in the file.
    Chunk { id: Id, file: u64, offset: u64, length: u64 },
}

impl Record {
    /// Returns the record's bytes, which begin with the length.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u32(0);
        match self {
            Self::Entry(entry) => encode_entry(entry, &mut out),
            Self::File { path } => {
                out.u8(FILE);
                out.string(path);
            }
            Self::Chunk { id, file, offset, length } => {
                out.u8(CHUNK);
                out.id(id);
                out.varint(*file);
                out.varint(*offset);
                out.varint(*length);
            }
        }
        let mut bytes = out.into_bytes();
        let length = u32::try_from(bytes.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    /// Decodes the bytes of [`Self::encode`], without the length.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        let record = match input.u8()? {
            ENTRY => Self::Entry(decode_entry(&mut input)?),
            FILE => Self::File { path: input.string(PATH_BYTES_MAX)?.to_vec() },
            CHUNK => Self::Chunk {
                id: input.id()?,
                file: input.varint()?,
                offset: input.varint()?,
                length: input.varint()?,
            },
            kind => return Err(Error::corrupt(format!("a temporary record of kind {kind}"))),
        };
        input.finish()?;
        Ok(record)
    }
}

fn encode_entry(entry: &Entry, out: &mut Writer) {
    out.u8(ENTRY);
    out.i64(entry.mtime);
    let link = if entry.link.is_some() { HAS_LINK } else { 0 };
    match &entry.kind {
        EntryKind::Directory => out.u8(link),
        EntryKind::File { executable, size, sha1, content } => {
            out.u8(link | IS_FILE | if *executable { IS_EXECUTABLE } else { 0 });
            out.varint(*size);
            out.sha1(sha1);
            out.id(content);
        }
    }
    out.string(&entry.path);
    if let Some(text) = &entry.link {
        out.string(text);
    }
}

fn decode_entry(input: &mut Reader<'_>) -> Result<Entry> {
    let (mtime, flags) = (input.i64()?, input.u8()?);
    let kind = match flags & IS_FILE {
        0 => EntryKind::Directory,
        _ => EntryKind::File {
            executable: flags & IS_EXECUTABLE != 0,
            size: input.varint()?,
            sha1: input.sha1()?,
            content: input.id()?,
        },
    };
    let path = input.string(PATH_BYTES_MAX)?.to_vec();
    let link = match flags & HAS_LINK {
        0 => None,
        _ => Some(input.string(LINK_BYTES_MAX)?.to_vec()),
    };
    Ok(Entry { path, mtime, kind, link, extensions: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::Sha1;

    #[test]
    fn records_are_read_back() {
        let kind = EntryKind::File {
            executable: true,
            size: 1 << 40,
            sha1: Sha1([1; 20]),
            content: Id([2; 32]),
        };
        let file = Entry { kind, link: Some(b"t".to_vec()), ..Entry::directory("a/b", 17) };
        for record in [
            Record::Entry(file),
            Record::Entry(Entry::directory("a", 0)),
            Record::File { path: b"x".to_vec() },
            Record::Chunk { id: Id([3; 32]), file: 4, offset: 5, length: 6 },
        ] {
            let bytes = record.encode();
            let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(length as usize, bytes.len() - LENGTH_BYTES);
            assert_eq!(Record::decode(&bytes[LENGTH_BYTES..]).unwrap(), record);
        }
        let entry = Record::Entry(Entry::directory("a", 0x0102)).encode();
        let at = usize::try_from(TIME_OFFSET).unwrap();
        assert_eq!(entry[at..at + 8], 0x0102i64.to_le_bytes());
    }
}
