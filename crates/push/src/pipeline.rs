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
use crate::options::{PushOptions, Source};
use crate::ordered::{Given, Ordered};
use crate::outcome::Walked;
use crate::progress::Progress;
use crate::readers::{Done, Job, Readers};
use crossbeam_channel::{Sender, bounded, unbounded};
use freestone_core::item::Item;
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, ErrorKind, Result};
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
        let threads = self.options.thread_count();
        let (items_in, items) = bounded(BATCHES_AHEAD);
        let (jobs, jobs_out) = bounded::<Vec<Job>>(2 * threads);
        let (done_in, done) = unbounded::<Done>();
        let reading = Readers {
            opener: self.source.opener,
            writer: self.writer,
            progress: self.progress,
            stop: &self.stop,
            faults: &self.faults,
        };
        let (walked, readers) = std::thread::scope(|scope| {
            scope.spawn(move || self.walk(&items_in));
            let readers: Vec<_> = (0..threads)
                .map(|number| {
                    let (jobs, done) = (jobs_out.clone(), done_in.clone());
                    scope.spawn(move || reading.run(number, &jobs, &done))
                })
                .collect();
            drop((jobs_out, done_in));
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
            let walked = Ordered::new(given, jobs, done, stats, nodes).run(&items);
            // Whatever happened, the walk ends when nobody takes its items.
            self.stop.store(walked.is_err(), Ordering::Relaxed);
            drop(items);
            let failed = |_| Error::new(ErrorKind::Failed, "a reading thread failed");
            let readers: Result<Vec<()>> =
                readers.into_iter().map(|reader| reader.join().map_err(failed)?).collect();
            (walked, readers)
        });
        let walked = walked?;
        readers?;
        Ok(walked)
    }

    /// Sends the items of the source in batches, and at last the error that ended them, if one did.
    fn walk(&self, out: &Sender<Result<Vec<Item>>>) {
        if let Err(error) = self.walk_items(out) {
            let _ = out.send(Err(error));
        }
    }

    fn walk_items(&self, out: &Sender<Result<Vec<Item>>>) -> Result<()> {
        let mut source = (self.source.walk)()?;
        loop {
            self.progress.check()?;
            let mut batch = Vec::with_capacity(BATCH_ITEMS);
            let mut end = None;
            while end.is_none() && batch.len() < BATCH_ITEMS {
                match source.next() {
                    Ok(Some(item)) => batch.push(item),
                    Ok(None) => end = Some(Ok(())),
                    Err(error) => end = Some(Err(error)),
                }
            }
            self.progress.add_entries(batch.len() as u64);
            let is_taken = out.send(Ok(batch)).is_ok();
            if let Some(end) = end {
                return end;
            }
            if !is_taken {
                return Ok(());
            }
        }
    }
}
