//! The walk of a push: items in order on one side, files read by many threads on the other.
//!
//! One thread walks the source. This thread takes the items in order, compares each with the
//! parent's entry of the same path and with the stat cache, and gives files that have to be read
//! to the readers; entries go to the manifest in the order of the walk, each as soon as its
//! content is known.
//!
//! What cannot be read ends the push, but not at once: all of it is told together. From the first on
//! the readers only open files, and no more entries are made.

use crate::derive::{self, Content};
use crate::file::{FileReader, ReadFile};
use crate::push::{PushOptions, PushProgress, Source};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use freestone_core::item::{FileStamp, Item, ItemKind};
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::NodeKind;
use freestone_core::working::{KnownFile, WorkingIndex};
use freestone_core::{Error, ErrorKind, Id, Result, Unreadable, path};
use freestone_format::record::RecordKind;
use freestone_manifest::{Builder, Cursor, Entry, EntryKind, NodeSink, Subtree, Tree};
use freestone_store::Records;
use freestone_store::write::writer::Session;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries that wait for a file before them to be read.
const WAITING_MAX: usize = 8192;
/// Items that the walk is ahead.
const BATCH_ITEMS: usize = 256;
const BATCHES_AHEAD: usize = 8;
/// Files that are given to a reader together, by number or bytes: waking it costs as much as
/// reading a small file.
const JOBS_TOGETHER: usize = 32;
const JOB_BYTES_TOGETHER: u64 = 256 << 10;

/// What a walk found and made.
pub(crate) struct Walked {
    pub(crate) root: Subtree,
    pub(crate) changed: u64,
    pub(crate) new: u64,
    pub(crate) gone: u64,
    pub(crate) files_hashed: u64,
    pub(crate) bytes_hashed: u64,
    /// Plain bytes of contents that the store does not have, in a dry run.
    pub(crate) bytes_missing: u64,
}

pub(crate) struct Pipeline<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) options: &'a PushOptions,
    pub(crate) progress: &'a PushProgress,
    pub(crate) records: &'a Records,
    pub(crate) session: Option<&'a Session>,
    pub(crate) parent: Option<&'a Tree<Records>>,
    /// Whether to look nothing up: what the store has is asked later, of what differs.
    pub(crate) hash_only: bool,
    /// Set when the push has failed, so that the readers do not finish what they are at.
    pub(crate) stop: AtomicBool,
    pub(crate) faults: Faults,
}

struct Job {
    number: u64,
    path: Vec<u8>,
    known: Option<Content>,
}

/// What became of a file that a reader was given.
enum Outcome {
    Read(ReadFile),
    /// It was removed after it was listed.
    Removed,
    /// It cannot be read, which is among the faults.
    Unreadable,
}

/// What became of files, by number.
type Done = Vec<(u64, Result<Outcome>)>;

/// What cannot be read, as it is found.
#[derive(Default)]
pub(crate) struct Faults {
    list: Mutex<Unreadable>,
    any: AtomicBool,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Unreadable> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is something, so that no revision will come of this.
    fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// `None` where an error is about one path; any other error is given back.
    fn sift<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
        outcome.map(Some).or_else(|error| {
            self.lock().collect(error)?;
            self.any.store(true, Ordering::Relaxed);
            Ok(None)
        })
    }

    /// Takes the error that the walk ended with; gives it back if nothing else is worth looking for.
    fn take_end_of_walk(&self, error: Error) -> Result<()> {
        match self.sift::<()>(Err(error)) {
            Err(error) if error.kind() == ErrorKind::Refused => self.lock().set_beside(error),
            sifted => _ = sifted?,
        }
        self.any.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn error(&self) -> Option<Error> {
        std::mem::take(&mut *self.lock()).into_error()
    }
}

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

/// Takes the manifest's nodes: writes them, or forgets them in a dry run.
pub(crate) struct Nodes<'a> {
    pub(crate) session: Option<&'a Session>,
    pub(crate) parent: Option<&'a Tree<Records>>,
}

impl NodeSink for Nodes<'_> {
    fn put(&mut self, kind: NodeKind, id: Id, bytes: &[u8]) -> Result<()> {
        let Some(session) = self.session else { return Ok(()) };
        let mut before = || match self.parent {
            Some(parent) => parent.node_at_position_of(bytes),
            None => Ok(None),
        };
        session.put_node_over(RecordKind::from(kind), id, bytes, &mut before)
    }
}

/// The parent's entries, in step with the walk.
struct Parent<'a> {
    cursor: Option<Cursor<'a, Records>>,
    next: Option<Entry>,
    gone: u64,
}

impl<'a> Parent<'a> {
    fn new(tree: Option<&'a Tree<Records>>) -> Result<Self> {
        let mut parent = Self { cursor: tree.map(Tree::cursor), next: None, gone: 0 };
        parent.advance()?;
        Ok(parent)
    }

    fn advance(&mut self) -> Result<()> {
        self.next = match &mut self.cursor {
            Some(cursor) => cursor.next()?.cloned(),
            None => None,
        };
        Ok(())
    }

    /// The entry at `path`; those before it are gone.
    fn at(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        while let Some(entry) = &self.next {
            match path::compare(&entry.path, path) {
                std::cmp::Ordering::Less => {
                    self.gone += 1;
                    self.advance()?;
                }
                std::cmp::Ordering::Equal => {
                    let entry = self.next.take();
                    self.advance()?;
                    return Ok(entry);
                }
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    fn finish(mut self) -> Result<u64> {
        while self.next.is_some() {
            self.gone += 1;
            self.advance()?;
        }
        Ok(self.gone)
    }
}

/// The kind of the record that a content is found by.
pub(crate) fn first_record(content: &Content) -> RecordKind {
    match content.size {
        0..=CONTENT_WHOLE_BYTES_MAX => RecordKind::Chunk,
        _ => RecordKind::ContentRecord,
    }
}

pub(crate) fn content_of(entry: &Entry) -> Option<Content> {
    match entry.kind {
        EntryKind::File { size, sha1, content, .. } => Some(Content { size, sha1, id: content }),
        EntryKind::Directory => None,
    }
}

impl Pipeline<'_> {
    /// Walks the source to its end and builds the manifest, whose nodes go to `nodes`.
    pub(crate) fn run<W: NodeSink>(
        &self,
        working: &mut Option<Box<dyn WorkingIndex>>,
        nodes: W,
    ) -> Result<(Walked, W)> {
        let (items_in, items) = bounded(BATCHES_AHEAD);
        let (jobs, jobs_out) = bounded::<Vec<Job>>(2 * self.options.threads.max(1));
        let (done_in, done) = unbounded::<Done>();
        let (walked, readers) = std::thread::scope(|scope| {
            scope.spawn(move || self.walk(&items_in));
            let readers: Vec<_> = (0..self.options.threads.clamp(1, 200))
                .map(|number| {
                    let (jobs, done) = (jobs_out.clone(), done_in.clone());
                    scope.spawn(move || self.read_files(number, &jobs, &done))
                })
                .collect();
            drop((jobs_out, done_in));
            let stats = working.as_mut().zip(self.source.key.as_deref()).map(|(working, key)| {
                working.begin(key);
                working
            });
            let walked = Merge {
                pipeline: self,
                jobs: Some(jobs),
                together: Vec::new(),
                together_bytes: 0,
                done,
                stats,
                builder: Builder::new(nodes),
                waiting: VecDeque::new(),
                first: 0,
                open: 0,
                walked: Counts::default(),
            }
            .run(&items);
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

    fn walk(&self, out: &Sender<Result<Vec<Item>>>) {
        let walk = || -> Result<()> {
            let mut source = (self.source.walk)()?;
            loop {
                self.progress.check()?;
                let mut batch = Vec::with_capacity(BATCH_ITEMS);
                while batch.len() < BATCH_ITEMS {
                    match source.next() {
                        Ok(Some(item)) => batch.push(item),
                        Ok(None) => {
                            self.count(&batch);
                            let _ = out.send(Ok(batch));
                            return Ok(());
                        }
                        Err(error) => {
                            self.count(&batch);
                            let _ = out.send(Ok(batch));
                            return Err(error);
                        }
                    }
                }
                self.count(&batch);
                if out.send(Ok(batch)).is_err() {
                    return Ok(());
                }
            }
        };
        if let Err(error) = walk() {
            let _ = out.send(Err(error));
        }
    }

    fn count(&self, batch: &[Item]) {
        self.progress.entries.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }

    fn read_files(
        &self,
        number: usize,
        jobs: &Receiver<Vec<Job>>,
        done: &Sender<Done>,
    ) -> Result<()> {
        let mut reader = FileReader {
            opener: self.source.opener,
            records: self.records,
            session: self.session,
            hash_only: self.hash_only,
            progress: self.progress,
            skips_removed: true,
            stop: &self.stop,
            name_hasher: self.options.name_hasher,
            buffer: Vec::new(),
            lane: None,
            lane_number: u8::try_from(number + 1).unwrap_or(u8::MAX - 2),
        };
        for jobs in jobs {
            let mut read = |job: Job| {
                // A panic must not leave the other side waiting for this file.
                let read = || self.read_file(&mut reader, &job);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
                (job.number, outcome.unwrap_or_else(|_| Err(readers_failed())))
            };
            if done.send(jobs.into_iter().map(&mut read).collect()).is_err() {
                break;
            }
        }
        match self.session {
            Some(session) => session.seal(&mut reader.lane),
            None => Ok(()),
        }
    }
}

impl Pipeline<'_> {
    fn read_file(&self, reader: &mut FileReader<'_>, job: &Job) -> Result<Outcome> {
        if self.faults.any() {
            self.progress.check()?;
            match self.source.opener.open(&job.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => _ = self.faults.sift(opened)?,
            }
            return Ok(Outcome::Unreadable);
        }
        let read = self.faults.sift(reader.read(&job.path, job.known.as_ref()))?;
        Ok(match read {
            Some(Some(file)) => Outcome::Read(file),
            Some(None) => Outcome::Removed,
            None => Outcome::Unreadable,
        })
    }
}

pub(crate) fn readers_failed() -> Error {
    Error::new(ErrorKind::Failed, "the reading threads failed")
}

#[derive(Default)]
struct Counts {
    changed: u64,
    new: u64,
    /// Entries of the parent whose files were removed during the walk.
    gone: u64,
    missing: u64,
}

/// The ordered side.
struct Merge<'a, 'w, W: NodeSink> {
    pipeline: &'a Pipeline<'a>,
    jobs: Option<Sender<Vec<Job>>>,
    /// Files that are yet to be given to a reader, and their bytes.
    together: Vec<Job>,
    together_bytes: u64,
    done: Receiver<Done>,
    /// The working index, where the source has a name in it.
    stats: Option<&'w mut Box<dyn WorkingIndex>>,
    builder: Builder<W>,
    waiting: VecDeque<Waiting>,
    /// The number of the first that waits.
    first: u64,
    /// How many are with the readers.
    open: usize,
    walked: Counts,
}

impl<W: NodeSink> Merge<'_, '_, W> {
    fn run(mut self, items: &Receiver<Result<Vec<Item>>>) -> Result<(Walked, W)> {
        let mut parent = Parent::new(self.pipeline.parent)?;
        for batch in items {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    self.pipeline.faults.take_end_of_walk(error)?;
                    break;
                }
            };
            for item in batch {
                let before = parent.at(&item.path)?;
                self.take(item, before)?;
            }
        }
        self.give_jobs()?;
        self.jobs = None;
        while !self.waiting.is_empty() {
            self.settle(true)?;
        }
        if let Some(error) = self.pipeline.faults.error() {
            return Err(error);
        }
        let gone = parent.finish()? + self.walked.gone;
        if let Some(stats) = &mut self.stats {
            stats.remove_gone()?;
        }
        let (root, nodes) = self.builder.finish()?;
        let progress = self.pipeline.progress;
        let walked = Walked {
            root,
            changed: self.walked.changed,
            new: self.walked.new,
            gone,
            files_hashed: progress.files_hashed.load(Ordering::Relaxed),
            bytes_hashed: progress.bytes_hashed.load(Ordering::Relaxed),
            bytes_missing: self.walked.missing,
        };
        Ok((walked, nodes))
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
        match &self.jobs {
            // The readers take jobs until the channel is closed, so this waits only for them.
            Some(jobs) if !together.is_empty() => jobs.send(together).map_err(|_| readers_failed()),
            _ => Ok(()),
        }
    }

    /// What the stat cache knows of a file, if the store has it.
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
        if known == Some(&content) || self.pipeline.hash_only {
            return Ok(Some(content));
        }
        let there = self.pipeline.records.has(first_record(&content), &content.id)?;
        Ok(there.then_some(content))
    }

    /// Whether the live index lists a content that the parent names. A parent is complete, so this
    /// fails only where packs were lost since; then the file is read and stored again.
    fn is_listed(&self, content: &Content) -> Result<bool> {
        let index = &self.pipeline.records.index;
        index.find(first_record(content), &content.id, &mut |_| Ok(true))
    }

    /// Takes what the readers have done, and gives the manifest the entries whose turn it is; with
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
                self.done(number, outcome?)?;
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

    fn done(&mut self, number: u64, outcome: Outcome) -> Result<()> {
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        let Some(waiting) = self.waiting.get_mut(at) else { return Ok(()) };
        waiting.is_open = false;
        waiting.is_removed = matches!(outcome, Outcome::Removed);
        let Outcome::Read(file) = outcome else { return Ok(()) };
        self.walked.missing += file.missing;
        waiting.content = Some(file.content);
        if let (Some(stamp), Some(stats)) = (file.stamp, &mut self.stats) {
            let Content { sha1, id, .. } = file.content;
            let known = KnownFile { stamp, sha1, content: id };
            stats.remember(&waiting.item.path, &known)?;
        }
        Ok(())
    }

    fn emit(&mut self, waiting: Waiting) -> Result<()> {
        if self.pipeline.faults.any() {
            return Ok(());
        }
        let options = self.pipeline.options;
        let parent = waiting.parent.as_ref();
        if waiting.is_removed {
            self.walked.gone += u64::from(parent.is_some());
            return Ok(());
        }
        let entry =
            derive::entry(waiting.item, waiting.content, parent, options.time, options.mtime);
        match parent {
            None => self.walked.new += 1,
            Some(parent) if !parent.same_but_for_time(&entry) => self.walked.changed += 1,
            Some(_) => {}
        }
        self.builder.push(entry)
    }
}
