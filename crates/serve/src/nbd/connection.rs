//! A connection after its negotiation: receives requests and sends replies.

use super::handshake::Negotiated;
use super::output::{OutputMark, PIECE_BYTES, ReplyOutput};
use super::wire::{
    ALLOCATION_ID, CHUNK_BYTES, HOLE_AND_ZERO, READ_BYTES_MAX, REQUEST_BYTES, Request, broken,
    chunk, command, errno, failure, simple, structured,
};
use crate::activity::Activity;
use crate::catalogue::Export;
use crate::image::{ServedImage, Taker};
use crate::socket::receive;
use crate::workers::{Workers, WorkersClient};
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result, lock};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The number of requests of one connection that may wait for the workers; at this number no
/// further requests are read. It is more than any client has in flight.
const PENDING_MAX: usize = 128;
/// The buffer for requests that were received and not yet parsed.
const INPUT_BYTES: usize = 16 << 10;
/// How often a worker loads the next piece of a read that is then evicted before it is sent. After
/// that the worker returns the bytes of the piece themselves.
const PREPARATIONS_MAX: u8 = 2;
/// The bytes that one job of a worker loads: clients take turns between jobs.
const LOAD_BYTES_MAX: u64 = 1 << 20;
/// The number of runs in one reply about holes.
const RUNS_MAX: usize = 1024;

/// A request that waits for a worker.
struct PendingRequest {
    cookie: u64,
    begun: Instant,
}

/// A read that is being answered.
struct PendingRead {
    cookie: u64,
    offset: u64,
    length: u64,
    /// The number of bytes that are answered.
    done: u64,
    begun: Instant,
    /// How often a worker loaded the next piece.
    preparations: u8,
}

impl PendingRead {
    /// Returns the range of the next piece.
    fn piece(&self) -> Range<u64> {
        let start = self.offset + self.done;
        start..(start + PIECE_BYTES as u64).min(self.offset + self.length)
    }
}

/// A request for which more is loaded than one job of a worker may take.
enum LongLoad {
    /// A read whose one simple reply is longer than a piece.
    Whole(PendingRead),
    /// The client will read the range soon.
    Cached(PendingRequest),
}

/// A result of a worker, with the request that it is for.
enum Finished {
    /// The next piece of a read is loaded.
    Piece(PendingRead, Result<()>),
    /// The bytes of the next piece of a read.
    Delivered(PendingRead, Result<Vec<u8>>),
    /// The start of a long range is loaded; the second range is what is left.
    Loaded(LongLoad, Range<u64>, Result<()>),
    /// The holes of a range: lengths, each with whether it is one.
    Holes(PendingRequest, Result<Vec<(u64, bool)>>),
}

/// A queue of the workers' results for a connection.
struct Inbox {
    finished: Mutex<VecDeque<Finished>>,
    /// Readable while there may be something.
    event: OwnedFd,
}

impl Inbox {
    fn put(&self, finished: Finished) {
        lock(&self.finished).push_back(finished);
        // A write fails only if the counter is full, and then the event is readable already.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

/// A connection in the transmission phase.
pub struct Connection<'a> {
    socket: Arc<OwnedFd>,
    export: Export,
    is_structured: bool,
    has_allocation: bool,
    workers: WorkersClient,
    /// Set when the server ends: requests received before are answered, and no others.
    is_ending: &'a AtomicBool,
    activity: &'a Arc<Activity>,
    input: Box<[u8]>,
    /// The part of `input` that was received and not yet parsed.
    waiting: Range<usize>,
    out: ReplyOutput,
    inbox: Arc<Inbox>,
    /// The number of requests that wait for a worker.
    pending: usize,
    /// Whether a worker returns the bytes of a piece: one at a time, since that takes memory.
    is_delivering: bool,
    /// Whether no further requests are read.
    is_over: bool,
}

impl<'a> Connection<'a> {
    /// Takes over `socket` after the negotiation.
    ///
    /// # Errors
    /// The system cannot create an event.
    pub fn new(
        socket: Arc<OwnedFd>,
        negotiated: Negotiated,
        workers: &Workers,
        is_ending: &'a AtomicBool,
        activity: &'a Arc<Activity>,
    ) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let Negotiated { export, is_structured, has_allocation } = negotiated;
        Ok(Self {
            out: ReplyOutput::new(socket.clone(), export.image.service().clone(), activity.clone()),
            socket,
            export,
            is_structured,
            has_allocation,
            workers: workers.client(),
            is_ending,
            activity,
            input: vec![0; INPUT_BYTES].into(),
            waiting: 0..0,
            inbox: Arc::new(Inbox { finished: Mutex::default(), event }),
            pending: 0,
            is_delivering: false,
            is_over: false,
        })
    }

    /// Answers requests until the client disconnects or the server ends.
    ///
    /// # Errors
    /// The connection is lost, or the client breaks the protocol.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            while let Some(finished) = self.next_finished() {
                self.pending -= 1;
                self.resume(finished)?;
            }
            while self.pending < PENDING_MAX && !self.is_over {
                let Some(request) = self.next_request()? else { break };
                self.answer(request)?;
            }
            self.out.flush()?;
            for (offset, error) in self.out.faults.drain(..) {
                let service = self.export.image.service();
                service.failed(&self.export.name, offset, &error);
                service.metrics.nbd.failures.add(1);
            }
            if self.is_over && self.pending == 0 {
                return Ok(());
            }
            self.wait()?;
        }
    }

    /// Returns the next result of a worker, if there is one.
    fn next_finished(&self) -> Option<Finished> {
        if self.pending == 0 { None } else { lock(&self.inbox.finished).pop_front() }
    }

    /// Returns the next request that was received completely, if there is one.
    fn next_request(&mut self) -> io::Result<Option<Request>> {
        let bytes = self.input[self.waiting.clone()].first_chunk::<REQUEST_BYTES>();
        let Some(bytes) = bytes else { return Ok(None) };
        let request = Request::parse(bytes);
        self.waiting.start += REQUEST_BYTES;
        request.map(Some).ok_or_else(|| broken("a request does not begin with its magic number"))
    }

    /// Waits for the client or for a worker, and receives what the client sent.
    fn wait(&mut self) -> io::Result<()> {
        let may_receive = self.pending < PENDING_MAX && !self.is_over;
        if self.pending > 0 {
            let mut fds = [
                PollFd::new(&self.inbox.event, PollFlags::IN),
                PollFd::new(&*self.socket, PollFlags::IN),
            ];
            let count = if may_receive { 2 } else { 1 };
            match poll(&mut fds[..count], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            let receives = may_receive && is_ready(&fds[1]);
            if is_ready(&fds[0]) {
                let _ = rustix::io::read(&self.inbox.event, &mut [0; 8]);
            }
            if !receives {
                return Ok(());
            }
        }
        self.receive()
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.waiting = 0..0;
        } else if self.waiting.start > 0 {
            self.input.copy_within(self.waiting.clone(), 0);
            self.waiting = 0..self.waiting.len();
        }
        if self.pending == 0 {
            self.activity.waits();
        }
        let received = receive(&self.socket, &mut self.input[self.waiting.end..])?;
        if self.waiting.len() + received >= REQUEST_BYTES {
            self.activity.works();
        }
        match received {
            0 if self.is_ending.load(Ordering::Relaxed) => self.is_over = true,
            0 if self.waiting.is_empty() => self.is_over = true,
            0 => return Err(broken("the connection ends within a request")),
            count => self.waiting.end += count,
        }
        Ok(())
    }

    /// Skips the data of a write.
    fn skip_data(&mut self, length: u32) -> io::Result<()> {
        let mut left = length as usize;
        loop {
            let skipped = left.min(self.waiting.len());
            self.waiting.start += skipped;
            left -= skipped;
            if left == 0 {
                return Ok(());
            }
            self.receive()?;
            if self.is_over {
                return Err(broken("the connection ends within a request"));
            }
        }
    }

    /// Answers `request`, or queues the work for its reply.
    fn answer(&mut self, request: Request) -> io::Result<()> {
        let Request { flags, command, cookie, offset, length } = request;
        let begun = Instant::now();
        let ends_inside =
            offset.checked_add(length.into()).is_some_and(|end| end <= self.export.image.length());
        let range = offset..offset.saturating_add(length.into());
        match command {
            command::DISCONNECT => self.is_over = true,
            command::READ => {
                if !ends_inside || length > READ_BYTES_MAX {
                    return self.fail(cookie, errno::INVAL, begun);
                }
                if flags & command::DF != 0 && length as usize > PIECE_BYTES {
                    return self.fail(cookie, errno::OVERFLOW, begun);
                }
                let length = length.into();
                let read = PendingRead { cookie, offset, length, done: 0, begun, preparations: 0 };
                if !self.is_structured && length > PIECE_BYTES as u64 {
                    // A simple reply cannot report an error once it has begun.
                    self.load_long(LongLoad::Whole(read), range);
                    return Ok(());
                }
                self.read(read)?;
            }
            command::CACHE => {
                if !ends_inside {
                    return self.fail(cookie, errno::INVAL, begun);
                }
                let end = range.end.min(offset + u64::from(READ_BYTES_MAX));
                self.load_long(LongLoad::Cached(PendingRequest { cookie, begun }), offset..end);
            }
            command::BLOCK_STATUS => {
                if !self.has_allocation || !ends_inside || length == 0 {
                    return self.fail(cookie, errno::INVAL, begun);
                }
                let count = if flags & command::REQ_ONE == 0 { RUNS_MAX } else { 1 };
                self.queue(
                    move |image| image.holes(range, count),
                    move |result| Finished::Holes(PendingRequest { cookie, begun }, result),
                );
            }
            // Nothing was written, so there is nothing to flush.
            command::FLUSH => self.succeed(cookie, begun)?,
            command::WRITE => {
                if length > READ_BYTES_MAX {
                    return Err(broken("a write is far too long, and the export is read-only"));
                }
                self.skip_data(length)?;
                return self.fail(cookie, errno::PERM, begun);
            }
            command::TRIM | command::WRITE_ZEROES => {
                return self.fail(cookie, errno::PERM, begun);
            }
            _ => return self.fail(cookie, errno::INVAL, begun),
        }
        Ok(())
    }

    /// Queues `work` for a worker; `finished` turns its result into what [`Self::resume`] takes.
    fn queue<T>(
        &mut self,
        work: impl FnOnce(&ServedImage) -> Result<T> + Send + 'static,
        finished: impl FnOnce(Result<T>) -> Finished + Send + 'static,
    ) {
        self.pending += 1;
        let (image, inbox) = (self.export.image.clone(), self.inbox.clone());
        self.workers.queue(move || work(&image), move |result| inbox.put(finished(result)));
    }

    /// Continues the request that a worker has finished something for.
    fn resume(&mut self, finished: Finished) -> io::Result<()> {
        match finished {
            Finished::Piece(read, Ok(())) => self.read(read),
            Finished::Delivered(mut read, result) => {
                self.is_delivering = false;
                let bytes = match result {
                    Ok(bytes) => bytes,
                    Err(error) => return self.read_failed(&read, &error),
                };
                let mark = self.out.begin(self.is_structured, bytes.len())?;
                self.out.taker(false).room(bytes.len()).copy_from_slice(&bytes);
                self.end_data(mark, &mut read, bytes.len());
                self.read(read)
            }
            Finished::Loaded(load, left, Ok(())) if !left.is_empty() => {
                self.load_long(load, left);
                Ok(())
            }
            Finished::Loaded(LongLoad::Whole(read), _, Ok(())) => self.read_whole(read),
            Finished::Piece(read, Err(error))
            | Finished::Loaded(LongLoad::Whole(read), _, Err(error)) => {
                self.read_failed(&read, &error)
            }
            Finished::Loaded(LongLoad::Cached(request), _, Ok(())) => {
                self.succeed(request.cookie, request.begun)
            }
            Finished::Holes(request, Ok(runs)) => {
                self.out.bytes(&status(request.cookie, &runs))?;
                self.answered(request.begun, false);
                Ok(())
            }
            Finished::Loaded(LongLoad::Cached(request), _, Err(error))
            | Finished::Holes(request, Err(error)) => {
                self.export.image.service().failed(&self.export.name, 0, &error);
                self.fail(request.cookie, errno::IO, request.begun)
            }
        }
    }

    /// Answers as much of a read as is available, and lets a worker load the rest.
    fn read(&mut self, mut read: PendingRead) -> io::Result<()> {
        if read.length == 0 {
            return self.succeed(read.cookie, read.begun);
        }
        while read.done < read.length {
            let piece = read.piece();
            let length = to_usize(piece.end - piece.start);
            let mark = self.out.begin(self.is_structured, length)?;
            // A simple reply cannot report that a file could not be read after all.
            let mut taker = self.out.taker(self.is_structured);
            let attempt = self.export.image.try_take(piece.start, length, &mut taker);
            drop(taker);
            if attempt.bytes < length {
                self.out.forget(mark);
                self.load(read, piece.start + attempt.bytes as u64..piece.end);
                return Ok(());
            }
            if attempt.is_hole && self.is_structured {
                self.out.forget(mark);
                read.done += length as u64;
                let is_last = read.done == read.length;
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                self.out.hole(read.cookie, is_last, piece.start, length)?;
            } else {
                self.end_data(mark, &mut read, length);
            }
            self.out.flush_much()?;
        }
        self.read_answered(&read);
        Ok(())
    }

    /// Ends the data of a read that was put out after `mark`: the next `length` bytes.
    fn end_data(&mut self, mark: OutputMark, read: &mut PendingRead, length: usize) {
        let offset = read.offset + read.done;
        read.done += length as u64;
        read.preparations = 0;
        let is_last = read.done == read.length;
        if self.is_structured {
            self.out.end_structured(mark, read.cookie, is_last, offset);
        } else {
            self.out.end_simple(mark, read.cookie);
        }
    }

    /// Lets a worker load the start of `range`. It is continued only after the replies before it
    /// were sent, so nothing more is loaded for a client that does not receive them.
    fn load_long(&mut self, load: LongLoad, range: Range<u64>) {
        let end = range.end.min(range.start.saturating_add(LOAD_BYTES_MAX));
        let left = end..range.end;
        self.queue(
            move |image| image.prepare(range.start..end),
            move |result| Finished::Loaded(load, left, result),
        );
    }

    /// Lets a worker load the next piece of a read, of which the range `missing` is not available.
    fn load(&mut self, mut read: PendingRead, missing: Range<u64>) {
        if read.preparations < PREPARATIONS_MAX || self.is_delivering {
            read.preparations = read.preparations.saturating_add(1);
            self.queue(
                move |image| image.prepare(missing),
                move |result| Finished::Piece(read, result),
            );
            return;
        }
        // The cache is too small for all that is read now: what a worker loads is evicted before
        // this connection sends it.
        self.is_delivering = true;
        let piece = read.piece();
        self.queue(
            move |image| image.read_range(piece),
            move |result| Finished::Delivered(read, result),
        );
    }

    /// Sends a read of several pieces as one simple reply. If a piece cannot be read that could be
    /// a moment ago, the connection ends, since the reply cannot report an error any more.
    fn read_whole(&mut self, mut read: PendingRead) -> io::Result<()> {
        self.out.bytes(&simple(read.cookie, 0))?;
        while read.done < read.length {
            let piece = read.piece();
            let length = to_usize(piece.end - piece.start);
            let room = self.out.bare_room(length)?;
            if self.export.image.try_read(piece.start, room).bytes < length {
                let image = self.export.image.clone();
                let bytes = self.workers.run(move || image.read_range(piece)).map_err(|error| {
                    let offset = read.offset + read.done;
                    self.export.image.service().failed(&self.export.name, offset, &error);
                    broken("data that could be read a moment ago cannot be read any more")
                })?;
                self.out.bare_room(length)?.copy_from_slice(&bytes);
            }
            self.out.used_room(length);
            read.done += length as u64;
        }
        self.read_answered(&read);
        Ok(())
    }

    /// Counts a read that was answered.
    fn read_answered(&self, read: &PendingRead) {
        self.export.image.service().metrics.nbd.sent_bytes.add(read.length);
        self.answered(read.begun, false);
    }

    /// Reports that a read failed, to the log and to the client.
    fn read_failed(&mut self, read: &PendingRead, error: &Error) -> io::Result<()> {
        let offset = read.offset + read.done;
        self.export.image.service().failed(&self.export.name, offset, error);
        self.fail(read.cookie, errno::IO, read.begun)
    }

    /// Counts a request that was answered, with an error if `failed`.
    fn answered(&self, begun: Instant, failed: bool) {
        self.export.image.service().metrics.nbd.answered(begun, failed);
    }

    /// Replies without data and without an error.
    fn succeed(&mut self, cookie: u64, begun: Instant) -> io::Result<()> {
        if self.is_structured {
            self.out.bytes(&structured(cookie, chunk::DONE, chunk::NONE, 0))?;
        } else {
            self.out.bytes(&simple(cookie, 0))?;
        }
        self.answered(begun, false);
        Ok(())
    }

    /// Replies with `error`.
    fn fail(&mut self, cookie: u64, error: u32, begun: Instant) -> io::Result<()> {
        if self.is_structured {
            self.out.bytes(&failure(cookie, true, error))?;
        } else {
            self.out.bytes(&simple(cookie, error))?;
        }
        self.answered(begun, true);
        Ok(())
    }
}

/// Returns a reply that says where holes are.
fn status(cookie: u64, runs: &[(u64, bool)]) -> Vec<u8> {
    let length = u32::try_from(4 + 8 * runs.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(CHUNK_BYTES + 4 + 8 * runs.len());
    out.extend(structured(cookie, chunk::DONE, chunk::BLOCK_STATUS, length));
    out.extend(ALLOCATION_ID.to_be_bytes());
    for (length, is_hole) in runs {
        // No run is longer than the requested range, whose length has 32 bits.
        out.extend(u32::try_from(*length).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(if *is_hole { HOLE_AND_ZERO } else { 0 }.to_be_bytes());
    }
    out
}
