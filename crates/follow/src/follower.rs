//! The backend of a store that follows an upstream.

use crate::cache::Cache;
use crate::cache::folder::CacheFolder;
use crate::cache::here::Here;
use crate::cache::object::CachedPack;
use crate::client::{Client, Patience, Traffic};
use crate::protection::protected;
use crate::reach::{LastSeen, Reach};
use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Listed, Object, Upstream};
use freestone_core::{Error, Result, lock};
use freestone_format::pack;
use freestone_format::upstream::Config;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// The pause after an eviction that nobody waits for.
const EVICTION_PAUSE: Duration = Duration::from_secs(1);

/// The backend of a store that follows an upstream. Cheap to clone; used by many threads at once.
///
/// Packs are kept as sparse files, of which [runs](freestone_format::runs) say which bytes are here.
/// Index segments, revisions and ref entries are kept whole. Listings are the upstream's, asked for
/// each time. Offline they show what is in the cache.
#[derive(Clone)]
pub struct Follower(pub(crate) Arc<Inner>);

/// The cache, with the thread that keeps it to its size.
pub(crate) struct Inner {
    cache: Arc<Cache>,
    /// Held by that thread while it evicts.
    busy: Arc<Mutex<()>>,
}

impl std::ops::Deref for Inner {
    type Target = Arc<Cache>;

    fn deref(&self) -> &Arc<Cache> {
        &self.cache
    }
}

/// Starts a thread that evicts when it is told to. It is not a reader's thread, since a reader holds
/// locks and buffers while eviction reads what is pinned.
fn keep_size(cache: Weak<Cache>, busy: Arc<Mutex<()>>) -> Sender<()> {
    let (sender, told) = mpsc::channel();
    let keep = move || {
        while told.recv().is_ok() {
            while told.try_recv().is_ok() {}
            {
                // The last owner of the follower waits for this, so that what it does comes last.
                let _busy = lock(&busy);
                let Some(cache) = cache.upgrade() else { return };
                if let Err(error) = cache.evict(0, None) {
                    cache.could_not_keep(error);
                }
            }
            // Large pins are not read all the time.
            std::thread::sleep(EVICTION_PAUSE);
        }
    };
    // Without the thread the cache has its size again in the end.
    let _ = std::thread::Builder::new().name("cache".to_owned()).spawn(keep);
    sender
}

impl Follower {
    /// Creates the follower of `upstream`, with the cache of the store in the directory `own`.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub(crate) fn new(
        config: Config,
        own: Directory,
        upstream: Arc<dyn Backend>,
        offline: bool,
    ) -> Result<Self> {
        let store = own.folder().map_err(|error| {
            Error::io(format!("{}: cannot be opened", own.root().display()), error)
        })?;
        let folder = CacheFolder::new(store.clone(), &config.store);
        let here = Here::new(folder.clone(), &config.url);
        let reach = Reach::new(folder);
        let client = Client::new(upstream, config.store, here.clone(), offline, reach);
        let protect = {
            let (here, own, host) = (here.clone(), own.clone(), config.host.clone());
            Box::new(move || protected(&here, &own, &host))
        };
        let busy: Arc<Mutex<()>> = Arc::default();
        let cache = Arc::new_cyclic(|cache: &Weak<Cache>| {
            let keeper = OnceLock::new();
            let (cache, busy) = (cache.clone(), busy.clone());
            // The thread ends when the cache is dropped, with the sender.
            let grown = move || {
                let keeper: &Sender<()> =
                    keeper.get_or_init(|| keep_size(cache.clone(), busy.clone()));
                let _ = keeper.send(());
            };
            Cache::new(config, own, here, client, protect, Box::new(grown))
        });
        Ok(Self(Arc::new(Inner { cache, busy })))
    }

    /// Returns the same follower, which does not contact the upstream.
    ///
    /// # Errors
    /// The store's directory cannot be opened.
    pub(crate) fn offline(&self) -> Result<Self> {
        if let Err(error) = self.0.flush(false) {
            self.0.could_not_keep(error);
        }
        let upstream = self.0.client.backend();
        Self::new(self.0.config.clone(), self.0.own.clone(), upstream, true)
    }

    /// Returns what the store's file `upstream` says.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Returns the store's own directory.
    pub fn root(&self) -> &Path {
        self.0.own.root()
    }

    /// Returns true if the upstream is not contacted.
    pub fn is_offline(&self) -> bool {
        self.0.client.offline
    }

    /// Returns the requests to the upstream since the store was opened.
    pub fn traffic(&self) -> Traffic {
        self.0.client.traffic()
    }

    /// Sets how long every reader of this store waits for an upstream that fails.
    pub fn be_patient(&self, patience: Patience) {
        self.0.client.be_patient(patience);
    }

    /// Returns when the upstream was last reached.
    pub fn last_seen(&self) -> LastSeen {
        self.0.client.reach.last_seen()
    }

    /// Makes durable what was kept since the last call.
    ///
    /// # Errors
    /// It cannot be written; or something that was fetched before could not be kept.
    pub fn flush(&self) -> Result<()> {
        self.0.flush(false)?;
        self.0.take_failure().map_or(Ok(()), Err)
    }

    /// Returns why something that was fetched could not be kept, and forgets the reason. What was not
    /// kept is fetched again when it is read again, so this matters only to those who want it here.
    pub fn take_failure(&self) -> Option<Error> {
        self.0.take_failure()
    }

    /// Removes what was used longest ago until the cache has its size. Pinned revisions stay.
    ///
    /// # Errors
    /// The cache cannot be read or changed.
    pub fn evict(&self) -> Result<()> {
        self.0.evict(0, None)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread that evicts has finished, or finds the cache in use by nobody.
        drop(lock(&self.busy));
        // What is not noted as kept is fetched again, so a failure costs nothing else.
        let _ = self.cache.flush(false);
        // Offline nothing was added, and nothing must be evicted that cannot be fetched again.
        if !self.cache.client.offline {
            let _ = self.cache.evict(0, None);
        }
    }
}

impl Backend for Follower {
    fn place(&self) -> String {
        self.root().display().to_string()
    }

    fn upstream(&self) -> Option<Upstream> {
        Some(self.0.upstream())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.0.list(folder)
    }

    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        self.0.list_first(folder, count)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        match pack::id_of_object(name) {
            Some(id) => Ok(Some(Box::new(CachedPack::new(self.0.cache.clone(), &id)?))),
            None => self.0.open_whole(name),
        }
    }

    fn get(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        self.0.get_whole(name, max)
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }
}
