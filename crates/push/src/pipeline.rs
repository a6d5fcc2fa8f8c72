//! The threads of a push over a whole source.
//!
//! One thread walks the source. This thread takes the items in order, compares each with the
//! parent's entry at the same path and with the stat cache, and gives files that must be read to
//! the readers. Entries go to the manifest in the order of the walk, each as soon as its content is
//! known.
//!
//! A path that cannot be read ends the push, but not at once: all such paths are reported together.
//! After the first of them the readers only open files, and no more entries are made.

use crate::faults::Faults;
use crate::file::ReaderThread;
use crate::options::{PushOptions, Source};
use crate::ordered::{Given, Ordered, ReaderThreads};
use crate::outcome::Walked;
use crate::progress::Progress;
use crate::readers::{Done, Reader, Readers};
use crossbeam_channel::{bounded, unbounded};
use freestone_core::item::{Item, ItemSource};
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, Result, threads};
use freestone_manifest::{NodeSink, Tree};
use freestone_store::Records;
use freestone_store::write::Writer;
use std::sync::atomic::{AtomicBool, Ordering};

/// Items in one batch of the walk, and batches that the walk may be ahead.
const BATCH_ITEMS: usize = 256;
const BATCHES_AHEAD: usize = 8;

/// A walk over a source that builds a manifest.
pub(crate) struct Pipeline<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) options: &'a PushOptions,
    pub(crate) progress: &'a Progress<'a>,
    pub(crate) writer: &'a Writer,
    pub(crate) parent: Option<&'a Tree<Records>>,
    /// Whether a content that the stat cache knows need not be in the store.
    pub(crate) hash_only: bool,
    /// Set when the push has failed, so that the readers do not finish their files.
    pub(crate) stop: AtomicBool,
    pub(crate) faults: Faults,
}

impl Pipeline<'_> {
    /// Walks the source to its end and builds the manifest, whose nodes go to `nodes`.
    ///
    /// # Errors
    /// The source or the parent cannot be read, or the store not be written.
    pub(crate) fn run<W: NodeSink>(
        &self,
        working: &mut Option<Box<dyn WorkingIndex>>,
        nodes: W,
    ) -> Result<(Walked, W)> {
        let (items_in, items) = bounded(BATCHES_AHEAD);
        let (done_in, done) = unbounded::<Done>();
        let readers = Readers {
            opener: self.source.opener,
            writer: self.writer,
            progress: self.progress,
            stop: &self.stop,
            faults: &self.faults,
        };
        let (walked, readers) = std::thread::scope(|scope| {
            let walk = move || {
                // It ends early when nobody takes its items.
                drop(self.batches().try_for_each(|batch| items_in.send(batch)));
            };
            let walker = threads::spawn(scope, walk);
            let count = self.options.thread_count();
            let mut threads = ReaderThreads::start(scope, count, |number| {
                let thread = ReaderThread::new(number);
                Reader { readers, thread, done: done_in.clone() }
            });
            drop(done_in);
            let stats = working.as_mut().zip(self.source.key.as_deref()).map(|(working, key)| {
                working.begin(key);
                working
            });
            let given = Given {
                options: self.options,
                progress: self.progress,
                faults: &self.faults,
                records: self.writer.records(),
                parent: self.parent,
                hash_only: self.hash_only,
            };
            let ordered = Ordered::new(given, &mut threads, done, stats, nodes);
            let walked = match walker {
                Some(_) => ordered.run(items.into_iter()),
                None => ordered.run(self.batches()),
            };
            self.stop.store(walked.is_err(), Ordering::Relaxed);
            (walked, threads.end())
        });
        let walked = walked?;
        readers?;
        Ok(walked)
    }

    /// Returns the items of the source in batches, and at last the error that ended them, if one
    /// did.
    fn batches(&self) -> Batches<'_> {
        let (source, failure) = match (self.source.walk)() {
            Ok(source) => (Some(source), None),
            Err(error) => (None, Some(error)),
        };
        Batches { source, failure, progress: self.progress }
    }
}

/// The items of a source in batches.
struct Batches<'a> {
    /// The source, until it has ended.
    source: Option<Box<dyn ItemSource + 'a>>,
    /// What ended it.
    failure: Option<Error>,
    progress: &'a Progress<'a>,
}

impl Iterator for Batches<'_> {
    type Item = Result<Vec<Item>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        let source = self.source.as_mut()?;
        let mut batch = Vec::with_capacity(BATCH_ITEMS);
        let mut outcome = self.progress.check();
        while outcome.is_ok() && batch.len() < BATCH_ITEMS {
            match source.next() {
                Ok(Some(item)) => batch.push(item),
                Ok(None) => {
                    self.source = None;
                    break;
                }
                Err(error) => outcome = Err(error),
            }
        }
        if let Err(error) = outcome {
            (self.source, self.failure) = (None, Some(error));
        }
        self.progress.add_entries(batch.len() as u64);
        Some(Ok(batch))
    }
}
