//! Steps whose records go into the same packs.

use super::items::{Incoming, IncomingOptions};
use super::nodes::{BatchNodes, StepNodes};
use super::readers::SeriesReaders;
use super::step::{Items, Step};
use crate::entry::content_of;
use crate::options::PushOptions;
use crate::outcome::{PushOutcome, Walked};
use crate::progress::Progress;
use crate::start::Parent;
use freestone_core::item::{ChangeSource, StreamSource};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::revision::Revision;
use freestone_manifest::{Tree, edit};
use freestone_store::write::{Writer, live_set};
use freestone_store::{Index, Store, open_manifest};
use std::sync::Arc;

/// The most revisions of a batch: what a series that was killed repeats.
const REVISIONS_MAX: usize = 1024;
/// The bytes that a batch reads before it ends: what a series that was killed repeats.
const BYTES_MAX: u64 = 64 << 20;

/// Steps that become durable together.
pub(super) struct Batch<'a> {
    store: &'a Store,
    options: &'a PushOptions,
    progress: &'a Progress<'a>,
    writer: Writer,
    nodes: BatchNodes,
    readers: SeriesReaders,
    /// The revision that was made last.
    last: Option<(Id, Revision)>,
    made: usize,
    bytes_before: u64,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        store: &'a Store,
        options: &'a PushOptions,
        progress: &'a Progress<'a>,
    ) -> Result<Self> {
        let records = live_set(store)?;
        // Subtrees that did not change are used without being read.
        records.index.check_whole()?;
        let writer = Writer::new(store, records, options.writer());
        Ok(Self {
            store,
            options,
            progress,
            nodes: BatchNodes::new(writer.records().clone()),
            writer,
            readers: SeriesReaders::new(options),
            last: None,
            made: 0,
            bytes_before: progress.bytes_hashed(),
        })
    }

    /// Returns true if it is time to finish it.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.progress.bytes_hashed() - self.bytes_before;
        self.nodes.is_full() || self.made >= REVISIONS_MAX || bytes >= BYTES_MAX
    }

    /// Makes the revision of a step.
    ///
    /// # Errors
    /// The step cannot be read or become a revision, or the store not be written.
    pub(super) fn add(&mut self, step: Step<'_>, parent: Option<&Parent>) -> Result<PushOutcome> {
        let tree = match parent {
            Some((_, revision)) => Some(open_manifest(self.nodes.clone(), revision)?),
            None => None,
        };
        let (files, bytes) = (self.progress.files_hashed(), self.progress.bytes_hashed());
        let (source, is_all) = self.source(step.items, tree.as_ref())?;
        let options = IncomingOptions {
            opener: step.opener,
            time: step.time,
            mtime: self.options.mtime,
            is_all,
        };
        let mut incoming = Incoming::new(
            source,
            tree.as_ref(),
            options,
            &mut self.readers,
            &self.writer,
            self.progress,
        )?;
        let nodes = StepNodes::new(&self.writer, tree.as_ref(), &self.nodes);
        let (root, _) = edit(tree.as_ref(), &mut incoming, nodes)?;
        let (counts, labels) = incoming.finish();
        let walked = Walked {
            root,
            changed: counts.changed,
            new: counts.new,
            gone: counts.gone,
            files_hashed: self.progress.files_hashed() - files,
            bytes_hashed: self.progress.bytes_hashed() - bytes,
        };
        let mut options = self.options.clone();
        (options.time, options.message, options.labels) = (step.time, step.message, step.labels);
        options.labels.extend(labels);
        let outcome = PushOutcome::of(&options, parent, &walked, self.readers.uses_working());
        if !outcome.up_to_date {
            if let Some(fault) = outcome.revision.fault() {
                return Err(Error::new(ErrorKind::Usage, fault));
            }
            self.writer.put_revision(outcome.id, &outcome.revision)?;
            self.last = Some((outcome.id, outcome.revision.clone()));
            self.made += 1;
        }
        Ok(outcome)
    }

    /// Returns the source of a step in order, and whether it yields all entries.
    fn source<'b>(
        &mut self,
        items: Items<'b>,
        parent: Option<&Tree<BatchNodes>>,
    ) -> Result<(Box<dyn ChangeSource + 'b>, bool)> {
        match items {
            Items::Changes(source) => Ok((source, false)),
            Items::All(source) => {
                self.readers.open_working(self.options, self.store);
                Ok((source, true))
            }
            Items::Stream(stream) => {
                self.read_stream(stream, parent)?;
                Ok((stream.sorted()?, true))
            }
        }
    }

    /// Stores the files of a stream in the order in which they come.
    fn read_stream(
        &mut self,
        stream: &mut dyn StreamSource,
        parent: Option<&Tree<BatchNodes>>,
    ) -> Result<()> {
        while let Some((path, file)) = stream.next_file()? {
            let before = match parent {
                Some(tree) => tree.get(&path)?.as_ref().and_then(content_of),
                None => None,
            };
            let wanted = (path, before);
            let read = self.readers.read_once(wanted, file, &self.writer, self.progress)?;
            stream.stored(read)?;
            self.progress.add_entries(1);
        }
        Ok(())
    }

    /// Returns the index that knows what the steps depend on.
    pub(super) fn index(&self) -> Arc<Index> {
        self.writer.records().index.clone()
    }

    /// Returns true if nothing is written.
    pub(super) fn is_dry_run(&self) -> bool {
        self.options.dry_run
    }

    /// Makes packs, segments and the last revision durable. Returns the last revision, and the bytes
    /// that the store grew by.
    ///
    /// # Errors
    /// Writing failed.
    pub(super) fn finish(self) -> Result<(Option<Parent>, u64)> {
        if let Err(error) = self.readers.finish(&self.writer) {
            return Err(self.writer.failure(error));
        }
        if self.made == 0 && self.writer.record_count() == 0 {
            return Ok((None, 0));
        }
        // The other revisions are its ancestors: they are found by the segment that lists them.
        let revision = self.last.as_ref().map(|(_, revision)| revision);
        let bytes = self.writer.finish(revision)?;
        Ok((self.last, bytes))
    }

    /// Gives up after `error`, and returns what failed.
    pub(super) fn failure(self, error: Error) -> Error {
        self.writer.failure(error)
    }
}
