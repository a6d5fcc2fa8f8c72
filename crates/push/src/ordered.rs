//! The ordered side of a push: items in the order of the walk become entries of the manifest.

use crate::entry::{self, content_of, first_record};
use crate::faults::Faults;
use crate::jobs::{JobThreads, readers_failed};
use crate::options::PushOptions;
use crate::outcome::Walked;
use crate::parent::ParentEntries;
use crate::progress::Progress;
use crate::readers::{Done, Job, Outcome, Reader};
use crossbeam_channel::Receiver;
use freestone_core::Result;
use freestone_core::item::{Content, FileStamp, Item, ItemKind};
use freestone_core::wire::to_usize;
use freestone_core::working::{KnownFile, WorkingIndex};
use freestone_manifest::{Builder, Entry, NodeSink, Tree};
use freestone_store::Records;
use std::collections::VecDeque;

/// Entries that wait for a file before them to be read, at most.
const WAITING_MAX: usize = 8192;
/// Files that are given to a reader together, by number or bytes: waking it costs as much as
/// reading a small file.
const JOBS_TOGETHER: usize = 32;
const JOB_BYTES_TOGETHER: u64 = 256 << 10;

/// An entry that waits for its turn.
struct Waiting {
    item: Item,
    parent: Option<Entry>,
    content: Option<Content>,
    /// Set while a reader has it.
    is_open: bool,
    /// Set if it is a file that was removed after it was listed.
    is_removed: bool,
}

#[derive(Default)]
struct Counts {
    changed: u64,
    new: u64,
    gone: u64,
}

/// What the ordered side is given.
pub(crate) struct Given<'a> {
    pub(crate) options: &'a PushOptions,
    pub(crate) progress: &'a Progress<'a>,
    pub(crate) faults: &'a Faults,
    /// The live set.
    pub(crate) records: &'a Records,
    pub(crate) parent: Option<&'a Tree<Records>>,
    /// Whether a content that the stat cache knows need not be in the store.
    pub(crate) hash_only: bool,
}

/// The readers of a push.
pub(crate) type ReaderThreads<'scope, 'a> = JobThreads<'scope, Vec<Job>, Reader<'a>>;

/// The ordered side of a push.
pub(crate) struct Ordered<'a, 'scope, 'read, W: NodeSink> {
    given: Given<'a>,
    readers: &'a mut ReaderThreads<'scope, 'read>,
    /// Files that are not yet given to a reader, and their bytes.
    together: Vec<Job>,
    together_bytes: u64,
    done: Receiver<Done>,
    /// The working index, if the source has a key in it.
    stats: Option<&'a mut Box<dyn WorkingIndex>>,
    builder: Builder<W>,
    waiting: VecDeque<Waiting>,
    /// The number of the first that waits.
    first: u64,
    /// How many are with the readers.
    open: usize,
    counts: Counts,
}

impl<'a, 'scope, 'read: 'scope, W: NodeSink> Ordered<'a, 'scope, 'read, W> {
    /// Returns the ordered side of a push whose `readers` answer to `done`. The nodes of the
    /// manifest go to `nodes`.
    pub(crate) fn new(
        given: Given<'a>,
        readers: &'a mut ReaderThreads<'scope, 'read>,
        done: Receiver<Done>,
        stats: Option<&'a mut Box<dyn WorkingIndex>>,
        nodes: W,
    ) -> Self {
        Self {
            given,
            readers,
            together: Vec::new(),
            together_bytes: 0,
            done,
            stats,
            builder: Builder::new(nodes),
            waiting: VecDeque::new(),
            first: 0,
            open: 0,
            counts: Counts::default(),
        }
    }

    /// Takes all items of the walk, and returns the manifest with the sink of its nodes.
    ///
    /// # Errors
    /// The source or the parent cannot be read, or the store not be written.
    pub(crate) fn run(
        mut self,
        items: impl Iterator<Item = Result<Vec<Item>>>,
    ) -> Result<(Walked, W)> {
        let mut parent = ParentEntries::new(self.given.parent)?;
        for batch in items {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    self.given.faults.take_end_of_walk(error)?;
                    break;
                }
            };
            for item in batch {
                while parent.take_before(Some(&item.path))?.is_some() {
                    self.counts.gone += 1;
                }
                let before = parent.take_at(&item.path)?;
                self.take(item, before)?;
            }
        }
        self.give_jobs()?;
        self.readers.close();
        while !self.waiting.is_empty() {
            self.settle(true)?;
        }
        if let Some(error) = self.given.faults.take_error() {
            return Err(error);
        }
        while parent.take_before(None)?.is_some() {
            self.counts.gone += 1;
        }
        if let Some(stats) = &mut self.stats {
            stats.remove_gone()?;
        }
        let (root, nodes) = self.builder.finish()?;
        let (Counts { changed, new, gone }, progress) = (self.counts, self.given.progress);
        let (files_hashed, bytes_hashed) = (progress.files_hashed(), progress.bytes_hashed());
        Ok((Walked { root, changed, new, gone, files_hashed, bytes_hashed }, nodes))
    }

    fn take(&mut self, item: Item, parent: Option<Entry>) -> Result<()> {
        let number = self.first + self.waiting.len() as u64;
        let known = match parent.as_ref().and_then(content_of) {
            Some(content) if self.is_listed(&content)? => Some(content),
            _ => None,
        };
        let mut waiting =
            Waiting { item, parent, content: None, is_open: false, is_removed: false };
        if let ItemKind::File { stamp, .. } = &waiting.item.kind {
            waiting.content = self.cached(&waiting.item.path, stamp, known.as_ref())?;
            if waiting.content.is_none() {
                waiting.is_open = true;
                self.open += 1;
                self.together_bytes = self.together_bytes.saturating_add(stamp.size);
                self.together.push(Job { number, path: waiting.item.path.clone(), known });
            }
        }
        self.waiting.push_back(waiting);
        if self.together.len() >= JOBS_TOGETHER || self.together_bytes >= JOB_BYTES_TOGETHER {
            self.give_jobs()?;
        }
        self.settle(false)?;
        while self.waiting.len() >= WAITING_MAX {
            self.settle(true)?;
        }
        Ok(())
    }

    fn give_jobs(&mut self) -> Result<()> {
        self.together_bytes = 0;
        let together = std::mem::take(&mut self.together);
        // The readers take jobs until there are no more, so this waits only for them.
        if together.is_empty() { Ok(()) } else { self.readers.give(together) }
    }

    /// Returns the content that the stat cache knows of a file, if the store has it.
    fn cached(
        &mut self,
        path: &[u8],
        stamp: &FileStamp,
        known: Option<&Content>,
    ) -> Result<Option<Content>> {
        let cached = match &mut self.stats {
            Some(stats) => stats.known(path)?,
            None => None,
        };
        let Some(cached) = cached else { return Ok(None) };
        if !cached.stamp.is_same_file(stamp) {
            return Ok(None);
        }
        let content = Content { size: stamp.size, sha1: cached.sha1, id: cached.content };
        if known == Some(&content) || self.given.hash_only {
            return Ok(Some(content));
        }
        let is_there = self.given.records.has(first_record(content.size), &content.id)?;
        Ok(is_there.then_some(content))
    }

    /// Returns true if the live index lists a content that the parent names. A parent is complete,
    /// so this is false only if packs were lost since; then the file is read and stored again.
    fn is_listed(&self, content: &Content) -> Result<bool> {
        let index = &self.given.records.index;
        index.find_to_rely(first_record(content.size), &content.id, &mut |_| Ok(true))
    }

    /// Takes files from the readers, and gives the manifest the entries whose turn it is. With
    /// `wait`, waits until the first can go.
    fn settle(&mut self, wait: bool) -> Result<()> {
        let mut wait = wait && self.waiting.front().is_some_and(|waiting| waiting.is_open);
        if wait {
            self.give_jobs()?;
        }
        while self.open > 0 {
            let done = if wait { self.done.recv().ok() } else { self.done.try_recv().ok() };
            let Some(done) = done else { break };
            for (number, outcome) in done {
                self.open -= 1;
                self.take_read(number, outcome?)?;
            }
            wait = wait && self.waiting.front().is_some_and(|waiting| waiting.is_open);
        }
        if wait {
            return Err(readers_failed());
        }
        while self.waiting.front().is_some_and(|waiting| !waiting.is_open) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.first += 1;
            self.emit(waiting)?;
        }
        Ok(())
    }

    /// Takes a file from a reader.
    fn take_read(&mut self, number: u64, outcome: Outcome) -> Result<()> {
        let Some(waiting) = self.waiting.get_mut(to_usize(number - self.first)) else {
            return Ok(());
        };
        waiting.is_open = false;
        waiting.is_removed = matches!(outcome, Outcome::Removed);
        let Outcome::Read(file) = outcome else { return Ok(()) };
        waiting.content = Some(file.content);
        if let (Some(stamp), Some(stats)) = (file.stamp, &mut self.stats) {
            let Content { sha1, id, .. } = file.content;
            let known = KnownFile { stamp, sha1, content: id };
            stats.remember(&waiting.item.path, &known)?;
        }
        Ok(())
    }

    fn emit(&mut self, waiting: Waiting) -> Result<()> {
        if self.given.faults.any() {
            return Ok(());
        }
        let (parent, options) = (waiting.parent.as_ref(), self.given.options);
        if waiting.is_removed {
            self.counts.gone += u64::from(parent.is_some());
            return Ok(());
        }
        let entry =
            entry::entry(waiting.item, waiting.content, parent, options.time, options.mtime);
        entry::check(&entry, &self.given.records.index)?;
        match parent {
            None => self.counts.new += 1,
            Some(parent) if !parent.same_but_for_time(&entry) => self.counts.changed += 1,
            Some(_) => {}
        }
        self.builder.push(entry)
    }
}
