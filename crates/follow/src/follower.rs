//! A store that follows another, its *upstream*: a host's.
//!
//! Its own directory holds no packs. A [`Follower`] is the backend of such a store: what is asked of
//! it comes from the cache under `cache/<upstream's id>/`, and what is not there from the
//! upstream. Index segments, revisions and ref entries are kept whole; packs are kept as sparse
//! files, of which [runs](freestone_format::runs) remember what is there. Listings are the upstream's, made anew, unless
//! the follower is offline; then they show what is in the cache.
//!
//! Nothing is believed because it lies in the cache: what is read is proven as anywhere else, and
//! only what was proven is written to a sparse pack. `docs/upstreams.md` has the whole story.

mod client;
mod complete;
mod evict;
mod fetch;
mod needs;
mod opening;
mod pins;
mod reach;
mod requests;
mod sparse;
mod stash;
mod whole;

pub use client::{Patience, Traffic};
pub use fetch::{Fetch, Fetched, Subject};
pub use opening::Opening;
pub(crate) use opening::read_header;
pub use pins::{Pin, Pinned};
pub use reach::{Complete, LastSeen};

use client::Client;
use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::{Error, Id, Result};
use freestone_format::pack;
use freestone_format::runs::RunsFile;
use freestone_format::upstream::Config;
use sparse::{SparseObject, SparsePack};
use stash::Stash;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Bytes that may be in sparse packs without being in the files of their runs.
const UNFLUSHED_BYTES_MAX: u64 = 64 << 20;
/// The pause after an eviction that nobody waits for.
const EVICTION_PAUSE: Duration = Duration::from_secs(1);
/// Packs whose runs are held in memory, unless they are in use.
const PACKS_MAX: usize = 4096;

/// The backend of a store that follows an upstream. Cheap to clone; used by many threads at once.
#[derive(Clone)]
pub struct Follower(Arc<Inner>);

pub(crate) struct Inner {
    config: Config,
    /// The store's own directory.
    root: PathBuf,
    /// Where what comes from this upstream is kept.
    cache: PathBuf,
    client: Client,
    packs: Mutex<HashMap<Id, Arc<SparsePack>>>,
    stash: Mutex<Stash>,
    /// Bytes in sparse packs that the files of their runs do not say.
    unflushed: AtomicU64,
    me: Weak<Self>,
    /// Held by the thread that keeps the cache to its size while it does.
    busy: Arc<Mutex<()>>,
    /// Where the thread that keeps the cache to its size is told to look, once there is need of it.
    keeper: OnceLock<Sender<()>>,
    /// How many fetch all that something needs at the moment.
    fetching: AtomicU64,
    /// Why something fetched could not be kept.
    failure: Mutex<Option<Error>>,
}

/// Makes a thread that evicts when it is told to. Who reads holds locks, and buffers of its thread, in
/// which eviction, which reads what is pinned, would have no place.
fn keep_size(inner: Weak<Inner>, busy: Arc<Mutex<()>>) -> Sender<()> {
    let (sender, told) = mpsc::channel();
    let keep = move || {
        while told.recv().is_ok() {
            while told.try_recv().is_ok() {}
            {
                // Whoever gives up the follower waits for this, so that what it does last is done.
                let _busy = lock(&busy);
                let Some(inner) = inner.upgrade() else { return };
                if let Err(error) = inner.evict(0, None) {
                    inner.could_not_keep(error);
                }
            }
            // Large pins are not looked through all the time.
            std::thread::sleep(EVICTION_PAUSE);
        }
    };
    // Without it the cache has its size again in the end.
    let _ = std::thread::Builder::new().name("cache".to_owned()).spawn(keep);
    sender
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn stash(&self) -> MutexGuard<'_, Stash> {
        lock(&self.stash)
    }

    /// The runs of a pack, read from their file when they are first asked for.
    fn pack(&self, id: &Id) -> Arc<SparsePack> {
        if let Some(pack) = lock(&self.packs).get(id) {
            return pack.clone();
        }
        let file: RunsFile = sparse::read_runs(&self.cache, id);
        let mut packs = lock(&self.packs);
        if packs.len() >= PACKS_MAX {
            packs.retain(|_, pack| Arc::strong_count(pack) > 1 || pack.is_dirty());
        }
        // Another thread may have been first, and what it added counts.
        packs.entry(*id).or_insert_with(|| Arc::new(SparsePack::new(*id, file))).clone()
    }

    fn added(&self, bytes: u64) {
        if self.unflushed.fetch_add(bytes, Ordering::Relaxed) + bytes > UNFLUSHED_BYTES_MAX {
            self.unflushed.store(0, Ordering::Relaxed);
            if let Err(error) = self.flush(false) {
                self.could_not_keep(error);
            }
            // Who fetches a whole makes room itself, and knows what must not go for it.
            if self.config.cache_size.is_some() && self.fetching.load(Ordering::Relaxed) == 0 {
                let keeper =
                    self.keeper.get_or_init(|| keep_size(self.me.clone(), self.busy.clone()));
                // It ends only with what it keeps.
                let _ = keeper.send(());
            }
        }
    }

    fn could_not_keep(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }
}

impl Follower {
    /// The follower of `upstream`, with the cache of the store in the directory `root`.
    pub(crate) fn new(
        config: Config,
        root: PathBuf,
        upstream: Arc<dyn Backend>,
        offline: bool,
    ) -> Self {
        let cache = root.join("cache").join(config.store.to_string());
        let reach = reach::Reach::new(cache.clone());
        let client = Client::new(upstream, config.url.clone(), offline, reach);
        Self(Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            busy: Arc::default(),
            keeper: OnceLock::new(),
            config,
            root,
            cache,
            client,
            packs: Mutex::default(),
            stash: Mutex::default(),
            unflushed: AtomicU64::new(0),
            fetching: AtomicU64::new(0),
            failure: Mutex::default(),
        }))
    }

    /// What the store's file `upstream` says.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The store's own directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Whether only what is here is read.
    pub fn is_offline(&self) -> bool {
        self.0.client.offline
    }

    /// What was asked of the upstream since the store was opened.
    pub fn traffic(&self) -> Traffic {
        self.0.client.traffic()
    }

    /// From now on every reader of this store waits for a failing upstream as long as this.
    pub fn be_patient(&self, patience: Patience) {
        self.0.client.be_patient(patience);
    }

    /// When the upstream was last reached.
    pub fn last_seen(&self) -> LastSeen {
        self.0.client.reach.last_seen()
    }

    /// Makes durable what was kept since the last time.
    ///
    /// # Errors
    /// It could not be written; or something fetched could not be kept before.
    pub fn flush(&self) -> Result<()> {
        self.0.flush(false)?;
        lock(&self.0.failure).take().map_or(Ok(()), Err)
    }

    /// Gives up what was not used for longest until the cache has its size; pins stay.
    ///
    /// # Errors
    /// The cache cannot be read or changed.
    pub fn evict(&self) -> Result<()> {
        self.0.evict(0, None)
    }

    fn refused<T>(&self) -> Result<T> {
        Err(refused(&self.0.config))
    }
}

/// That a follower is not written to.
pub(crate) fn refused(config: &Config) -> Error {
    Error::refused(format!("this store follows {}, and is not written to itself", config.url))
        .hint(format!("write to the upstream: freestone -s {} …", config.url))
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(lock(&self.0.busy));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What is not remembered is fetched again; there is nobody to tell.
        let _ = self.flush(false);
        // Who is offline adds nothing; and eviction itself looks at the cache in that way.
        if !self.client.offline {
            let _ = self.evict(0, None);
        }
    }
}

impl Backend for Follower {
    fn place(&self) -> String {
        self.0.root.display().to_string()
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.0.list(folder)
    }

    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        self.0.list_first(folder, count)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        if let Some(id) = pack::id_of_object(name) {
            let pack = self.0.pack(&id);
            return Ok(Some(Box::new(SparseObject::new(self.0.clone(), pack))));
        }
        self.0.open_whole(name)
    }

    fn get(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        self.0.get_whole(name, max)
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created> {
        self.refused()
    }

    fn spool(&self) -> Result<Spool> {
        self.refused()
    }

    fn publish(&self, _: Spool, _: &str) -> Result<Created> {
        self.refused()
    }

    fn hint(&self, _: &str, _: &[u8]) -> Result<()> {
        self.refused()
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<()> {
        self.refused()
    }
}

impl Inner {
    /// The cache as a directory of objects.
    fn kept(&self) -> Directory {
        Directory::new(&self.cache)
    }
}
