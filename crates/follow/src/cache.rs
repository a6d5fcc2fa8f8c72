//! The cache of a follower, with the client that fetches what it lacks.

mod check;
mod evict;
mod flush;
pub(crate) mod folder;
pub(crate) mod here;
pub(crate) mod object;
pub(crate) mod sparse;
mod stash;
mod whole;

use crate::client::Client;
use freestone_backend::Upstream;
use freestone_backend::directory::Directory;
use freestone_core::{Error, Id, Result, lock};
use freestone_format::runs::RunsFile;
use freestone_format::upstream::Config;
use here::Here;
use sparse::{PackRanges, SparsePack};
use stash::Stash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes that may be in sparse packs without being in the files of their runs.
const UNFLUSHED_BYTES_MAX: u64 = 64 << 20;

/// What eviction must not remove.
#[derive(Default)]
pub(crate) struct Protected {
    /// The pinned revisions.
    pub(crate) revisions: Vec<Id>,
    /// The ranges of packs that hold what they need.
    pub(crate) ranges: PackRanges,
}

/// Returns what eviction must not remove. If it fails, nothing is removed.
pub(crate) type Protect = Box<dyn Fn() -> Result<Protected> + Send + Sync>;

/// The cache of a follower, with the client that fetches what it lacks.
pub(crate) struct Cache {
    pub(crate) config: Config,
    /// The store's own directory.
    pub(crate) own: Directory,
    /// What is in the cache.
    pub(crate) here: Here,
    pub(crate) client: Client,
    stash: Mutex<Stash>,
    protect: Protect,
    /// Called when so much was added that eviction may be needed.
    grown: Box<dyn Fn() + Send + Sync>,
    /// Bytes in sparse packs that the files of their runs do not say.
    unflushed: AtomicU64,
    /// How many fetches of whole revisions are in progress.
    pub(crate) fetching: AtomicU64,
    /// Set once something could not be kept.
    has_failed: AtomicBool,
    /// Why it could not be kept, until that was reported.
    failure: Mutex<Option<Error>>,
}

impl Cache {
    /// Creates the cache of the store in the directory `own`, over what is in `here`. `grown` is
    /// called when so much was added that eviction may be needed.
    pub(crate) fn new(
        config: Config,
        own: Directory,
        here: Here,
        client: Client,
        protect: Protect,
        grown: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            config,
            own,
            here,
            client,
            stash: Mutex::default(),
            protect,
            grown,
            unflushed: AtomicU64::new(0),
            fetching: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Returns what readers must know of the upstream.
    pub(crate) fn upstream(&self) -> Upstream {
        Upstream { url: self.config.url.clone(), offline: self.client.offline }
    }

    /// Returns the cache as a directory of objects. If it cannot be opened, the reason is remembered,
    /// and what is in it is fetched again.
    fn objects(&self) -> Option<Directory> {
        self.here.folder.objects().unwrap_or_else(|error| {
            self.could_not_keep(error);
            None
        })
    }

    pub(crate) fn stash(&self) -> MutexGuard<'_, Stash> {
        lock(&self.stash)
    }

    /// Returns the runs of a pack, which are read from their file at the first call. If it cannot be
    /// read, the reason is remembered, and the pack is fetched again.
    ///
    /// # Errors
    /// Offline: the file is there, and cannot be read.
    pub(crate) fn pack(&self, id: &Id) -> Result<Arc<SparsePack>> {
        match self.here.pack(id) {
            Err(error) if !self.client.offline => {
                self.could_not_keep(error);
                Ok(Arc::new(SparsePack::new(*id, RunsFile::default())))
            }
            outcome => outcome,
        }
    }

    /// Notes that `bytes` were added to sparse packs.
    fn added(&self, bytes: u64) {
        if self.unflushed.fetch_add(bytes, Ordering::Relaxed) + bytes <= UNFLUSHED_BYTES_MAX {
            return;
        }
        if let Err(error) = self.flush(false) {
            self.could_not_keep(error);
        }
        // A fetch of a whole revision evicts by itself, since it knows what must stay for it.
        if self.config.cache_size.is_some() && self.fetching.load(Ordering::Relaxed) == 0 {
            (self.grown)();
        }
    }

    /// Remembers why something could not be kept. The first reason stays.
    pub(crate) fn could_not_keep(&self, error: Error) {
        self.has_failed.store(true, Ordering::Relaxed);
        lock(&self.failure).get_or_insert(error);
    }

    /// Returns true if something could not be kept.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Returns why something could not be kept, and forgets the reason.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }
}
