//! Replies that wait to be sent, collected so that many small ones take one system call.
//!
//! ```text
//! buffer   head data head data …     copied: heads, and data that is short
//! parts         ▲         ▲          between them: proven raw runs, which the system sends from
//!            a file     a chunk      their file, and decoded chunks, which are sent from the cache
//! ```

use super::wire::{CHUNK_BYTES, SIMPLE_BYTES, chunk, errno, failure, simple, structured};
use crate::activity::Activity;
use crate::image::Taker;
use crate::service::{PinnedChunk, Service};
use crate::socket::{send_all, send_parts};
use freestone_core::Error;
use freestone_store::RunPart;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

/// The bytes of an image that one reply, or one chunk of a structured reply, holds in memory.
pub const PIECE_BYTES: usize = 128 << 10;
/// The bytes before the data of a structured reply's chunk: its head, and an offset.
const DATA_BYTES: usize = CHUNK_BYTES + 8;
/// The buffer for replies: a piece, and room for small replies beside it.
const BUFFER_BYTES: usize = PIECE_BYTES + (32 << 10);
const _: () = assert!(SIMPLE_BYTES <= DATA_BYTES);
/// The bytes of replies that are sent at once instead of waiting for more, so that the client has
/// something to do.
const SEND_BYTES: usize = 64 << 10;
/// The shortest part of a file that is sent by the system; copying a shorter one takes less time.
const FILE_BYTES_MIN: usize = 16 << 10;
/// The shortest part of a decoded chunk that is sent from the cache; copying a shorter one takes
/// less time.
const HELD_BYTES_MIN: usize = 8 << 10;
/// The bytes that are read at once from a file that the system cannot send.
const COPY_BYTES: usize = 64 << 10;

/// A part of a reply that is sent between bytes of the buffer.
enum QueuedPart {
    /// A part of a file.
    File(RunPart),
    /// A part of a decoded chunk.
    Held(PinnedChunk, Range<usize>),
    /// The end of a reply's chunk that has parts of files. If one could not be read, an error is
    /// sent here.
    End {
        /// The cookie of the request.
        cookie: u64,
        /// Where in the image the chunk's data starts.
        offset: u64,
    },
}

/// A position in the collected replies.
#[derive(Clone, Copy)]
pub struct OutputMark {
    used: usize,
    parts: usize,
    queued: usize,
}

/// The replies of a connection that are collected and not yet sent.
pub struct ReplyOutput {
    socket: Arc<OwnedFd>,
    service: Arc<Service>,
    activity: Arc<Activity>,
    buffer: Box<[u8]>,
    /// The number of bytes of `buffer` that are used.
    used: usize,
    /// In order, each with the offset in the buffer that it is sent before.
    parts: Vec<(usize, QueuedPart)>,
    /// The number of bytes in the buffer and in the parts.
    queued: usize,
    /// The errors of files that could not be read when they were sent, each with its offset in the
    /// image.
    pub faults: Vec<(u64, Error)>,
}

impl ReplyOutput {
    /// Creates an empty output to `socket`.
    pub fn new(socket: Arc<OwnedFd>, service: Arc<Service>, activity: Arc<Activity>) -> Self {
        Self {
            socket,
            service,
            activity,
            // The system provides its pages only when they are written.
            buffer: vec![0; BUFFER_BYTES].into(),
            used: 0,
            parts: Vec::new(),
            queued: 0,
            faults: Vec::new(),
        }
    }

    /// Sends everything that was collected.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.used == 0 && self.parts.is_empty() {
            return Ok(());
        }
        self.activity.waits();
        self.send()?;
        self.activity.works();
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let used = std::mem::take(&mut self.used);
        self.queued = 0;
        let mut fault = None;
        let mut sent = 0;
        // Adjacent parts in memory are sent by one system call.
        let mut slices = Vec::new();
        let parts = std::mem::take(&mut self.parts);
        for (at, part) in &parts {
            slices.push(IoSlice::new(&self.buffer[sent..*at]));
            sent = *at;
            if let QueuedPart::Held(chunk, range) = part {
                slices.push(IoSlice::new(&chunk.bytes()[range.clone()]));
                continue;
            }
            send_parts(&self.socket, &mut slices)?;
            slices.clear();
            match part {
                QueuedPart::File(part) => {
                    if let Err(error) = send_file(&self.socket, part)? {
                        fault.get_or_insert(error);
                    }
                }
                QueuedPart::End { cookie, offset } => {
                    if let Some(error) = fault.take() {
                        send_all(&self.socket, &failure(*cookie, false, errno::IO))?;
                        self.faults.push((*offset, error));
                    }
                }
                QueuedPart::Held(..) => {}
            }
        }
        slices.push(IoSlice::new(&self.buffer[sent..used]));
        send_parts(&self.socket, &mut slices)
    }

    /// Sends everything that was collected if it is at least [`SEND_BYTES`].
    ///
    /// # Errors
    /// The connection is lost.
    pub fn flush_much(&mut self) -> io::Result<()> {
        if self.queued < SEND_BYTES { Ok(()) } else { self.flush() }
    }

    /// Sends everything if the buffer has no room for `length` bytes.
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if self.buffer.len() - self.used < length { self.flush() } else { Ok(()) }
    }

    /// Appends `bytes`, for which there is room.
    fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `length` bytes, for which there is room, and returns them to be filled.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.used;
        self.used += length;
        self.queued += length;
        &mut self.buffer[start..self.used]
    }

    /// Returns the current end.
    fn mark(&self) -> OutputMark {
        OutputMark { used: self.used, parts: self.parts.len(), queued: self.queued }
    }

    /// Begins a structured reply's chunk, or a simple reply, with room for its head and `length`
    /// bytes of data, at most a piece. The caller appends the data and then passes the returned
    /// mark to [`Self::end_structured`], [`Self::end_simple`] or [`Self::forget`].
    ///
    /// # Errors
    /// The connection is lost.
    pub fn begin(&mut self, is_structured: bool, length: usize) -> io::Result<OutputMark> {
        let head = if is_structured { DATA_BYTES } else { SIMPLE_BYTES };
        self.make_room(head + length + CHUNK_BYTES)?;
        let mark = self.mark();
        self.room(head);
        Ok(mark)
    }

    /// Returns a taker that appends data. With `with_files` it also takes parts of files. Reading
    /// these may fail after data was sent; then an error chunk is sent after the data.
    pub fn taker(&mut self, with_files: bool) -> impl Taker {
        DataTaker { out: self, with_files }
    }

    /// Removes everything that was appended after `mark`.
    pub fn forget(&mut self, mark: OutputMark) {
        self.used = mark.used;
        self.queued = mark.queued;
        self.parts.truncate(mark.parts);
    }

    /// Writes the head of a simple reply that began at `mark`.
    pub fn end_simple(&mut self, mark: OutputMark, cookie: u64) {
        self.buffer[mark.used..mark.used + SIMPLE_BYTES].copy_from_slice(&simple(cookie, 0));
    }

    /// Writes the head of a structured reply's chunk that began at `mark`, with the image's bytes
    /// from `offset` on.
    pub fn end_structured(&mut self, mark: OutputMark, cookie: u64, is_last: bool, offset: u64) {
        let has_files =
            self.parts[mark.parts..].iter().any(|(_, part)| matches!(part, QueuedPart::File(_)));
        let length = self.queued - mark.queued - CHUNK_BYTES;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        // A chunk that an error may follow must not be the last.
        let flags = u16::from(is_last && !has_files);
        let head = structured(cookie, flags, chunk::OFFSET_DATA, length);
        let (first, rest) = self.buffer[mark.used..].split_at_mut(CHUNK_BYTES);
        first.copy_from_slice(&head);
        rest[..8].copy_from_slice(&offset.to_be_bytes());
        if has_files {
            self.parts.push((self.used, QueuedPart::End { cookie, offset }));
            if is_last {
                self.push(&structured(cookie, chunk::DONE, chunk::NONE, 0));
            }
        }
    }

    /// Returns room for `length` more bytes of a simple reply's data. [`Self::used_room`] appends
    /// it.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn bare_room(&mut self, length: usize) -> io::Result<&mut [u8]> {
        self.make_room(length)?;
        Ok(&mut self.buffer[self.used..self.used + length])
    }

    /// Appends the `length` bytes that [`Self::bare_room`] returned.
    pub fn used_room(&mut self, length: usize) {
        self.room(length);
    }

    /// Appends a structured reply's chunk that says that `length` bytes are zeros.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn hole(&mut self, cookie: u64, is_last: bool, offset: u64, length: u32) -> io::Result<()> {
        self.make_room(DATA_BYTES + 4)?;
        self.push(&structured(cookie, u16::from(is_last), chunk::OFFSET_HOLE, 12));
        self.push(&offset.to_be_bytes());
        self.push(&length.to_be_bytes());
        Ok(())
    }

    /// Appends any number of bytes.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PIECE_BYTES) {
            self.make_room(part.len())?;
            self.push(part);
        }
        Ok(())
    }
}

/// A taker that appends to an output.
struct DataTaker<'a> {
    out: &'a mut ReplyOutput,
    with_files: bool,
}

impl Taker for DataTaker<'_> {
    fn room(&mut self, length: usize) -> &mut [u8] {
        self.out.room(length)
    }

    fn takes_files(&self, length: usize) -> bool {
        self.with_files && length >= FILE_BYTES_MIN
    }

    fn file(&mut self, part: RunPart) {
        self.out.queued += part.length();
        self.out.parts.push((self.out.used, QueuedPart::File(part)));
    }

    fn takes_held(&self, length: usize) -> bool {
        length >= HELD_BYTES_MIN
    }

    fn held(&mut self, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        let Some(pinned) = self.out.service.pin(bytes) else {
            return self.room(range.len()).copy_from_slice(&bytes[range]);
        };
        self.out.queued += range.len();
        self.out.parts.push((self.out.used, QueuedPart::Held(pinned, range)));
    }
}

/// Sends a part of a file by the system, or by reading it where the system cannot. Bytes that
/// cannot be read are sent as zeros, and the inner result is the error.
///
/// A lost connection raises `SIGPIPE` here, which Rust's programs ignore.
fn send_file(socket: &OwnedFd, part: &RunPart) -> io::Result<Result<(), Error>> {
    let (mut offset, mut done) = (part.offset(), 0);
    if let Some(file) = part.file() {
        while done < part.length() {
            match rustix::fs::sendfile(socket, file, Some(&mut offset), part.length() - done) {
                // The file was truncated.
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                // An error of the file, the system or the socket: the code below finds out which.
                Err(_) => break,
            }
        }
    }
    let mut outcome = Ok(());
    let mut copy = Vec::new();
    while done < part.length() {
        copy.resize((part.length() - done).min(COPY_BYTES), 0);
        if outcome.is_ok() {
            outcome = part.read_at(done, &mut copy);
        }
        if outcome.is_err() {
            copy.fill(0);
        }
        send_all(socket, &copy)?;
        done += copy.len();
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nbd::wire::FieldReader;
    use freestone_backend::Object;
    use freestone_core::Result;
    use freestone_core::wire::Bytes;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    struct Cut(File);

    impl Object for Cut {
        fn length(&self) -> u64 {
            self.0.metadata().unwrap().len()
        }

        fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
            let read = self.0.read_exact_at(out, offset);
            read.map_err(|error| Error::io("cut", error))
        }

        fn map(&self) -> Result<Bytes> {
            Ok(Arc::new(Vec::new()))
        }

        fn file(&self) -> Option<&File> {
            Some(&self.0)
        }
    }

    fn output() -> (ReplyOutput, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)
                .unwrap();
        let service = Arc::new(Service::new(0, false, Box::new(|_| {})));
        (ReplyOutput::new(Arc::new(ours), service, Arc::default()), theirs)
    }

    /// Receives everything until the other side closes the connection.
    fn receive_all(socket: &OwnedFd) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), [0; 4096]);
        loop {
            match crate::socket::receive(socket, &mut part).unwrap() {
                0 => return all,
                count => all.extend(&part[..count]),
            }
        }
    }

    /// Sends 60,000 and then 20,000 bytes of a file of 50,000.
    #[test]
    fn a_file_that_is_truncated_while_it_is_sent_is_an_error_after_its_data() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 50_000], 0).unwrap();
        let object = Arc::new(Cut(file));
        let (mut out, theirs) = output();
        for (cookie, length) in [(1, 60_000), (2, 20_000)] {
            let mark = out.begin(true, length).unwrap();
            let mut taker = out.taker(true);
            assert!(taker.takes_files(length));
            taker.file(RunPart::new(object.clone(), 0, length));
            drop(taker);
            out.end_structured(mark, cookie, true, 4096);
        }
        out.flush().unwrap();
        assert_eq!(out.faults.len(), 1);
        assert_eq!(out.faults[0].0, 4096);
        drop(out);
        let got = receive_all(&theirs);
        let mut fields = FieldReader(&got);
        let mut seen = Vec::new();
        while let Some(magic) = fields.u32() {
            assert_eq!(magic, super::super::wire::STRUCTURED_REPLY);
            let head = (fields.u16().unwrap(), fields.u16().unwrap(), fields.u64().unwrap());
            let length = fields.0[..4].to_vec();
            let payload = fields.string().unwrap();
            assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, payload.len());
            if head.1 == chunk::OFFSET_DATA {
                let whole = if head.2 == 1 { 60_000 } else { 20_000 };
                assert_eq!(payload.len(), 8 + whole);
                assert!(payload[8..].iter().take(50_000).all(|byte| *byte == 7));
                assert!(payload[8..].iter().skip(50_000).all(|byte| *byte == 0));
            }
            seen.push(head);
        }
        let done = chunk::DONE;
        let expected = [
            (0, chunk::OFFSET_DATA, 1),
            (0, chunk::ERROR, 1),
            (done, chunk::NONE, 1),
            (0, chunk::OFFSET_DATA, 2),
            (done, chunk::NONE, 2),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn forgotten_data_is_not_sent_and_held_chunks_are_sent_in_order() {
        let (mut out, theirs) = output();
        let bytes: Arc<Vec<u8>> = Arc::new((0..100_000u32).map(|at| (at % 251) as u8).collect());
        let forgotten = out.begin(false, 20_000).unwrap();
        out.taker(false).held(&bytes, 0..20_000);
        out.forget(forgotten);
        let mark = out.begin(false, 30_003).unwrap();
        let mut taker = out.taker(false);
        assert!(!taker.takes_files(1 << 20));
        taker.room(3).copy_from_slice(b"abc");
        taker.held(&bytes, 10_000..40_000);
        drop(taker);
        out.end_simple(mark, 5);
        out.bytes(b"end").unwrap();
        out.flush().unwrap();
        drop(out);
        assert_eq!(Arc::strong_count(&bytes), 1);
        let expected = [&simple(5, 0)[..], b"abc", &bytes[10_000..40_000], b"end"].concat();
        assert!(receive_all(&theirs) == expected);
    }
}
