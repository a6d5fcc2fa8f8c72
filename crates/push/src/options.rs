//! What is pushed, and how.

use freestone_core::Id;
use freestone_core::Result;
use freestone_core::digest::{NewNameHasher, sha1_hasher};
use freestone_core::item::{FileOpener, ItemSource};
use freestone_core::working::WorkingIndex;
use freestone_format::header::StoreId;
use freestone_store::write::WriterOptions;
use freestone_store::{Expect, Store};
use std::collections::BTreeMap;
use std::path::Path;

/// A source that is walked as a whole, such as a directory.
pub struct Source<'a> {
    /// Starts a walk over the items. Called again when a push has to start again.
    pub walk: &'a (dyn Fn() -> Result<Box<dyn ItemSource>> + Sync),
    /// Opens the files.
    pub opener: &'a dyn FileOpener,
    /// The key of this source in the working index, different for each source. Without one, all
    /// files are read.
    pub key: Option<Vec<u8>>,
}

/// A function that opens the working index in a folder of caches, of the store with this id.
pub type OpenWorkingIndex = fn(&Path, &StoreId) -> Box<dyn WorkingIndex>;

/// The options of a push.
#[derive(Clone)]
pub struct PushOptions {
    /// The ref that is set to the revision; `None` to set none.
    pub ref_name: Option<String>,
    /// The parent, if the ref does not name one.
    pub parent: Option<Id>,
    /// The value that the ref must have when the push begins.
    pub expect: Expect,
    /// Whether to start again from the new value of the ref if another push has changed it.
    pub retry: bool,
    /// The message of the revision. Without one, any message of the parent counts as the same.
    pub message: Option<String>,
    /// The labels of the revision.
    pub labels: BTreeMap<String, String>,
    /// The time of the revision: seconds since 1970.
    pub time: i64,
    /// A time for all entries, in seconds since 1970. Without one, an entry keeps its time until
    /// its content changes.
    pub mtime: Option<i64>,
    /// Whether to write nothing.
    pub dry_run: bool,
    /// Whether to make records as small as possible at once, for a long series. It takes about ten
    /// times as long.
    pub thorough: bool,
    /// Opens the working index. Without one, a push remembers nothing and reads every file.
    pub working: Option<OpenWorkingIndex>,
    /// The number of threads that read and hash files.
    pub threads: usize,
    /// The hash that contents are looked up by. Only tests use another one than SHA-1.
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

/// Threads at most, whatever the options say.
const THREADS_MAX: usize = 200;

impl PushOptions {
    /// Opens the working index of `store`. There is one if the store is a directory and keeps caches,
    /// and the push writes to it.
    pub(crate) fn open_working(&self, store: &Store) -> Option<Box<dyn WorkingIndex>> {
        let open = self.working.filter(|_| !self.dry_run)?;
        store.root()?;
        store.caches().map(|caches| open(caches.path(), &store.id()))
    }

    /// Returns the options of the writer.
    pub(crate) fn writer(&self) -> WriterOptions {
        WriterOptions {
            dry_run: self.dry_run,
            thorough: self.thorough,
            name_hasher: self.name_hasher,
        }
    }

    /// Returns the number of threads to start.
    pub(crate) fn thread_count(&self) -> usize {
        self.threads.clamp(1, THREADS_MAX)
    }
}
