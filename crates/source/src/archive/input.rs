//! The bytes of an archive, uncompressed, and of one file in it.

use freestone_core::item::{OpenFile, Stamp};
use freestone_core::{Error, ErrorKind, Result};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The bytes of an archive.
pub(super) struct Input {
    pub(super) name: String,
    bytes: Box<dyn Read + Send>,
    /// How many were read.
    pub(super) at: u64,
}

/// What is shared between who reads headers and who reads a file's bytes.
pub(super) type Shared = Arc<Mutex<Input>>;

impl Input {
    /// Looks at the first bytes, and undoes what they say.
    pub(super) fn open(name: &str, mut input: Box<dyn Read + Send>) -> Result<Self> {
        let mut start = [0; 6];
        let length = fill(&mut input, &mut start).map_err(|error| unreadable(name, error))?;
        let start = &start[..length];
        let all = io::Cursor::new(start.to_vec()).chain(input);
        let all = io::BufReader::with_capacity(BUFFER_BYTES, all);
        let bytes: Box<dyn Read + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::bufread::MultiGzDecoder::new(all))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::read::Decoder::with_buffer(all);
            Box::new(decoder.map_err(|error| unreadable(name, error))?)
        } else {
            let known: [(&str, &[u8]); 4] = [
                ("xz", &[0xfd, b'7', b'z', b'X', b'Z']),
                ("bzip2", b"BZh"),
                ("lzip", b"LZIP"),
                ("zip", b"PK\x03\x04"),
            ];
            if let Some((kind, _)) = known.iter().find(|(_, magic)| start.starts_with(magic)) {
                return Err(Error::refused(format!("{name} is compressed by {kind}")).hint(
                    match *kind {
                        "zip" => "unpack it, and push the directory".to_owned(),
                        kind => {
                            format!("undo that first, as in `{kind} -dc FILE | freestone push -`")
                        }
                    },
                ));
            }
            Box::new(all)
        };
        let bytes = Box::new(io::BufReader::with_capacity(BUFFER_BYTES, bytes));
        Ok(Self { name: name.to_owned(), bytes, at: 0 })
    }

    /// Fills `out` as far as there is something; gives how far.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let length = fill(&mut self.bytes, out).map_err(|error| unreadable(&self.name, error))?;
        self.at += length as u64;
        Ok(length)
    }

    /// That the archive ends where something was to come.
    pub(super) fn ends_early(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("{} ends in the middle of a member, at byte {}", self.name, self.at),
        )
        .hint("it was cut off, or who wrote it failed")
    }
}

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::io(format!("{name} cannot be read"), error)
}

fn fill(from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < out.len() {
        match from.read(&mut out[at..]) {
            Ok(0) => break,
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// The bytes of one file of an archive.
pub(super) struct MemberFile {
    input: Shared,
    size: u64,
    left: u64,
}

impl MemberFile {
    pub(super) fn new(input: &Shared, size: u64) -> Self {
        Self { input: input.clone(), size, left: size }
    }
}

impl Read for MemberFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let read = input.read(&mut out[..length]).map_err(io::Error::other)?;
        if read < length {
            return Err(io::Error::other(input.ends_early()));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl OpenFile for MemberFile {
    fn stamp(&self) -> Result<Stamp> {
        Ok(Stamp { device: 0, inode: 0, size: self.size, mtime_ns: 0, ctime_ns: 0 })
    }

    fn seek(&mut self, _: u64) -> Result<()> {
        Err(Error::new(ErrorKind::Failed, "a stream is read once"))
    }
}
