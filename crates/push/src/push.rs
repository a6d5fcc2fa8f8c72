//! A push: a source becomes a revision, and a ref names it.
//!
//! The order of what becomes durable: packs, index segments, the revision's file, the ref's entry.
//! Until the last, nothing that was there before has changed, and after it all is there.

use crate::pipeline;
use freestone_core::digest::{NewNameHasher, sha1_hasher};
use freestone_core::item::{FileOpener, ItemSource};
use freestone_core::working::WorkingIndex;
use freestone_core::{Error, ErrorKind, Id, Measure, Result};
use freestone_format::header::StoreId;
use freestone_format::ref_entry::{RefAction, RefEntry, check_name};
use freestone_format::revision::Revision;
use freestone_manifest::Subtree;
use freestone_store::Index;
use freestone_store::Records;
use freestone_store::write::writer::Session;
use freestone_store::{Expect, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often a push that lost its ref to another goes on from the new value.
pub(crate) const RETRIES_MAX: usize = 50;
/// How often a push begins again because files changed between being hashed and being stored.
const MOVED_MAX: usize = 3;

/// What is pushed.
pub struct Source<'a> {
    /// Starts a walk over the items; called again when a push has to start again.
    pub walk: &'a (dyn Fn() -> Result<Box<dyn ItemSource>> + Sync),
    /// Opens the files.
    pub opener: &'a dyn FileOpener,
    /// What tells this source from others, for the stat cache; `None` does without.
    pub key: Option<Vec<u8>>,
}

/// Opens the working index of the store in a directory, which has this id.
pub type OpenWorkingIndex = fn(&Path, &StoreId) -> Box<dyn WorkingIndex>;

/// How a push is made.
#[derive(Clone)]
pub struct PushOptions {
    /// The ref that is to name the revision; `None` for none.
    pub ref_name: Option<String>,
    /// The parent where the ref names none.
    pub parent: Option<Id>,
    /// What the ref must be.
    pub expect: Expect,
    /// Whether to go on from what another pusher made of the ref.
    pub retry: bool,
    /// What to say of the revision.
    pub message: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When the revision is made: seconds since 1970.
    pub time: i64,
    /// A time that all entries get, in place of content-stable ones.
    pub mtime: Option<i64>,
    /// Whether to write nothing.
    pub dry_run: bool,
    /// Whether what is written is made as small as it gets at once, for a series that is long: it takes
    /// about ten times as long as storing it takes else.
    pub thorough: bool,
    /// Opens the working index; `None` for a push that remembers nothing and hashes every file.
    pub working: Option<OpenWorkingIndex>,
    /// Threads that read and hash files.
    pub threads: usize,
    /// What names contents. Only tests want another than SHA-1.
    pub name_hasher: NewNameHasher,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            ref_name: Some("main".into()),
            parent: None,
            expect: Expect::Any,
            retry: false,
            message: None,
            labels: BTreeMap::new(),
            time: freestone_backend::clock::now(),
            mtime: None,
            dry_run: false,
            thorough: false,
            working: None,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            name_hasher: sha1_hasher,
        }
    }
}

impl PushOptions {
    /// Opens the working index of `store`: there is one where the store is a directory and the push
    /// writes to it.
    pub(crate) fn open_working(&self, store: &Store) -> Option<Box<dyn WorkingIndex>> {
        let open = self.working.filter(|_| !self.dry_run)?;
        store.root().map(|root| open(root, &store.id()))
    }
}

/// How far a push has come; read by another thread.
#[derive(Default)]
pub struct PushProgress {
    /// Entries walked.
    pub entries: AtomicU64,
    /// Files read and hashed.
    pub files_hashed: AtomicU64,
    /// Bytes read and hashed.
    pub bytes_hashed: AtomicU64,
    /// Set to stop the push.
    pub cancel: AtomicBool,
}

impl PushProgress {
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "interrupted"));
        }
        Ok(())
    }
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct PushOutcome {
    /// The revision; in a dry run the one that would have been made.
    pub id: Id,
    /// The revision's record.
    pub revision: Revision,
    /// Whether there was nothing new, so that the revision is the parent.
    pub up_to_date: bool,
    /// The ref's new entry, if one was made.
    pub ref_entry: Option<RefEntry>,
    /// Entries that differ from the parent's of the same path.
    pub changed: u64,
    /// Entries that the parent does not have.
    pub new: u64,
    /// Entries that only the parent has.
    pub gone: u64,
    /// Files that were read and hashed.
    pub files_hashed: u64,
    /// Bytes that were read and hashed.
    pub bytes_hashed: u64,
    /// Bytes that the store grew by: packs, segments, revision and ref entry. In a dry run, plain
    /// bytes of contents that the store does not have.
    pub bytes_stored: u64,
    /// Whether the stat cache was used; it is not while another process uses it.
    pub stat_cache: bool,
    /// Whether the manifest holds what tar cannot express.
    pub inexpressible: bool,
}

/// Pushes a source to `store`.
///
/// # Errors
/// [`ErrorKind::Conflict`] if the ref is not what was expected or another pusher was first;
/// [`ErrorKind::Refused`] for what cannot be pushed; or reading or writing failed.
pub fn push(
    store: &Store,
    source: &Source<'_>,
    options: &PushOptions,
    progress: &PushProgress,
) -> Result<PushOutcome> {
    prepare(store, options)?;
    let mut moved = 0;
    for _ in 0..RETRIES_MAX {
        let attempt = Attempt { store, source, options, progress, moved: AtomicBool::new(false) };
        match attempt.run() {
            Err(error) if error.kind() == ErrorKind::Conflict && options.retry => {}
            Err(_) if attempt.moved.load(Ordering::Relaxed) && moved < MOVED_MAX => moved += 1,
            outcome => return outcome,
        }
    }
    Err(always_late())
}

pub(crate) fn always_late() -> Error {
    Error::new(ErrorKind::Conflict, "other pushers were always first")
        .hint("run the command again when fewer push to the same ref")
}

/// What comes before a push of any kind: refuses what could not be pushed, and clears what
/// killed pushes left.
pub(crate) fn prepare(store: &Store, options: &PushOptions) -> Result<()> {
    if let Some(name) = &options.ref_name {
        check_name(name)?;
    }
    if !options.dry_run {
        store.check_writable()?;
        if let Some(root) = store.root() {
            freestone_backend::directory::Directory::new(root).clear_left_over();
        }
    }
    check_options(store, options)
}

/// Refuses what could not become a revision, before anything is read.
fn check_options(store: &Store, options: &PushOptions) -> Result<()> {
    let none = Id([0; 32]);
    let revision = Revision {
        root: none,
        content_digest: none,
        entries: 0,
        bytes: 0,
        time: options.time,
        parents: Vec::new(),
        message: options.message.clone().unwrap_or_default(),
        labels: options.labels.clone(),
    };
    if let Some(fault) = revision.fault() {
        return Err(Error::new(ErrorKind::Usage, fault));
    }
    // What is expected is expected now: a push that then loses a race goes on, with `retry`,
    // from what the other has made of the ref.
    match &options.ref_name {
        Some(name) => store.refs().check(name, options.expect),
        None => Ok(()),
    }
}

pub(crate) struct Attempt<'a> {
    pub(crate) store: &'a Store,
    pub(crate) source: &'a Source<'a>,
    pub(crate) options: &'a PushOptions,
    pub(crate) progress: &'a PushProgress,
    /// Set when a file changed between being hashed and being stored.
    pub(crate) moved: AtomicBool,
}

/// What an attempt has made, but for the revision.
pub(crate) struct Made {
    pub(crate) walked: pipeline::Walked,
    pub(crate) session: Option<Session>,
    /// The live set, where it was listed.
    pub(crate) index: Option<Arc<Index>>,
}

/// What the ref named when the attempt began.
pub(crate) struct Start {
    pub(crate) newest: Option<RefEntry>,
    pub(crate) parent: Option<(Id, Revision)>,
}

pub(crate) fn start(store: &Store, options: &PushOptions) -> Result<Start> {
    let newest = match &options.ref_name {
        Some(name) => store.refs().newest(name)?,
        None => None,
    };
    let parent = newest.as_ref().and_then(RefEntry::revision).or(options.parent);
    let parent = match parent {
        None => None,
        Some(id) => Some((
            id,
            store.revision(&id)?.ok_or_else(|| {
                Error::corrupt(format!("the parent, revision {id}, is missing from the store"))
                    .hint("`freestone verify` lists all that is missing")
            })?,
        )),
    };
    Ok(Start { newest, parent })
}

impl Attempt<'_> {
    fn run(&self) -> Result<PushOutcome> {
        let start = start(self.store, self.options)?;
        let mut working = self.options.open_working(self.store);
        let is_far = self.store.root().is_none() && self.options.mtime.is_none();
        let Made { walked, session, index } = match &start.parent {
            Some((_, parent)) if is_far => self.by_digest(&start, parent, &mut working)?,
            _ => self.walk(&start, &mut working)?,
        };
        let stat_cache = working.as_mut().is_some_and(|working| working.is_open());
        let mut outcome = outcome(self.options, start.parent.as_ref(), &walked, stat_cache);
        if outcome.up_to_date {
            if let Some(working) = &mut working {
                working.close();
            }
            self.heal(session)?;
            return self.point_ref_at_parent(&start, outcome);
        }
        let Some(session) = session else { return Ok(outcome) };
        // It is a cache: what it says of contents that do not become durable is not believed.
        if let Some(working) = &mut working {
            working.close();
        }
        self.commit(&mut outcome, session)?;
        let outcome = self.set_ref(&start, outcome);
        // Merging is housekeeping, done when the ref is set: what fails here costs later look-ups
        // time and nothing else.
        if let Some(index) = index {
            let _ = freestone_store::index::merge::merge_tiers(&**self.store.backend(), &index);
        }
        self.store.refresh();
        outcome
    }

    /// The records of the live set, which is what is listed now.
    pub(crate) fn live(&self) -> Result<Records> {
        Ok(Records {
            index: Arc::new(Index::open(&**self.store.backend())?),
            packs: self.store.packs().clone(),
        })
    }

    pub(crate) fn session(&self, records: &Records) -> Option<Session> {
        let session = || {
            let backend = self.store.backend().clone();
            Session::new(backend, records.clone(), self.options.name_hasher, self.options.thorough)
        };
        (!self.options.dry_run).then(session)
    }

    /// Takes every item beside the parent's entry of the same path.
    fn walk(&self, start: &Start, working: &mut Option<Box<dyn WorkingIndex>>) -> Result<Made> {
        let records = self.live()?;
        let parent = match &start.parent {
            Some((_, revision)) => {
                Some(freestone_manifest::Tree::open(records.clone(), &revision.root)?)
            }
            None => None,
        };
        let session = self.session(&records);
        let run = pipeline::Pipeline {
            source: self.source,
            options: self.options,
            progress: self.progress,
            records: &records,
            session: session.as_ref(),
            parent: parent.as_ref(),
            hash_only: false,
            stop: AtomicBool::new(false),
            faults: pipeline::Faults::default(),
        };
        match run
            .run(working, pipeline::Nodes { session: session.as_ref(), parent: parent.as_ref() })
        {
            Ok((walked, _)) => Ok(Made { walked, session, index: Some(records.index) }),
            Err(error) => Err(match session {
                Some(session) => session.failure(error),
                None => error,
            }),
        }
    }

    /// Nothing is new, but contents that the parent names and that were lost may have been stored
    /// again.
    fn heal(&self, session: Option<Session>) -> Result<()> {
        match session {
            Some(session) if session.counter().records.load(Ordering::Relaxed) > 0 => {
                session.finish()?;
                self.store.refresh();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes packs, segments and revision durable.
    fn commit(&self, outcome: &mut PushOutcome, session: Session) -> Result<()> {
        if let Err(error) = session.put_revision(outcome.id, &outcome.revision) {
            return Err(session.failure(error));
        }
        let written = session.counter();
        let finished = session.finish()?;
        freestone_store::revisions::write_file(
            &**self.store.backend(),
            &outcome.revision,
            &finished.locator,
        )?;
        freestone_store::hints::write_index(&**self.store.backend(), &[]);
        outcome.bytes_stored = written.bytes.load(Ordering::Relaxed);
        Ok(())
    }

    fn set_ref(&self, start: &Start, mut outcome: PushOutcome) -> Result<PushOutcome> {
        if let Some(name) = &self.options.ref_name {
            outcome.ref_entry = Some(self.store.refs().append(
                name,
                start.newest.as_ref(),
                RefAction::Set(outcome.id),
                self.options.time,
            )?);
        }
        Ok(outcome)
    }

    /// Nothing is new; but if the parent came from `--parent`, the ref does not name it yet.
    fn point_ref_at_parent(&self, start: &Start, outcome: PushOutcome) -> Result<PushOutcome> {
        if self.options.dry_run {
            return Ok(outcome);
        }
        self.store.refs().settle(self.options.ref_name.as_deref())?;
        let named = start.newest.as_ref().and_then(RefEntry::revision) == Some(outcome.id);
        if named { Ok(outcome) } else { self.set_ref(start, outcome) }
    }
}

/// What a push of what `walked` made comes to, on top of `parent`.
pub(crate) fn outcome(
    options: &PushOptions,
    parent: Option<&(Id, Revision)>,
    walked: &pipeline::Walked,
    stat_cache: bool,
) -> PushOutcome {
    let Subtree { id: root, content_digest, entries, bytes, measure, .. } = walked.root;
    let same = parent.filter(|(_, parent)| {
        let has = |(key, value): (&String, &String)| parent.labels.get(key) == Some(value);
        // Times that were asked for count; else they follow the content.
        let same_times = options.mtime.is_none() || parent.root == root;
        parent.content_digest == content_digest
            && same_times
            && options.labels.iter().all(has)
            && options.message.as_ref().is_none_or(|message| *message == parent.message)
    });
    let (id, revision) = match (same, parent) {
        (Some(parent), _) => parent.clone(),
        (None, parent) => {
            // Equal content keeps the parent's root: nothing but labels and message is new.
            let root = match parent {
                Some((_, parent))
                    if parent.content_digest == content_digest && options.mtime.is_none() =>
                {
                    parent.root
                }
                _ => root,
            };
            let revision = Revision {
                root,
                content_digest,
                entries,
                bytes,
                time: options.time,
                parents: parent.iter().map(|(id, _)| *id).collect(),
                message: options.message.clone().unwrap_or_default(),
                labels: options.labels.clone(),
            };
            (revision.id(), revision)
        }
    };
    PushOutcome {
        id,
        revision,
        up_to_date: same.is_some(),
        ref_entry: None,
        changed: walked.changed,
        new: walked.new,
        gone: walked.gone,
        files_hashed: walked.files_hashed,
        bytes_hashed: walked.bytes_hashed,
        bytes_stored: walked.bytes_missing,
        stat_cache,
        inexpressible: measure == Measure::Inexpressible,
    }
}

impl PushOutcome {
    /// That there was nothing to be made beside the revision `id`.
    pub(crate) fn up_to_date(id: Id, revision: Revision) -> Self {
        Self {
            id,
            revision,
            up_to_date: true,
            ref_entry: None,
            changed: 0,
            new: 0,
            gone: 0,
            files_hashed: 0,
            bytes_hashed: 0,
            bytes_stored: 0,
            stat_cache: false,
            inexpressible: false,
        }
    }
}
