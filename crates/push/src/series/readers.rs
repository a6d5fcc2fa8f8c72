//! The threads of a batch that read files.

use crate::entry::first_record;
use crate::file::{FileReader, ReaderThread};
use crate::options::PushOptions;
use crate::progress::Progress;
use freestone_core::item::{Content, FileOpener, OpenFile};
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, ErrorKind, Result, lock, path, threads};
use freestone_store::Store;
use freestone_store::write::Writer;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Names of bytes that are remembered within a batch.
const NAMES_MAX: usize = 1 << 16;
/// Up to this many files are read by one thread: another thread costs more to start than they do.
const FILES_ALONE: usize = 3;

/// A file that is to be read: the name of its bytes, and the parent's content at its path.
pub(super) type Wanted = (Vec<u8>, Option<Content>);

/// Readers of files by the names of their bytes, each name once.
pub(super) struct SeriesReaders {
    threads: Vec<ReaderThread>,
    names: HashMap<Vec<u8>, Content>,
    /// What earlier pushes read, for steps that yield all of their entries.
    working: Option<Box<dyn WorkingIndex>>,
}

/// An opener that remembers whether the last refusal was its own.
struct Noted<'a> {
    opener: &'a dyn FileOpener,
    refused: AtomicBool,
}

impl FileOpener for Noted<'_> {
    fn open(&self, name: &[u8]) -> Result<Box<dyn OpenFile>> {
        let opened = self.opener.open(name);
        let refused = matches!(&opened, Err(error) if error.kind() == ErrorKind::Refused);
        self.refused.store(refused, Ordering::Relaxed);
        opened
    }
}

/// A file that is open already, and can be read once.
struct OneFile(Mutex<Option<Box<dyn OpenFile>>>);

impl FileOpener for OneFile {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        let file = lock(&self.0).take();
        file.ok_or_else(|| {
            let path = path::display(path);
            Error::new(ErrorKind::Failed, format!("{path} has another length than was said"))
        })
    }
}

impl SeriesReaders {
    pub(super) fn new(options: &PushOptions) -> Self {
        Self {
            threads: (0..options.thread_count()).map(ReaderThread::new).collect(),
            names: HashMap::new(),
            working: None,
        }
    }

    /// Opens the working index, which takes longer than a small step, unless it is open.
    pub(super) fn open_working(&mut self, options: &PushOptions, store: &Store) {
        if self.working.is_none() {
            self.working = options.open_working(store);
        }
    }

    /// Returns true if the working index is used.
    pub(super) fn uses_working(&mut self) -> bool {
        self.working.as_mut().is_some_and(|working| working.is_open())
    }

    /// Returns the contents of files, in order. An error of kind [`ErrorKind::Refused`] is the
    /// opener's.
    ///
    /// # Errors
    /// The working index or the index cannot be read.
    pub(super) fn read(
        &mut self,
        wanted: &[Wanted],
        opener: &dyn FileOpener,
        writer: &Writer,
        progress: &Progress<'_>,
    ) -> Result<Vec<Result<Content>>> {
        let mut outcome: Vec<Option<Result<Content>>> = Vec::with_capacity(wanted.len());
        let mut open = Vec::new();
        for (at, (name, _)) in wanted.iter().enumerate() {
            let known = self.known(name, writer)?;
            if known.is_none() {
                open.push(at);
            }
            outcome.push(known.map(Ok));
        }
        let count = if open.len() <= FILES_ALONE { 1 } else { open.len() };
        let next = AtomicUsize::new(0);
        let done = Mutex::new(&mut outcome);
        let stop = AtomicBool::new(false);
        let read = |thread: &mut ReaderThread| {
            let noted = Noted { opener, refused: AtomicBool::new(false) };
            let mut reader = FileReader {
                opener: &noted,
                writer,
                progress,
                skips_removed: false,
                stop: &stop,
                thread,
            };
            while let Some(at) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (name, before) = &wanted[*at];
                let content = match reader.read(name, before.as_ref()) {
                    Ok(Some(file)) => Ok(file.content),
                    Ok(None) => Err(Error::new(ErrorKind::Failed, "a file is gone")),
                    Err(error) => Err(failed_unless(noted.refused.load(Ordering::Relaxed), error)),
                };
                lock(&done)[*at] = Some(content);
            }
        };
        if let [first, others @ ..] = &mut self.threads[..] {
            std::thread::scope(|scope| {
                let read = &read;
                for thread in others.iter_mut().take(count - 1) {
                    if threads::spawn(scope, move || read(thread)).is_none() {
                        break;
                    }
                }
                read(first);
            });
        }
        for (at, (name, _)) in wanted.iter().enumerate() {
            if let Some(Ok(content)) = &outcome[at] {
                self.remember(name, *content)?;
            }
        }
        let failed = || Err(Error::new(ErrorKind::Failed, "a reading thread failed"));
        Ok(outcome.into_iter().map(|content| content.unwrap_or_else(failed)).collect())
    }

    /// Reads a file that is open, and returns its content. Its path may name other bytes later, so
    /// it is not remembered.
    ///
    /// # Errors
    /// The file cannot be read, or the store not be written.
    pub(super) fn read_once(
        &mut self,
        wanted: Wanted,
        file: Box<dyn OpenFile>,
        writer: &Writer,
        progress: &Progress<'_>,
    ) -> Result<Content> {
        let names = std::mem::take(&mut self.names);
        let working = self.working.take();
        let file = OneFile(Mutex::new(Some(file)));
        let read = self.read(&[wanted], &file, writer, progress);
        (self.names, self.working) = (names, working);
        read?.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Failed, "nothing was read")))
    }

    /// Returns the content that `name` is known to name, if the store has it.
    fn known(&mut self, name: &[u8], writer: &Writer) -> Result<Option<Content>> {
        if let Some(content) = self.names.get(name) {
            return Ok(Some(*content));
        }
        let Some(working) = &mut self.working else { return Ok(None) };
        match working.named(name) {
            Some(content) if writer.records().has(first_record(content.size), &content.id)? => {
                Ok(Some(content))
            }
            _ => Ok(None),
        }
    }

    fn remember(&mut self, name: &[u8], content: Content) -> Result<()> {
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        if self.names.insert(name.to_vec(), content).is_none()
            && let Some(working) = &mut self.working
        {
            working.remember_named(name, &content)?;
        }
        Ok(())
    }

    /// Has the last packs of all threads made durable, and closes the working index.
    ///
    /// # Errors
    /// Writing failed.
    pub(super) fn finish(self, writer: &Writer) -> Result<()> {
        self.threads.into_iter().try_for_each(|thread| thread.finish(writer))?;
        if let Some(mut working) = self.working {
            working.close();
        }
        Ok(())
    }
}

/// Returns the error of reading a file. A refusal that is not the opener's, such as a SHA-1 of two
/// contents, ends the push.
fn failed_unless(is_openers: bool, error: Error) -> Error {
    if error.kind() != ErrorKind::Refused || is_openers {
        return error;
    }
    let hint = error.hint_text().unwrap_or_default().to_owned();
    Error::new(ErrorKind::Failed, error.to_string()).hint(hint)
}
