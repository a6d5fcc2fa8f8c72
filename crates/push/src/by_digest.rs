//! A push to a store that is far away, where every look-up is a request.
//!
//! 1. *Hash.* The source becomes a manifest without times, in a temporary file. Nothing is looked up.
//! 2. *Compare* it with the parent by content digests, from the root down. Only subtrees of the
//!    parent that differ are read. Equal digests at the root end the push.
//! 3. *Edit* the parent by the differences. Only contents that the parent does not have at the same
//!    path are looked up. Those that the store does not have are read again, and written.
//!
//! So a new file is read twice, by a machine whose network is slower than its disk.

use crate::attempt::{Attempt, Made};
use crate::entry::{self, content_of, first_record};
use crate::faults::Faults;
use crate::file::{FileReader, ReaderThread, changing};
use crate::jobs::{JobThread, JobThreads, readers_failed};
use crate::nodes::Nodes;
use crate::outcome::{PushOutcome, Walked};
use crate::pipeline::Pipeline;
use crate::start::Parent;
use freestone_core::item::Content;
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, Id, Result, lock};
use freestone_manifest::{Change, Changes, Differences, Entry, Subtree, Times, Tree, edit};
use freestone_store::spool::{NodeSpool, SpooledNodes};
use freestone_store::write::{Writer, WriterOptions};
use freestone_store::{Index, Records, open_manifest};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Contents of one push that are remembered as given to the readers, so that copies are read once.
const GIVEN_MAX: usize = 1 << 18;

/// A file that is to be stored.
struct Job {
    path: Vec<u8>,
    content: Content,
}

/// Makes a manifest of the source, whose parent is `parent`.
///
/// # Errors
/// The source cannot be read, or the store not be written.
pub(crate) fn make(
    attempt: &Attempt<'_>,
    parent: &Parent,
    working: &mut Option<Box<dyn WorkingIndex>>,
) -> Result<Made> {
    let (mut walked, nodes) = hash(attempt, working)?;
    if walked.root.content_digest == parent.1.content_digest {
        let options = attempt.options;
        let is_done =
            options.dry_run || PushOutcome::of(options, Some(parent), &walked, false).up_to_date;
        if is_done {
            return Ok(Made { walked, writer: None });
        }
        let writer = attempt.writer()?;
        entry::check_all(&nodes, &walked.root.id, &writer.records().index)?;
        // The new revision gets the parent's root.
        open_manifest(writer.records().clone(), &parent.1)?;
        return Ok(Made { walked, writer: Some(writer) });
    }
    let writer = attempt.writer()?;
    entry::check_all(&nodes, &walked.root.id, &writer.records().index)?;
    let before = open_manifest(writer.records().clone(), &parent.1)?;
    let after = Tree::open(nodes, &walked.root.id)?;
    let storing = Storing {
        attempt,
        writer: &writer,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    match storing.run(&before, &after, &mut walked) {
        Ok(root) => {
            walked.root = root;
            walked.files_hashed = attempt.progress.files_hashed();
            walked.bytes_hashed = attempt.progress.bytes_hashed();
            Ok(Made { walked, writer: Some(writer) })
        }
        Err(error) => Err(writer.failure(error)),
    }
}

/// Hashes the source into a manifest without the times of any revision.
fn hash(
    attempt: &Attempt<'_>,
    working: &mut Option<Box<dyn WorkingIndex>>,
) -> Result<(Walked, SpooledNodes)> {
    // Compared with nothing, and written nowhere.
    let records =
        Records { index: Arc::new(Index::of(Vec::new())), packs: attempt.store.packs().clone() };
    let options = WriterOptions { dry_run: true, ..attempt.options.writer() };
    let writer = Writer::new(attempt.store, records, options);
    let pipeline = Pipeline {
        source: attempt.source,
        options: attempt.options,
        progress: attempt.progress,
        writer: &writer,
        parent: None,
        hash_only: true,
        stop: AtomicBool::new(false),
        faults: Faults::default(),
    };
    let (walked, nodes) = pipeline.run(working, NodeSpool::new()?)?;
    Ok((Walked { new: 0, ..walked }, nodes.finish()?))
}

/// The third step: the differences become entries of the new manifest, and their contents records.
struct Storing<'a> {
    attempt: &'a Attempt<'a>,
    writer: &'a Writer,
    /// Set when the push has failed.
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Storing<'_> {
    fn run(
        &self,
        before: &Tree<Records>,
        after: &Tree<SpooledNodes>,
        walked: &mut Walked,
    ) -> Result<Subtree> {
        let threads = self.attempt.options.thread_count();
        let edited = std::thread::scope(|scope| {
            let mut threads = JobThreads::start(scope, threads, |number| StoringThread {
                storing: self,
                thread: ReaderThread::new(number),
            });
            let mut edits = Edits {
                storing: self,
                differences: Differences::new(before, after, Times::Ignore),
                next: None,
                threads: &mut threads,
                given: HashSet::new(),
                walked,
            };
            let nodes = Nodes { writer: self.writer, parent: Some(before) };
            let edited = self.note(edit(Some(before), &mut edits, nodes));
            self.note(threads.end());
            edited
        });
        match lock(&self.failure).take() {
            Some(failure) => Err(failure),
            None => edited.map(|(root, _)| root).ok_or_else(readers_failed),
        }
    }

    /// Keeps the first failure, and stops the other threads.
    fn note<T>(&self, outcome: Result<T>) -> Option<T> {
        outcome
            .map_err(|error| {
                self.stop.store(true, Ordering::Relaxed);
                let mut failure = lock(&self.failure);
                failure.get_or_insert(error);
            })
            .ok()
    }
}

/// One of the threads that read files again and write their contents.
struct StoringThread<'a> {
    storing: &'a Storing<'a>,
    thread: ReaderThread,
}

impl JobThread<Job> for StoringThread<'_> {
    fn work(&mut self, job: Job) -> Result<()> {
        let attempt = self.storing.attempt;
        let mut reader = FileReader {
            opener: attempt.source.opener,
            writer: self.storing.writer,
            progress: attempt.progress,
            skips_removed: true,
            stop: &self.storing.stop,
            thread: &mut self.thread,
        };
        let is_stored = reader.read_again(&job.path, &job.content).and_then(|is_same| {
            if is_same {
                return Ok(());
            }
            attempt.moved.store(true, Ordering::Relaxed);
            Err(changing(&job.path))
        });
        self.storing.note(is_stored).ok_or_else(readers_failed)
    }

    fn finish(self) -> Result<()> {
        self.thread.finish(self.storing.writer)
    }
}

/// The differences as edits of the parent's manifest.
struct Edits<'a, 'scope, 'read> {
    storing: &'a Storing<'a>,
    differences: Differences<'a, Records, SpooledNodes>,
    next: Option<Change>,
    threads: &'a mut JobThreads<'scope, Job, StoringThread<'read>>,
    /// Contents that were given to the readers.
    given: HashSet<Id>,
    walked: &'a mut Walked,
}

impl<'scope, 'read: 'scope> Changes for Edits<'_, 'scope, 'read> {
    fn peek(&mut self) -> Result<Option<(&[u8], bool)>> {
        if self.next.is_none() {
            self.next = self.differences.next().transpose()?;
        }
        Ok(self.next.as_ref().map(|change| (change.path(), change.after.is_none())))
    }

    fn take(&mut self, before: Option<&Entry>) -> Result<Option<Entry>> {
        self.storing.attempt.progress.check()?;
        let after = self.next.take().and_then(|change| change.after);
        let Some(after) = after else {
            self.walked.gone += 1;
            return Ok(None);
        };
        match before {
            Some(_) => self.walked.changed += 1,
            None => self.walked.new += 1,
        }
        if let Some(content) = content_of(&after)
            && before.and_then(content_of) != Some(content)
        {
            self.store(&after.path, content)?;
        }
        let time = self.storing.attempt.options.time;
        Ok(Some(entry::timed(after, before, time, None)))
    }
}

impl<'scope, 'read: 'scope> Edits<'_, 'scope, 'read> {
    /// Has the content stored, unless the store has it.
    fn store(&mut self, path: &[u8], content: Content) -> Result<()> {
        let (kind, writer) = (first_record(content.size), self.storing.writer);
        if self.given.contains(&content.id) || writer.records().has(kind, &content.id)? {
            return Ok(());
        }
        if self.given.len() < GIVEN_MAX {
            self.given.insert(content.id);
        }
        if writer.only_counts(kind, content.id, content.size) {
            return Ok(());
        }
        let job = Job { path: path.to_vec(), content };
        self.threads.give(job)
    }
}
