//! The threads of a push that read files.

use crate::faults::Faults;
use crate::file::{FileReader, ReadFile, ReaderThread};
use crate::jobs::{JobThread, readers_failed};
use crate::progress::Progress;
use crossbeam_channel::Sender;
use freestone_core::item::{Content, FileOpener};
use freestone_core::{ErrorKind, Result};
use freestone_store::write::Writer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;

/// A file that is to be read.
pub(crate) struct Job {
    /// Its number in the order of the walk.
    pub(crate) number: u64,
    pub(crate) path: Vec<u8>,
    /// The parent's content at its path, if the store has it.
    pub(crate) known: Option<Content>,
}

/// What became of a file that a reader was given.
pub(crate) enum Outcome {
    Read(ReadFile),
    /// It was removed after it was listed.
    Removed,
    /// It cannot be read, and is among the faults.
    Unreadable,
}

/// What became of files, by number.
pub(crate) type Done = Vec<(u64, Result<Outcome>)>;

/// What the reading threads of one push share.
#[derive(Clone, Copy)]
pub(crate) struct Readers<'a> {
    pub(crate) opener: &'a dyn FileOpener,
    pub(crate) writer: &'a Writer,
    pub(crate) progress: &'a Progress<'a>,
    /// Set when the push has failed, so that the readers do not finish their files.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) faults: &'a Faults,
}

/// One of the readers of a push.
pub(crate) struct Reader<'a> {
    pub(crate) readers: Readers<'a>,
    pub(crate) thread: ReaderThread,
    /// Takes the files that were read. Their errors go there, too.
    pub(crate) done: Sender<Done>,
}

impl JobThread<Vec<Job>> for Reader<'_> {
    fn work(&mut self, jobs: Vec<Job>) -> Result<()> {
        let Self { readers, thread, done } = self;
        let read = |job: Job| {
            // A panic must not leave the other side waiting for this file.
            let outcome = catch_unwind(AssertUnwindSafe(|| readers.read(thread, &job)));
            (job.number, outcome.unwrap_or_else(|_| Err(readers_failed())))
        };
        // When the push has failed nobody takes them, and the jobs that are left end at once.
        drop(done.send(jobs.into_iter().map(read).collect()));
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.thread.finish(self.readers.writer)
    }
}

impl Readers<'_> {
    fn read(&self, thread: &mut ReaderThread, job: &Job) -> Result<Outcome> {
        let Self { opener, writer, progress, stop, faults } = *self;
        if faults.any() {
            // No revision will be made: the file is only opened, to see whether it can be.
            progress.check()?;
            match opener.open(&job.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => _ = faults.sift(opened)?,
            }
            return Ok(Outcome::Unreadable);
        }
        let mut reader = FileReader { opener, writer, progress, skips_removed: true, stop, thread };
        Ok(match faults.sift(reader.read(&job.path, job.known.as_ref()))? {
            Some(Some(file)) => Outcome::Read(file),
            Some(None) => Outcome::Removed,
            None => Outcome::Unreadable,
        })
    }
}
