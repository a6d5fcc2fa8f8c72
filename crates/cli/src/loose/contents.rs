//! The places of the chunks in a directory's files, and reading the chunks again.

use super::record::{LENGTH_BYTES, Record, TIME_OFFSET};
use freestone_core::digest;
use freestone_core::item::FileOpener;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::wire::to_usize;
use freestone_core::{ChunkSource, Error, ErrorKind, Id, Result, path};
use freestone_manifest::{Entry, EntryKind};
use freestone_source::directory::Opener;
use freestone_store::spool::{Spool, Spooled};
use std::io;

/// Number of bytes that are read at once when records are read in order.
const READ_BYTES: usize = 256 << 10;

/// A record of at most this length is read with one call.
const RECORD_BYTES: usize = 256;

/// Records of entries and of the places of chunks, while they are written.
pub struct ContentsSpool {
    spool: Spool,
    /// The first bytes of a chunk's id, and the offset of a record that leads to the chunk.
    places: Vec<(u64, u64)>,
}

impl ContentsSpool {
    /// Creates an empty one.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { spool: Spool::new()?, places: Vec::new() })
    }

    /// Adds the next entry and returns its record's offset. The record of a file of one chunk leads
    /// to that chunk.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<u64> {
        let offset = self.spool.append(&Record::Entry(entry.clone()).encode())?;
        if let EntryKind::File { size, content, .. } = entry.kind
            && (1..=CONTENT_WHOLE_BYTES_MAX).contains(&size)
        {
            self.places.push((content.head(), offset));
        }
        Ok(offset)
    }

    /// Sets the time of the entry whose record is at `offset`.
    pub(super) fn set_time(&mut self, offset: u64, mtime: i64) -> Result<()> {
        self.spool.patch(offset + TIME_OFFSET, &mtime.to_le_bytes())
    }

    /// Adds a file of several chunks and returns its record's offset.
    pub(super) fn file(&mut self, path: &[u8]) -> Result<u64> {
        self.spool.append(&Record::File { path: path.to_vec() }.encode())
    }

    /// Adds a chunk of the file whose record is at `file`.
    pub(super) fn chunk(&mut self, id: Id, file: u64, offset: u64, length: u64) -> Result<()> {
        let record = Record::Chunk { id, file, offset, length };
        let at = self.spool.append(&record.encode())?;
        self.places.push((id.head(), at));
        Ok(())
    }

    /// Finishes writing. Chunks are then read through `opener`.
    pub(super) fn finish(mut self, opener: Opener) -> Result<Contents> {
        self.places.sort_unstable();
        self.places.shrink_to_fit();
        Ok(Contents { spooled: self.spool.finish()?, places: self.places, opener })
    }
}

/// The chunks of a directory. They are read from its files on demand, and their hash is checked.
pub struct Contents {
    spooled: Spooled,
    places: Vec<(u64, u64)>,
    opener: Opener,
}

/// The place of a chunk in a file.
struct ChunkPlace {
    path: Vec<u8>,
    offset: u64,
}

fn length_of(prefix: &[u8]) -> usize {
    let mut length = [0; LENGTH_BYTES];
    length.copy_from_slice(&prefix[..LENGTH_BYTES]);
    to_usize(u32::from_le_bytes(length).into())
}

impl Contents {
    /// Passes all entries to `each`, in order.
    pub(super) fn entries(&self, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let mut buffer = Vec::new();
        let mut start = 0;
        let mut offset = 0;
        loop {
            let rest = &buffer[start..];
            if rest.len() >= LENGTH_BYTES && rest.len() - LENGTH_BYTES >= length_of(rest) {
                let end = LENGTH_BYTES + length_of(rest);
                if let Record::Entry(entry) = Record::decode(&rest[LENGTH_BYTES..end])? {
                    each(entry)?;
                }
                start += end;
                continue;
            }
            buffer.drain(..start);
            start = 0;
            let left = to_usize(self.spooled.length() - offset);
            if left == 0 {
                return Ok(());
            }
            let kept = buffer.len();
            buffer.resize(kept + left.min(READ_BYTES), 0);
            self.spooled.read(offset, &mut buffer[kept..])?;
            offset += (buffer.len() - kept) as u64;
        }
    }

    fn record(&self, offset: u64) -> Result<Record> {
        let left = to_usize(self.spooled.length() - offset);
        let mut bytes = vec![0; left.min(RECORD_BYTES)];
        self.spooled.read(offset, &mut bytes)?;
        let length = LENGTH_BYTES + length_of(&bytes).min(left);
        if length > bytes.len() {
            bytes.resize(length, 0);
            self.spooled.read(offset, &mut bytes)?;
        }
        Record::decode(&bytes[LENGTH_BYTES..length])
    }

    /// Returns the place that the record at `offset` leads to, if the record is of chunk `id`.
    fn place(&self, offset: u64, id: &Id) -> Result<Option<ChunkPlace>> {
        match self.record(offset)? {
            Record::Entry(Entry { path, kind: EntryKind::File { content, .. }, .. })
                if content == *id =>
            {
                Ok(Some(ChunkPlace { path, offset: 0 }))
            }
            Record::Chunk { id: chunk, file, offset, .. } if chunk == *id => {
                match self.record(file)? {
                    Record::File { path } => Ok(Some(ChunkPlace { path, offset })),
                    _ => Err(Error::corrupt("a temporary record is damaged")),
                }
            }
            _ => Ok(None),
        }
    }

    /// Reads the bytes at `place`.
    fn read(&self, place: &ChunkPlace, out: &mut [u8]) -> Result<()> {
        let mut file = match self.opener.open(&place.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(changed(&place.path)),
            opened => opened?,
        };
        if place.offset > 0 {
            file.seek(place.offset)?;
        }
        match file.read_exact(out) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(changed(&place.path)),
            read => read.map_err(|error| {
                Error::io(format!("file {} cannot be read", path::display(&place.path)), error)
            }),
        }
    }
}

fn changed(path: &[u8]) -> Error {
    let path = path::display(path);
    Error::new(ErrorKind::Conflict, format!("file {path} changed while the image was made"))
        .hint("run this again when nothing writes to the directory, or push it to a store first")
}

impl ChunkSource for Contents {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        let first = self.places.partition_point(|(head, _)| *head < id.head());
        let places = self.places[first..].iter().take_while(|(head, _)| *head == id.head());
        let mut failure = None;
        // Equal contents have several places, and some of these files may have changed.
        for (_, offset) in places {
            let Some(place) = self.place(*offset, id)? else { continue };
            match self.read(&place, out) {
                Ok(()) if digest::plain(out) == *id => return Ok(()),
                Ok(()) => failure.get_or_insert_with(|| changed(&place.path)),
                Err(error) => failure.get_or_insert(error),
            };
        }
        Err(failure.unwrap_or_else(|| {
            Error::corrupt(format!("no file of the directory holds chunk {id}"))
        }))
    }
}
