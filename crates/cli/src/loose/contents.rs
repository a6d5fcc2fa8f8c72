//! Where the chunks of a directory's files are, and reading them again.

use super::record::{LENGTH_BYTES, Record, TIME_OFFSET};
use freestone_core::digest;
use freestone_core::item::FileOpener;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::{ChunkSource, Error, ErrorKind, Id, Result, path};
use freestone_manifest::{Entry, EntryKind};
use freestone_source::directory::Opener;
use freestone_store::spool::{Spool, Spooled};
use std::io;

/// How much is read at once of records that are read in order.
const READ_BYTES: usize = 256 << 10;

/// A record is read with one call if it is no longer.
const RECORD_BYTES: usize = 256;

/// Takes entries and places.
pub struct ContentsSpool {
    spool: Spool,
    /// The head of a chunk's id, and where a record is that leads to it.
    places: Vec<(u64, u64)>,
}

impl ContentsSpool {
    /// An empty one.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { spool: Spool::new()?, places: Vec::new() })
    }

    /// Adds the next entry; gives its record's place. A file of one chunk leads to that.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<u64> {
        let offset = self.spool.append(&Record::Entry(entry.clone()).encode())?;
        if let EntryKind::File { size, content, .. } = entry.kind
            && (1..=CONTENT_WHOLE_BYTES_MAX).contains(&size)
        {
            self.places.push((content.head(), offset));
        }
        Ok(offset)
    }

    /// Gives the entry whose record is at `offset` another time.
    pub(super) fn set_time(&mut self, offset: u64, mtime: i64) -> Result<()> {
        self.spool.patch(offset + TIME_OFFSET, &mtime.to_le_bytes())
    }

    /// Adds a file of several chunks; gives its record's place.
    pub(super) fn file(&mut self, size: u64, path: &[u8]) -> Result<u64> {
        self.spool.append(&Record::File { size, path: path.to_vec() }.encode())
    }

    /// Adds a chunk of the file whose record is at `file`.
    pub(super) fn chunk(&mut self, id: Id, file: u64, offset: u64, length: u64) -> Result<()> {
        let record = Record::Chunk { id, file, offset, length };
        let place = self.spool.append(&record.encode())?;
        self.places.push((id.head(), place));
        Ok(())
    }

    /// Ends writing; chunks are then read through `opener`.
    pub(super) fn finish(mut self, opener: Opener) -> Result<Contents> {
        self.places.sort_unstable();
        self.places.shrink_to_fit();
        Ok(Contents { spooled: self.spool.finish()?, places: self.places, opener })
    }
}

/// The chunks of a directory, read from its files when they are asked for, and proven.
pub struct Contents {
    spooled: Spooled,
    places: Vec<(u64, u64)>,
    opener: Opener,
}

/// Where a chunk is.
struct Place {
    path: Vec<u8>,
    /// The length of the file.
    size: u64,
    offset: u64,
}

fn length_of(prefix: &[u8]) -> usize {
    let mut length = [0; LENGTH_BYTES];
    length.copy_from_slice(&prefix[..LENGTH_BYTES]);
    usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX)
}

impl Contents {
    /// Gives `each` all entries in order.
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
            let left = usize::try_from(self.spooled.length() - offset).unwrap_or(usize::MAX);
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
        let left = usize::try_from(self.spooled.length() - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(RECORD_BYTES)];
        self.spooled.read(offset, &mut bytes)?;
        let length = LENGTH_BYTES + length_of(&bytes).min(left);
        if length > bytes.len() {
            bytes.resize(length, 0);
            self.spooled.read(offset, &mut bytes)?;
        }
        Record::decode(&bytes[LENGTH_BYTES..length])
    }

    /// The place that the record at `offset` leads to, if it is one of chunk `id`.
    fn place(&self, offset: u64, id: &Id) -> Result<Option<Place>> {
        match self.record(offset)? {
            Record::Entry(Entry { path, kind: EntryKind::File { content, size, .. }, .. })
                if content == *id =>
            {
                Ok(Some(Place { path, size, offset: 0 }))
            }
            Record::Chunk { id: chunk, file, offset, .. } if chunk == *id => {
                match self.record(file)? {
                    Record::File { size, path } => Ok(Some(Place { path, size, offset })),
                    _ => Err(Error::corrupt("a temporary record is damaged")),
                }
            }
            _ => Ok(None),
        }
    }

    /// Reads what is at `place`.
    fn read(&self, place: &Place, out: &mut [u8]) -> Result<()> {
        let mut file = self.opener.open(&place.path)?;
        if file.stamp()?.size != place.size {
            return Err(changed(&place.path));
        }
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
    Error::new(ErrorKind::Failed, format!("file {path} changed while the image was made"))
        .hint("repeat this when nothing writes to the directory, or push it to a store first")
}

impl ChunkSource for Contents {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        let first = self.places.partition_point(|(head, _)| *head < id.head());
        let places = self.places[first..].iter().take_while(|(head, _)| *head == id.head());
        let mut failure = None;
        // Equal contents have several places, and one of them may have changed.
        for (_, offset) in places {
            let Some(place) = self.place(*offset, id)? else { continue };
            match self.read(&place, out) {
                Ok(()) if digest::plain(out) == *id => return Ok(()),
                Ok(()) => failure.get_or_insert_with(|| changed(&place.path)),
                Err(error) => failure.get_or_insert(error),
            };
        }
        Err(failure.unwrap_or_else(|| Error::corrupt(format!("chunk {id} is in no file"))))
    }
}
