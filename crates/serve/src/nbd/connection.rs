//! A connection after its negotiation: requests in, replies out.

use super::handshake::Negotiated;
use super::output::{Mark, Output, PIECE_BYTES};

use super::wire::{
    ALLOCATION_ID, CHUNK_BYTES, HOLE_AND_ZERO, READ_BYTES_MAX, REQUEST_BYTES, Request, chunk,
    command, errno, failure, simple, structured,
};
use crate::catalogue::Export;
use crate::image::Taker;
use crate::socket::receive;
use crate::workers::Workers;
use freestone_core::{Error, ErrorKind, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Requests that may wait for the workers at once; then no further ones are read. More than any
/// client has on its way.
const PENDING_MAX: usize = 128;
/// Room for requests that were received and not looked at.
const INPUT_BYTES: usize = 16 << 10;
/// How often a piece is made to be at hand and is gone again before it is handed over whole.
const PREPARATIONS_MAX: u8 = 2;
/// Runs in one reply about holes.
const RUNS_MAX: usize = 1024;

/// A read that is being answered.
struct Reading {
    cookie: u64,
    offset: u64,
    length: u64,
    /// Bytes that were answered.
    done: u64,
    begun: Instant,
    /// How often the next piece was made to be at hand.
    preparations: u8,
}

impl Reading {
    /// The next piece.
    fn piece(&self) -> Range<u64> {
        let start = self.offset + self.done;
        start..(start + PIECE_BYTES as u64).min(self.offset + self.length)
    }
}

/// What waits for a worker.
enum Task {
    /// The next piece of a read.
    Piece(Reading),
    /// All of a read that goes out in one simple reply, though it is too long for one piece.
    Whole(Reading),
    /// Making a range be at hand, for a client that will read it soon.
    Cache { cookie: u64, begun: Instant },
    /// Where holes are.
    Holes { cookie: u64, begun: Instant },
}

/// What a worker came to.
enum Outcome {
    Prepared(Result<()>),
    Delivered(Result<Vec<u8>>),
    Holes(Result<Vec<(u64, bool)>>),
}

/// Where workers put what they came to.
struct Inbox {
    done: Mutex<VecDeque<(Task, Outcome)>>,
    /// Readable when there is something.
    event: OwnedFd,
}

/// Answers in any case: if the worker fails to, by falling over, then with that.
struct Answer(Option<(Task, Arc<Inbox>)>);

impl Answer {
    fn give(&mut self, outcome: Outcome) {
        if let Some((task, inbox)) = self.0.take() {
            inbox.done.lock().unwrap_or_else(PoisonError::into_inner).push_back((task, outcome));
            // It can only be full of what nobody has looked at yet.
            let _ = rustix::io::write(&inbox.event, &1u64.to_ne_bytes());
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let fallen =
            Error::new(ErrorKind::Failed, "a worker failed; this is an error of freestone's");
        self.give(Outcome::Prepared(Err(fallen)));
    }
}

/// Says to the workers that nobody waits for what they have not begun yet.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection in transmission.
pub struct Connection<'a> {
    socket: Arc<OwnedFd>,
    export: Export,
    is_structured: bool,
    has_allocation: bool,
    workers: &'a Workers,
    /// Set when the server ends: what was asked for before is answered, and nothing more.
    is_ending: &'a AtomicBool,
    input: Box<[u8]>,
    /// What was received and not looked at.
    waiting: Range<usize>,
    out: Output,
    inbox: Arc<Inbox>,
    gone: Gone,
    pending: usize,
    /// Whether a piece is being handed over whole: one at a time, since it takes memory.
    is_delivering: bool,
    is_over: bool,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<'a> Connection<'a> {
    pub fn new(
        socket: Arc<OwnedFd>,
        negotiated: Negotiated,
        workers: &'a Workers,
        is_ending: &'a AtomicBool,
    ) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let Negotiated { export, is_structured, has_allocation } = negotiated;
        Ok(Self {
            out: Output::new(socket.clone(), export.image.service().clone()),
            socket,
            export,
            is_structured,
            has_allocation,
            workers,
            is_ending,
            input: vec![0; INPUT_BYTES].into(),
            waiting: 0..0,
            inbox: Arc::new(Inbox { done: Mutex::default(), event }),
            gone: Gone::default(),
            pending: 0,
            is_delivering: false,
            is_over: false,
        })
    }

    /// Answers requests until the client leaves or the server ends.
    ///
    /// # Errors
    /// The client is gone, or breaks the protocol.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            while let Some((task, outcome)) = self.take_done() {
                self.pending -= 1;
                self.resume(task, outcome)?;
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

    fn take_done(&self) -> Option<(Task, Outcome)> {
        if self.pending == 0 {
            return None;
        }
        self.inbox.done.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The next request that was received whole.
    fn next_request(&mut self) -> io::Result<Option<Request>> {
        let bytes = self.input[self.waiting.clone()].first_chunk::<REQUEST_BYTES>();
        let Some(bytes) = bytes else { return Ok(None) };
        let request = Request::parse(bytes);
        self.waiting.start += REQUEST_BYTES;
        request.map(Some).ok_or_else(|| broken("a request does not begin as one"))
    }

    /// Waits for the client or the workers.
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
        match receive(&self.socket, &mut self.input[self.waiting.end..])? {
            0 if self.is_ending.load(Ordering::Relaxed) => self.is_over = true,
            0 if self.waiting.is_empty() => self.is_over = true,
            0 => return Err(broken("the connection ends within a request")),
            count => self.waiting.end += count,
        }
        Ok(())
    }

    /// Passes over what a write sends.
    fn pass(&mut self, length: u32) -> io::Result<()> {
        let mut left = length as usize;
        loop {
            let passed = left.min(self.waiting.len());
            self.waiting.start += passed;
            left -= passed;
            if left == 0 {
                return Ok(());
            }
            self.receive()?;
            if self.is_over {
                return Err(broken("the connection ends within a request"));
            }
        }
    }

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
                let reading = Reading { cookie, offset, length, done: 0, begun, preparations: 0 };
                if !self.is_structured && length > PIECE_BYTES as u64 {
                    // Once a simple reply has begun nothing can be said any more of an error.
                    let task = Task::Whole(reading);
                    self.give(task, move |image| Outcome::Prepared(image.prepare(range)));
                    return Ok(());
                }
                self.read(reading)?;
            }
            command::CACHE => {
                if !ends_inside {
                    return self.fail(cookie, errno::INVAL, begun);
                }
                let end = range.end.min(offset + u64::from(READ_BYTES_MAX));
                self.give(Task::Cache { cookie, begun }, move |image| {
                    Outcome::Prepared(image.prepare(offset..end))
                });
            }
            command::BLOCK_STATUS => {
                if !self.has_allocation || !ends_inside || length == 0 {
                    return self.fail(cookie, errno::INVAL, begun);
                }
                let count = if flags & command::REQ_ONE == 0 { RUNS_MAX } else { 1 };
                self.give(Task::Holes { cookie, begun }, move |image| {
                    Outcome::Holes(image.holes(range, count))
                });
            }
            // There is never anything to be written back.
            command::FLUSH => self.succeed(cookie, begun)?,
            command::WRITE => {
                if length > READ_BYTES_MAX {
                    return Err(broken("a write far too long, to what is read-only"));
                }
                self.pass(length)?;
                return self.fail(cookie, errno::PERM, begun);
            }
            command::TRIM | command::WRITE_ZEROES => {
                return self.fail(cookie, errno::PERM, begun);
            }
            _ => return self.fail(cookie, errno::INVAL, begun),
        }
        Ok(())
    }

    /// Lets a worker do `work`, and goes on with `task` when it is done.
    fn give(
        &mut self,
        task: Task,
        work: impl FnOnce(&crate::ServedImage) -> Outcome + Send + 'static,
    ) {
        self.pending += 1;
        let image = self.export.image.clone();
        let mut answer = Answer(Some((task, self.inbox.clone())));
        let gone = self.gone.0.clone();
        self.workers.give(move || {
            if gone.load(Ordering::Relaxed) {
                return;
            }
            let outcome = work(&image);
            answer.give(outcome);
        });
    }

    fn resume(&mut self, task: Task, outcome: Outcome) -> io::Result<()> {
        match (task, outcome) {
            (Task::Piece(reading), Outcome::Prepared(Ok(()))) => self.read(reading),
            (Task::Piece(mut reading), Outcome::Delivered(Ok(bytes))) => {
                self.is_delivering = false;
                let mark = self.out.begin(self.is_structured, bytes.len())?;
                self.out.taker(false).room(bytes.len()).copy_from_slice(&bytes);
                self.data(mark, &mut reading, bytes.len());
                self.read(reading)
            }
            (Task::Piece(reading), Outcome::Delivered(Err(error))) => {
                self.is_delivering = false;
                self.read_failed(&reading, &error)
            }
            (Task::Whole(reading), Outcome::Prepared(Ok(()))) => self.read_whole(&reading),
            (Task::Piece(reading) | Task::Whole(reading), Outcome::Prepared(Err(error))) => {
                self.read_failed(&reading, &error)
            }
            (Task::Cache { cookie, begun }, Outcome::Prepared(Ok(()))) => {
                self.succeed(cookie, begun)
            }
            (Task::Holes { cookie, begun }, Outcome::Holes(Ok(runs))) => {
                self.out.bytes(&status(cookie, &runs))?;
                self.answered(begun);
                Ok(())
            }
            (
                Task::Cache { cookie, begun } | Task::Holes { cookie, begun },
                Outcome::Prepared(Err(error)) | Outcome::Holes(Err(error)),
            ) => {
                self.export.image.service().failed(&self.export.name, 0, &error);
                self.fail(cookie, errno::IO, begun)
            }
            _ => Err(broken("an answer to another question; this is an error of freestone's")),
        }
    }

    /// Answers as much of a read as is at hand, and lets the workers see to the rest.
    fn read(&mut self, mut reading: Reading) -> io::Result<()> {
        if reading.length == 0 {
            return self.succeed(reading.cookie, reading.begun);
        }
        while reading.done < reading.length {
            let piece = reading.piece();
            let length = usize::try_from(piece.end - piece.start).unwrap_or(PIECE_BYTES);
            let mark = self.out.begin(self.is_structured, length)?;
            // A simple reply cannot say that what it holds failed after all.
            let mut taker = self.out.taker(self.is_structured);
            let attempt = self.export.image.try_take(piece.start, length, &mut taker);
            drop(taker);
            if attempt.bytes < length {
                self.out.forget(mark);
                self.fetch(reading, piece.start + attempt.bytes as u64..piece.end);
                return Ok(());
            }
            if attempt.is_hole && self.is_structured {
                self.out.forget(mark);
                reading.done += length as u64;
                let is_last = reading.done == reading.length;
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                self.out.hole(reading.cookie, is_last, piece.start, length)?;
            } else {
                self.data(mark, &mut reading, length);
            }
            self.out.flush_much()?;
        }
        self.export.image.service().metrics.nbd.sent_bytes.add(reading.length);
        self.answered(reading.begun);
        Ok(())
    }

    /// The next `length` bytes of a read came after `mark`.
    fn data(&mut self, mark: Mark, reading: &mut Reading, length: usize) {
        let offset = reading.offset + reading.done;
        reading.done += length as u64;
        reading.preparations = 0;
        let is_last = reading.done == reading.length;
        if self.is_structured {
            self.out.end_structured(mark, reading.cookie, is_last, offset);
        } else {
            self.out.end_simple(mark, reading.cookie);
        }
    }

    /// Lets a worker see to the next piece, of which `missing` is not at hand.
    fn fetch(&mut self, mut reading: Reading, missing: Range<u64>) {
        if reading.preparations < PREPARATIONS_MAX || self.is_delivering {
            reading.preparations = reading.preparations.saturating_add(1);
            self.give(Task::Piece(reading), move |image| Outcome::Prepared(image.prepare(missing)));
            return;
        }
        // What was at hand is gone before this connection comes to it: the cache is too small for
        // all who read now.
        self.is_delivering = true;
        let piece = reading.piece();
        self.give(Task::Piece(reading), move |image| Outcome::Delivered(deliver(image, piece)));
    }

    /// Sends a read of many pieces as one simple reply. If a piece cannot be had though it could
    /// a moment ago, the connection ends: nothing else can be said by then.
    fn read_whole(&mut self, reading: &Reading) -> io::Result<()> {
        self.out.bytes(&simple(reading.cookie, 0))?;
        let mut reading = Reading { done: 0, ..*reading };
        while reading.done < reading.length {
            let piece = reading.piece();
            let length = usize::try_from(piece.end - piece.start).unwrap_or(PIECE_BYTES);
            let room = self.out.bare_room(length)?;
            if self.export.image.try_read(piece.start, room).bytes < length {
                let image = self.export.image.clone();
                let (give, take) = sync_channel(1);
                self.workers.give(move || {
                    let _ = give.send(deliver(&image, piece));
                });
                let delivered = take.recv().map_err(|_| broken("a worker failed"))?;
                let bytes = delivered.map_err(|error| {
                    let offset = reading.offset + reading.done;
                    self.export.image.service().failed(&self.export.name, offset, &error);
                    broken("what was readable is not any more")
                })?;
                self.out.bare_room(length)?.copy_from_slice(&bytes);
            }
            self.out.used_room(length);
            reading.done += length as u64;
        }
        self.export.image.service().metrics.nbd.sent_bytes.add(reading.length);
        self.answered(reading.begun);
        Ok(())
    }

    fn read_failed(&mut self, reading: &Reading, error: &Error) -> io::Result<()> {
        let offset = reading.offset + reading.done;
        self.export.image.service().failed(&self.export.name, offset, error);
        self.fail(reading.cookie, errno::IO, reading.begun)
    }

    fn answered(&self, begun: Instant) {
        let metrics = &self.export.image.service().metrics.nbd;
        metrics.requests.add(1);
        metrics.latency.add(begun.elapsed());
    }

    fn succeed(&mut self, cookie: u64, begun: Instant) -> io::Result<()> {
        if self.is_structured {
            self.out.bytes(&structured(cookie, chunk::DONE, chunk::NONE, 0))?;
        } else {
            self.out.bytes(&simple(cookie, 0))?;
        }
        self.answered(begun);
        Ok(())
    }

    fn fail(&mut self, cookie: u64, error: u32, begun: Instant) -> io::Result<()> {
        if self.is_structured {
            self.out.bytes(&failure(cookie, true, error))?;
        } else {
            self.out.bytes(&simple(cookie, error))?;
        }
        self.export.image.service().metrics.nbd.failures.add(1);
        self.answered(begun);
        Ok(())
    }
}

fn deliver(image: &crate::ServedImage, piece: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(piece.end - piece.start).unwrap_or(0)];
    image.read(piece.start, &mut bytes).map(|()| bytes)
}

/// A reply that says where holes are.
fn status(cookie: u64, runs: &[(u64, bool)]) -> Vec<u8> {
    let length = u32::try_from(4 + 8 * runs.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(CHUNK_BYTES + 4 + 8 * runs.len());
    out.extend(structured(cookie, chunk::DONE, chunk::BLOCK_STATUS, length));
    out.extend(ALLOCATION_ID.to_be_bytes());
    for (length, is_hole) in runs {
        // A run lies in the range that was asked for, whose length has 32 bits.
        out.extend(u32::try_from(*length).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(if *is_hole { HOLE_AND_ZERO } else { 0 }.to_be_bytes());
    }
    out
}
