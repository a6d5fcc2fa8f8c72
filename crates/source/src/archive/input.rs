//! Reads the uncompressed bytes of an archive, and of one file in it.

use flate2::bufread::GzDecoder;
use freestone_core::item::{FileStamp, OpenFile};
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Result, lock};
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex};

/// The unit of a tar archive.
pub(super) const BLOCK: usize = 512;
pub(super) const DISAGREEMENT: &str =
    "tar readers disagree about where the next member of such an archive begins; write it again";
/// The bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// The first bytes of a gzip member.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The uncompressed bytes of an archive.
pub(super) struct Input {
    pub(super) name: String,
    bytes: Box<dyn Read + Send>,
    /// The command that prints these bytes.
    shown_by: &'static str,
    /// The number of bytes read.
    pub(super) at: u64,
}

/// The input, shared by the reader of headers and the reader of a file's bytes.
pub(super) type Shared = Arc<Mutex<Input>>;

impl Input {
    /// Opens an archive, and decompresses it if its first bytes are those of gzip or zstd.
    pub(super) fn open(name: &str, mut input: Box<dyn Read + Send>) -> Result<Self> {
        let mut start = [0; 6];
        let length = fill(&mut input, &mut start).map_err(|error| unreadable(name, error))?;
        let start = &start[..length];
        let all = io::Cursor::new(start.to_vec()).chain(input);
        let all = io::BufReader::with_capacity(BUFFER_BYTES, all);
        let mut shown_by = "cat";
        let bytes: Box<dyn Read + Send> = if start.starts_with(&GZIP) {
            shown_by = "gzip -dc";
            Box::new(Gzip { member: Some(GzDecoder::new(all)), is_padded: false })
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            shown_by = "zstd -dc";
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
                            format!("decompress it first: `{kind} -dc FILE | freestone push -`")
                        }
                    },
                ));
            }
            Box::new(all)
        };
        let bytes = Box::new(io::BufReader::with_capacity(BUFFER_BYTES, bytes));
        Ok(Self { name: name.to_owned(), bytes, shown_by, at: 0 })
    }

    /// Fills `out`, or as much of it as there are bytes left. Returns the number of bytes read.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let length = fill(&mut self.bytes, out).map_err(|error| unreadable(&self.name, error))?;
        self.at += length as u64;
        Ok(length)
    }

    /// Returns the error of an archive that ends inside a member.
    pub(super) fn ends_early(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("{} ends in the middle of a member, at byte {}", self.name, self.at),
        )
        .hint("it was cut off, or the program that wrote it failed")
    }

    /// Returns the error of an archive that ends after a member, without the block of zeros that
    /// marks the end.
    pub(super) fn has_no_end(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("{} ends without an end mark, at byte {}", self.name, self.at),
        )
        .hint(format!(
            "it was cut off, or the program that wrote it failed; if that program never writes end \
            marks, add them: `({} FILE; head -c 1024 /dev/zero) | freestone push -`",
            self.shown_by
        ))
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

/// The bytes of all gzip members, one after the other. Zeros may follow the last, as on tapes.
struct Gzip<R> {
    /// Never `None` between calls: it is an option so that the next member can take over the input.
    member: Option<GzDecoder<R>>,
    /// Whether zeros were found after a member.
    is_padded: bool,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = self.member.as_mut().filter(|_| !out.is_empty()) {
            let length = member.read(out)?;
            if length > 0 {
                return Ok(length);
            }
            // The member is complete, and its checksum was right.
            let left = member.get_mut();
            let next = left.fill_buf()?;
            let zeros = next.iter().take_while(|byte| **byte == 0).count();
            match next.first() {
                None => break,
                Some(0) => {
                    self.is_padded = true;
                    left.consume(zeros);
                }
                Some(first) if *first == GZIP[0] && !self.is_padded => {
                    self.member = self.member.take().map(|it| GzDecoder::new(it.into_inner()));
                }
                Some(_) => {
                    let what = "the bytes after its last gzip member are not a gzip member";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        Ok(0)
    }
}

/// A reader of one file of an archive.
pub(super) struct MemberFile {
    input: Shared,
    size: u64,
    /// The bytes that are left in the archive.
    left: u64,
    /// Bytes that were read already, to look at them.
    start: io::Cursor<Vec<u8>>,
}

impl MemberFile {
    pub(super) fn new(input: &Shared, size: u64) -> Self {
        Self { input: input.clone(), size, left: size, start: io::Cursor::default() }
    }

    /// Returns the first `length` bytes, or all if there are fewer. They are read later as well.
    pub(super) fn peek(&mut self, length: usize) -> Result<&[u8]> {
        let mut start = vec![0; to_usize(self.left).min(length)];
        let mut input = lock(&self.input);
        if input.read(&mut start)? < start.len() {
            return Err(input.ends_early());
        }
        drop(input);
        self.left -= start.len() as u64;
        self.start = io::Cursor::new(start);
        Ok(self.start.get_ref())
    }
}

impl Read for MemberFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let looked_at = self.start.read(out)?;
        let out = &mut out[looked_at..];
        let length = to_usize(self.left).min(out.len());
        let mut input = lock(&self.input);
        let read = input.read(&mut out[..length]).map_err(io::Error::other)?;
        if read < length {
            return Err(io::Error::other(input.ends_early()));
        }
        self.left -= read as u64;
        Ok(looked_at + read)
    }
}

impl OpenFile for MemberFile {
    fn stamp(&self) -> Result<FileStamp> {
        Ok(FileStamp { device: 0, inode: 0, size: self.size, mtime_ns: 0, ctime_ns: 0 })
    }

    fn seek(&mut self, _: u64) -> Result<()> {
        Err(Error::new(ErrorKind::Failed, "an archive is a stream, which cannot seek"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut input = Input::open("x.gz", Box::new(io::Cursor::new(bytes.to_vec())))?;
        let mut out = vec![0; 2 << 20];
        let length = input.read(&mut out)?;
        assert_eq!(input.read(&mut [0; 1])?, 0);
        out.truncate(length);
        Ok(out)
    }

    #[test]
    fn zeros_behind_gzip_members_are_the_end() {
        let large: Vec<u8> =
            (0..1_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect();
        let two = [gzip(b"one, "), gzip(&large)].concat();
        let both = [b"one, ", &large[..]].concat();
        for zeros in [0, 1, 2, 10, 512, BUFFER_BYTES + 1, 3 * BUFFER_BYTES] {
            let padded = [&two[..], &vec![0; zeros]].concat();
            assert_eq!(read(&padded).unwrap(), both, "{zeros}");
        }
        assert_eq!(read(&gzip(b"")).unwrap(), b"");
    }

    #[test]
    fn whatever_else_is_behind_or_wrong_in_gzip_members_is_an_error() {
        let member = gzip(b"whole");
        for behind in [&b"x"[..], b"\0x", &[&[0; 512][..], &member].concat(), &[0x1f], &member[..9]]
        {
            assert!(read(&[&member, behind].concat()).is_err(), "{behind:?}");
        }
        // A wrong checksum, a wrong length, and a missing end.
        for at in [8, 4] {
            let mut broken = [&member[..], &[0; 512]].concat();
            broken[member.len() - at] ^= 1;
            assert!(read(&broken).is_err(), "{at}");
        }
        for cut in 2..member.len() {
            assert!(read(&member[..cut]).is_err(), "{cut}");
        }
    }
}
