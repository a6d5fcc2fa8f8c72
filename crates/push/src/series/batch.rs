//! Steps whose records go into the same packs, and the threads that read their files.

use super::items::{Beside, Counts, Incoming, content_of};
use super::nodes::{BatchNodes, Held, StepNodes};
use super::{Items, Step};
use crate::file::FileReader;
use crate::pipeline::{Walked, first_record};
use crate::push::{PushOptions, PushOutcome, PushProgress};
use freestone_core::item::{Content, FileOpener, OpenFile};
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::revision::Revision;
use freestone_manifest::{Tree, edit};
use freestone_store::Index;
use freestone_store::Records;
use freestone_store::Store;
use freestone_store::write::lane::Lane;
use freestone_store::write::writer::Session;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Revisions of a batch, and bytes read: what a killed series does again.
const REVISIONS_MAX: usize = 1024;
const BYTES_MAX: u64 = 64 << 20;
/// Names of bytes that are remembered within a batch.
const NAMES_MAX: usize = 1 << 16;
/// Files that are read by one thread: another one costs more to start than they do.
const FILES_ALONE: usize = 3;

/// Reads files by their names, each once.
pub(super) struct Readers {
    records: Records,
    session: Option<Arc<Session>>,
    options: PushOptions,
    lanes: Vec<(Option<Lane>, Vec<u8>)>,
    names: HashMap<Vec<u8>, Content>,
    /// What earlier pushes read, where a step tells all that there is.
    working: Option<Box<dyn WorkingIndex>>,
    /// Plain bytes that the store does not have, in a dry run.
    missing: u64,
}

/// An opener that tells its own refusals from those of who reads.
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
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        file.ok_or_else(|| {
            let path = freestone_core::path::display(path);
            Error::new(ErrorKind::Failed, format!("{path} has another length than was said"))
        })
    }
}

type Wanted = (Vec<u8>, Option<Content>);

impl Readers {
    /// The contents of files, in order; each with the content that the parent has there. An error
    /// of kind [`ErrorKind::Refused`] is the opener's.
    pub(super) fn read(
        &mut self,
        wanted: &[Wanted],
        opener: &dyn FileOpener,
        progress: &PushProgress,
    ) -> Result<Vec<Result<Content>>> {
        let mut outcome: Vec<Option<Result<Content>>> = Vec::with_capacity(wanted.len());
        let mut open = Vec::new();
        for (at, (name, _)) in wanted.iter().enumerate() {
            let known = self.known(name)?;
            if known.is_none() {
                open.push(at);
            }
            outcome.push(known.map(Ok));
        }
        let threads = self.options.threads.clamp(1, self.lanes.len());
        let threads = if open.len() <= FILES_ALONE { 1 } else { threads.min(open.len()) };
        let next = AtomicUsize::new(0);
        let done = Mutex::new(&mut outcome);
        let missing = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let read = |number: usize, (lane, buffer): &mut (Option<Lane>, Vec<u8>)| {
            let noted = Noted { opener, refused: AtomicBool::new(false) };
            let mut reader = FileReader {
                opener: &noted,
                records: &self.records,
                session: self.session.as_deref(),
                hash_only: false,
                progress,
                skips_removed: false,
                stop: &stop,
                name_hasher: self.options.name_hasher,
                buffer: std::mem::take(buffer),
                lane: lane.take(),
                lane_number: u8::try_from(number + 1).unwrap_or(u8::MAX - 2),
            };
            while let Some(at) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (name, before) = &wanted[*at];
                let content = match reader.read(name, before.as_ref()) {
                    Ok(Some(file)) => {
                        missing.fetch_add(file.missing, Ordering::Relaxed);
                        Ok(file.content)
                    }
                    Ok(None) => Err(Error::new(ErrorKind::Failed, "a file is gone")),
                    // A refusal of the store's, such as a SHA-1 of two contents, ends the push.
                    Err(error)
                        if error.kind() == ErrorKind::Refused
                            && !noted.refused.load(Ordering::Relaxed) =>
                    {
                        let what = error.to_string();
                        let hint = error.hint_text().unwrap_or_default().to_owned();
                        Err(Error::new(ErrorKind::Failed, what).hint(hint))
                    }
                    Err(error) => Err(error),
                };
                done.lock().unwrap_or_else(PoisonError::into_inner)[*at] = Some(content);
            }
            (*lane, *buffer) = (reader.lane, reader.buffer);
        };
        if threads == 1 {
            if let Some(lane) = self.lanes.first_mut() {
                read(0, lane);
            }
        } else {
            std::thread::scope(|scope| {
                let read = &read;
                for (number, lane) in self.lanes.iter_mut().take(threads).enumerate() {
                    scope.spawn(move || read(number, lane));
                }
            });
        }
        self.missing += missing.into_inner();
        for (at, (name, _)) in wanted.iter().enumerate() {
            if let Some(Ok(content)) = &outcome[at] {
                self.remember(name, *content)?;
            }
        }
        let failed = || Err(Error::new(ErrorKind::Failed, "a reading thread failed"));
        Ok(outcome.into_iter().map(|content| content.unwrap_or_else(failed)).collect())
    }

    /// The content of a file that is told by its path, which may name other bytes later.
    fn read_once(
        &mut self,
        wanted: &[Wanted; 1],
        opener: &dyn FileOpener,
        progress: &PushProgress,
    ) -> Result<Content> {
        let names = std::mem::take(&mut self.names);
        let working = self.working.take();
        let read = self.read(wanted, opener, progress);
        (self.names, self.working) = (names, working);
        read?.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Failed, "nothing was read")))
    }

    /// What is known of the bytes that `name` names, if the store has them.
    fn known(&mut self, name: &[u8]) -> Result<Option<Content>> {
        if let Some(content) = self.names.get(name) {
            return Ok(Some(*content));
        }
        let Some(working) = &mut self.working else { return Ok(None) };
        match working.named(name) {
            Some(content) if self.records.has(first_record(&content), &content.id)? => {
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
}

/// Steps that become durable together.
pub(super) struct Batch<'a> {
    store: &'a Store,
    options: &'a PushOptions,
    progress: &'a PushProgress,
    nodes: BatchNodes,
    readers: Readers,
    made: Vec<(Id, Revision)>,
    bytes_before: u64,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        store: &'a Store,
        options: &'a PushOptions,
        progress: &'a PushProgress,
    ) -> Result<Self> {
        // The live set is what is listed now.
        let index = Arc::new(Index::open(&**store.backend())?);
        let records = Records { index, packs: store.packs().clone() };
        let session = (!options.dry_run).then(|| {
            let backend = store.backend().clone();
            Arc::new(Session::new(backend, records.clone(), options.name_hasher, options.thorough))
        });
        let nodes = BatchNodes { records: records.clone(), held: Arc::default() };
        let readers = Readers {
            records,
            session,
            options: options.clone(),
            lanes: (0..options.threads.clamp(1, 200)).map(|_| (None, Vec::new())).collect(),
            names: HashMap::new(),
            working: None,
            missing: 0,
        };
        let bytes_before = progress.bytes_hashed.load(Ordering::Relaxed);
        Ok(Self { store, options, progress, nodes, readers, made: Vec::new(), bytes_before })
    }

    /// Whether it is time to finish it.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.progress.bytes_hashed.load(Ordering::Relaxed) - self.bytes_before;
        self.nodes.is_full() || self.made.len() >= REVISIONS_MAX || bytes >= BYTES_MAX
    }

    /// Makes the revision of a step.
    pub(super) fn add(
        &mut self,
        step: Step<'_>,
        parent: Option<&(Id, Revision)>,
    ) -> Result<PushOutcome> {
        let tree = match parent {
            Some((_, revision)) => Some(Tree::open(self.nodes.clone(), &revision.root)?),
            None => None,
        };
        let mut options = self.options.clone();
        (options.time, options.message) = (step.time, step.message);
        options.labels = step.labels;
        // A stream is read right below.
        let before = self.readers.missing;
        let hashed = self.progress.files_hashed.load(Ordering::Relaxed);
        let bytes_hashed = self.progress.bytes_hashed.load(Ordering::Relaxed);
        let (source, beside) = match step.items {
            Items::Changes(source) => (source, None),
            Items::All(source) => {
                self.open_working();
                (source, tree.as_ref().map(Beside::new).transpose()?)
            }
            Items::Stream(stream) => {
                while let Some((path, file)) = stream.next_file()? {
                    let before = match &tree {
                        Some(tree) => tree.get(&path)?.as_ref().and_then(content_of),
                        None => None,
                    };
                    let file = OneFile(Mutex::new(Some(file)));
                    let wanted = [(path, before)];
                    let read = self.readers.read_once(&wanted, &file, self.progress)?;
                    stream.stored(read)?;
                    self.progress.entries.fetch_add(1, Ordering::Relaxed);
                }
                (stream.sorted()?, tree.as_ref().map(Beside::new).transpose()?)
            }
        };
        let session = self.readers.session.clone();
        let held: Arc<Mutex<Held>> = self.nodes.held.clone();
        let mut incoming = Incoming {
            source,
            opener: step.opener,
            parent: tree.as_ref(),
            beside,
            readers: &mut self.readers,
            options: &options,
            progress: self.progress,
            ready: VecDeque::new(),
            ended: false,
            counts: Counts::default(),
            labels: std::collections::BTreeMap::new(),
        };
        let nodes = StepNodes { session: session.as_deref(), held: &held, parent: tree.as_ref() };
        let (root, _) = edit(tree.as_ref(), &mut incoming, nodes)?;
        let counts = std::mem::take(&mut incoming.counts);
        let labels = std::mem::take(&mut incoming.labels);
        drop(incoming);
        options.labels.extend(labels);
        let walked = Walked {
            root,
            changed: counts.changed,
            new: counts.new,
            gone: counts.gone,
            files_hashed: self.progress.files_hashed.load(Ordering::Relaxed) - hashed,
            bytes_hashed: self.progress.bytes_hashed.load(Ordering::Relaxed) - bytes_hashed,
            bytes_missing: self.readers.missing - before,
        };
        let is_open = self.readers.working.as_mut().is_some_and(|working| working.is_open());
        let outcome = crate::push::outcome(&options, parent, &walked, is_open);
        if !outcome.up_to_date {
            if let Some(fault) = outcome.revision.fault() {
                return Err(Error::new(ErrorKind::Usage, fault));
            }
            if let Some(session) = session {
                session.put_revision(outcome.id, &outcome.revision)?;
            }
            self.made.push((outcome.id, outcome.revision.clone()));
        }
        Ok(outcome)
    }

    /// Opens the working index, which takes longer than a small step; a first push has none.
    fn open_working(&mut self) {
        if self.readers.working.is_none() {
            self.readers.working = self.options.open_working(self.store);
        }
    }

    /// Makes packs, segments and revisions durable; gives the last revision, and the bytes that
    /// the store grew by.
    pub(super) fn finish(self, store: &Store) -> Result<(Option<Id>, u64)> {
        let Some(session) = self.readers.session.and_then(Arc::into_inner) else {
            return Ok((None, 0));
        };
        for (mut lane, _) in self.readers.lanes {
            if let Err(error) = session.seal(&mut lane) {
                return Err(session.failure(error));
            }
        }
        let written = session.counter();
        if self.made.is_empty() && written.records.load(Ordering::Relaxed) == 0 {
            return Ok((None, 0));
        }
        let mut working = self.readers.working;
        if let Some(working) = &mut working {
            working.close();
        }
        let finished = session.finish()?;
        // The others are its ancestors: they are found by the segment that lists them.
        if let Some((_, revision)) = self.made.last() {
            freestone_store::revisions::write_file(
                &**store.backend(),
                revision,
                &finished.locator,
            )?;
        }
        let last = self.made.last().map(|(id, _)| *id);
        Ok((last, written.bytes.load(Ordering::Relaxed)))
    }

    /// Gives up; tells what failed.
    pub(super) fn failure(self, error: Error) -> Error {
        match self.readers.session.and_then(Arc::into_inner) {
            Some(session) => session.failure(error),
            None => error,
        }
    }
}
