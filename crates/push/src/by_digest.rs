//! A push to a store that is not at hand, where every look-up is a request.
//!
//! 1. *Hash.* The source becomes a manifest without times, in a spool. Nothing is looked up.
//! 2. *Compare* it with the parent by content digests, from the root down: only those subtrees of
//!    the parent are read that differ. Equal digests at the root end the push.
//! 3. *Edit* the parent by the differences. Only contents that the parent has not at the same path
//!    are looked up; those that the store lacks are read again, and written.
//!
//! So a file that is new is read twice, by a machine whose network is slower than its disk.

use crate::derive::{self, Content};
use crate::file::{self, FileReader};
use crate::pipeline::{self, Nodes, Pipeline, Walked, content_of, first_record};
use crate::push::{Attempt, Made, Start};
use crossbeam_channel::{Receiver, Sender, bounded};
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, Id, Result};
use freestone_format::revision::Revision;
use freestone_manifest::{Change, Changes, Differences, Entry, Subtree, Times, Tree, edit};
use freestone_store::Index;
use freestone_store::Records;
use freestone_store::spool::{NodeSpool, SpooledNodes};
use freestone_store::write::writer::Session;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Contents of one push that are remembered as given to the readers, so that copies are read once.
const GIVEN_MAX: usize = 1 << 18;

/// A file that is to be stored.
struct Job {
    path: Vec<u8>,
    content: Content,
}

impl Attempt<'_> {
    /// What to make of the source, given that the parent is `parent`.
    pub(crate) fn by_digest(
        &self,
        start: &Start,
        parent: &Revision,
        working: &mut Option<Box<dyn WorkingIndex>>,
    ) -> Result<Made> {
        let (mut walked, nodes) = self.hash(working)?;
        if walked.root.content_digest == parent.content_digest {
            let parent = start.parent.as_ref();
            let is_done = self.options.dry_run
                || crate::push::outcome(self.options, parent, &walked, false).up_to_date;
            if is_done {
                return Ok(Made { walked, session: None, index: None });
            }
            let records = self.live()?;
            let session = self.session(&records);
            return Ok(Made { walked, session, index: Some(records.index) });
        }
        let records = self.live()?;
        let before = Tree::open(records.clone(), &parent.root)?;
        let after = Tree::open(nodes, &walked.root.id)?;
        let session = self.session(&records);
        let storing = Storing {
            attempt: self,
            records: &records,
            session: session.as_ref(),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        match storing.run(&before, &after, &mut walked) {
            Ok(root) => {
                walked.root = root;
                walked.files_hashed = self.progress.files_hashed.load(Ordering::Relaxed);
                walked.bytes_hashed = self.progress.bytes_hashed.load(Ordering::Relaxed);
                Ok(Made { walked, session, index: Some(records.index) })
            }
            Err(error) => Err(match session {
                Some(session) => session.failure(error),
                None => error,
            }),
        }
    }

    /// Hashes the source; its manifest has the times of no revision.
    fn hash(&self, working: &mut Option<Box<dyn WorkingIndex>>) -> Result<(Walked, SpooledNodes)> {
        let nothing = Index::of(Vec::new());
        let run = Pipeline {
            source: self.source,
            options: self.options,
            progress: self.progress,
            records: &Records { index: Arc::new(nothing), packs: self.store.packs().clone() },
            session: None,
            parent: None,
            hash_only: true,
            stop: AtomicBool::new(false),
            faults: pipeline::Faults::default(),
        };
        let (walked, nodes) = run.run(working, NodeSpool::new()?)?;
        Ok((Walked { new: 0, ..walked }, nodes.finish()?))
    }
}

/// The differences become entries of the new manifest, and their contents records.
struct Storing<'a> {
    attempt: &'a Attempt<'a>,
    records: &'a Records,
    session: Option<&'a Session>,
    /// Set when the push has failed, and by what.
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
        let threads = self.attempt.options.threads.clamp(1, 200);
        let (jobs, jobs_out) = bounded(2 * threads);
        let edited = std::thread::scope(|scope| {
            for number in 0..threads {
                let jobs = jobs_out.clone();
                scope.spawn(move || {
                    // A panic must not leave the other side waiting.
                    let store = || self.store_files(number, &jobs);
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(store));
                    self.note(outcome.unwrap_or_else(|_| Err(pipeline::readers_failed())))
                });
            }
            drop(jobs_out);
            let mut edits = Edits {
                storing: self,
                differences: Differences::new(before, after, Times::Ignore),
                next: None,
                jobs,
                given: HashSet::new(),
                walked,
            };
            self.note(edit(
                Some(before),
                &mut edits,
                Nodes { session: self.session, parent: Some(before) },
            ))
        });
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure),
            None => edited.map(|(root, _)| root).ok_or_else(pipeline::readers_failed),
        }
    }

    /// Keeps the first failure, and stops who is still at work.
    fn note<T>(&self, outcome: Result<T>) -> Option<T> {
        outcome
            .map_err(|error| {
                self.stop.store(true, Ordering::Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
            })
            .ok()
    }

    /// Reads files again and writes their contents.
    fn store_files(&self, number: usize, jobs: &Receiver<Job>) -> Result<()> {
        let mut reader = FileReader {
            opener: self.attempt.source.opener,
            records: self.records,
            session: self.session,
            hash_only: false,
            progress: self.attempt.progress,
            skips_removed: true,
            stop: &self.stop,
            name_hasher: self.attempt.options.name_hasher,
            buffer: Vec::new(),
            lane: None,
            lane_number: u8::try_from(number + 1).unwrap_or(u8::MAX - 2),
        };
        for job in jobs {
            if !reader.read_again(&job.path, &job.content)? {
                self.attempt.moved.store(true, Ordering::Relaxed);
                return Err(file::changing(&job.path));
            }
        }
        match self.session {
            Some(session) => session.seal(&mut reader.lane),
            None => Ok(()),
        }
    }
}

/// The differences as edits of the parent's manifest.
struct Edits<'a> {
    storing: &'a Storing<'a>,
    differences: Differences<'a, Records, SpooledNodes>,
    next: Option<Change>,
    jobs: Sender<Job>,
    /// Contents that were given to the readers.
    given: HashSet<Id>,
    walked: &'a mut Walked,
}

impl Changes for Edits<'_> {
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
        Ok(Some(derive::timed(after, before, time, None)))
    }
}

impl Edits<'_> {
    /// Has the content stored, unless the store has it.
    fn store(&mut self, path: &[u8], content: Content) -> Result<()> {
        if self.given.contains(&content.id)
            || self.storing.records.has(first_record(&content), &content.id)?
        {
            return Ok(());
        }
        if self.given.len() < GIVEN_MAX {
            self.given.insert(content.id);
        }
        if self.storing.session.is_none() {
            self.walked.bytes_missing += content.size;
            return Ok(());
        }
        let job = Job { path: path.to_vec(), content };
        self.jobs.send(job).map_err(|_| pipeline::readers_failed())
    }
}
