//! One file of a push: read once, hashed, and written where it is new.

use crate::progress::Progress;
use freestone_core::item::{Content, FileOpener, FileStamp, OpenFile};
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::odd::{FirstBytes, OddReading};
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Result, path};
use freestone_store::write::{OwnLane, Writer};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a large file that are read at once.
const READ_BYTES: usize = 1 << 20;
/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 5;
/// A file whose last change is closer than this to its reading may change again without a change of
/// its times: the ticks of the kernel's clock are up to 10 ms apart.
const RACY_NS: i64 = 50_000_000;
/// The same for file systems whose times are whole seconds, or even ones.
const RACY_COARSE_NS: i64 = 2_100_000_000;

/// What a reading thread keeps from file to file.
pub(crate) struct ReaderThread {
    own: OwnLane,
    buffer: Vec<u8>,
}

impl ReaderThread {
    /// Returns the state of a thread; the threads of one push are numbered from 0.
    pub(crate) fn new(number: usize) -> Self {
        Self { own: OwnLane::of_thread(number), buffer: Vec::new() }
    }

    /// Ends the work of the thread: has its last pack made durable.
    ///
    /// # Errors
    /// Writing failed.
    pub(crate) fn finish(mut self, writer: &Writer) -> Result<()> {
        writer.seal(&mut self.own)
    }
}

/// A reader of files on one thread.
pub(crate) struct FileReader<'a> {
    pub(crate) opener: &'a dyn FileOpener,
    pub(crate) writer: &'a Writer,
    pub(crate) progress: &'a Progress<'a>,
    /// Whether a file that was removed after it was listed is left out, instead of being an error.
    pub(crate) skips_removed: bool,
    /// Set when the push has failed elsewhere.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) thread: &'a mut ReaderThread,
}

/// A file that was read.
pub(crate) struct ReadFile {
    pub(crate) content: Content,
    /// The stamp that proves later that the file is unchanged; `None` if it changed too recently.
    pub(crate) stamp: Option<FileStamp>,
}

fn is_settled(stamp: &FileStamp, read_at_ns: i64) -> bool {
    let changed = stamp.mtime_ns.max(stamp.ctime_ns);
    let coarse = stamp.mtime_ns % 1_000_000_000 == 0 && stamp.ctime_ns % 1_000_000_000 == 0;
    let margin = if coarse { RACY_COARSE_NS } else { RACY_NS };
    changed.saturating_add(margin) < read_at_ns
}

/// Returns the error of a file that another program keeps changing.
pub(crate) fn changing(path: &[u8]) -> Error {
    let what = format!("{} changes while it is being read", path::display(path));
    Error::new(ErrorKind::Conflict, what)
        .hint("push a snapshot of the directory, or leave the file out with --exclude")
}

impl FileReader<'_> {
    /// Reads the file at `path`. `known` is the parent's content there, which the store has.
    /// Returns `None` if the file was removed after it was listed.
    ///
    /// Most files have the length that their stamp says, before and after reading. Others are read
    /// until two readings give the same bytes ([`freestone_core::odd`]).
    ///
    /// # Errors
    /// The file cannot be read or changes again and again; or writing failed.
    pub(crate) fn read(
        &mut self,
        path: &[u8],
        known: Option<&Content>,
    ) -> Result<Option<ReadFile>> {
        let mut earlier: Option<OddReading> = None;
        for _ in 0..READS_MAX {
            self.check()?;
            let read_at = i64::try_from(freestone_backend::clock::now_ns()).unwrap_or(i64::MAX);
            let Some(mut file) = self.open(path)? else { return Ok(None) };
            let before = file.stamp()?;
            let read = match &earlier {
                Some(earlier) => self.read_to(path, &mut *file, earlier.limit(), known),
                None if before.size <= CONTENT_WHOLE_BYTES_MAX => {
                    self.read_small(path, &mut *file, &before, known)
                }
                None => self.read_large(path, &mut *file, before.size, known),
            };
            let read = read.map_err(|error| error.context(path::display(path)))?;
            let after = file.stamp()?;
            if let Some(content) = read {
                if after == before && content.size == before.size {
                    self.progress.add_file();
                    let stamp = is_settled(&after, read_at).then_some(after);
                    return Ok(Some(ReadFile { content, stamp }));
                }
                if earlier.as_ref().is_some_and(|it| it.is_confirmed_by(&content, &after)) {
                    self.progress.add_file();
                    return Ok(Some(ReadFile { content, stamp: None }));
                }
            }
            earlier = OddReading::next(earlier, (&before, &after), read);
        }
        Err(changing(path))
    }

    /// Reads the file at `path` again, from which `wanted` was hashed before. Returns false if the
    /// file does not begin with these bytes any more, or is gone.
    ///
    /// # Errors
    /// The file cannot be read, or writing failed.
    pub(crate) fn read_again(&mut self, path: &[u8], wanted: &Content) -> Result<bool> {
        self.check()?;
        let Some(mut file) = self.open(path)? else { return Ok(false) };
        let read = self
            .read_to(path, &mut *file, wanted.size, None)
            .map_err(|error| error.context(path::display(path)))?;
        self.progress.add_file();
        Ok(read.is_some_and(|content| content == *wanted))
    }

    /// Opens the file at `path`; `None` if it was removed after it was listed.
    fn open(&self, path: &[u8]) -> Result<Option<Box<dyn OpenFile>>> {
        match self.opener.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.skips_removed => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Reads the first `limit` bytes of a file, or all of it if it is shorter, whatever its stamp
    /// says. Returns `None` if the file becomes shorter meanwhile.
    fn read_to(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        limit: u64,
        known: Option<&Content>,
    ) -> Result<Option<Content>> {
        let whole = to_usize(CONTENT_WHOLE_BYTES_MAX);
        let wanted = to_usize(limit).min(whole + 1);
        if self.thread.buffer.len() < wanted {
            self.thread.buffer.resize(wanted, 0);
        }
        let mut length = 0;
        loop {
            let count = self.fill(path, file, (length, wanted))?;
            length += count;
            if count == 0 || length == wanted {
                break;
            }
        }
        if length <= whole {
            return self.writer.put_content(&self.thread.buffer[..length], known).map(Some);
        }
        file.seek(0)?;
        self.read_large(path, &mut FirstBytes::new(file, limit), u64::MAX, known)
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "the push has failed"));
        }
        self.progress.check()
    }

    /// Reads the next bytes of the file at `path` into the buffer, at `from` to `to`. Returns how
    /// many; 0 at the end.
    fn fill(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        (from, to): (usize, usize),
    ) -> Result<usize> {
        let mut at = from;
        while at < to {
            match file.read(&mut self.thread.buffer[at..to]) {
                Ok(0) => break,
                Ok(count) => {
                    at += count;
                    // A regular file gives less than was asked for only at its end. If this was not
                    // the end, the length differs from the stamp's and the file is read again.
                    if at < to {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io("cannot read it", error).at_path(path.to_vec()));
                }
            }
        }
        self.progress.add_bytes((at - from) as u64);
        Ok(at - from)
    }

    /// Reads a file of one chunk. Returns `None` if it is longer than `stamp` says.
    fn read_small(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        stamp: &FileStamp,
        known: Option<&Content>,
    ) -> Result<Option<Content>> {
        let size = usize::try_from(stamp.size).unwrap_or(0);
        // One byte more, so that a file that grew is noticed with the same read.
        if self.thread.buffer.len() < size + 1 {
            self.thread.buffer.resize((size + 1).max(64 << 10), 0);
        }
        let length = self.fill(path, file, (0, size + 1))?;
        if length > size {
            return Ok(None);
        }
        self.writer.put_content(&self.thread.buffer[..length], known).map(Some)
    }

    /// Reads a file of several chunks. Returns `None` if it is short enough for one chunk, or
    /// longer than `length_max`: a file that grows as fast as it is read would never end.
    fn read_large(
        &mut self,
        path: &[u8],
        file: &mut dyn OpenFile,
        length_max: u64,
        known: Option<&Content>,
    ) -> Result<Option<Content>> {
        if self.thread.buffer.len() < READ_BYTES {
            self.thread.buffer.resize(READ_BYTES, 0);
        }
        let mut content = self.writer.large_content();
        let mut length = 0;
        loop {
            self.check()?;
            let count = self.fill(path, file, (0, READ_BYTES))?;
            length += count as u64;
            if length > length_max {
                return Ok(None);
            }
            if count == 0 {
                break;
            }
            content.push(&self.thread.buffer[..count], &mut self.thread.own)?;
        }
        content.finish(known, &mut self.thread.own)
    }
}
