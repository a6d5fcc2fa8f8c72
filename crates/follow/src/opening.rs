//! Creating and opening a store that follows an upstream.

use crate::client::Patience;
use crate::follower::Follower;
use freestone_backend::directory::{Directory, directory_of};
use freestone_backend::{Backend, Created};
use freestone_core::{Error, Result};
use freestone_format::header::{Header, StoreId};
use freestone_format::upstream::Config;
use freestone_store::{Store, read_header};
use std::path::Path;
use std::sync::Arc;

/// The longest file `upstream` that is read: its four lines are far shorter.
const CONFIG_BYTES_MAX: u64 = 64 << 10;

/// How a store is opened.
pub struct Opening<'a> {
    /// True if only the cache is read, and the upstream is not contacted.
    pub offline: bool,
    /// Opens the backend of the upstream at a URL.
    pub upstream: &'a dyn Fn(&str) -> Result<Arc<dyn Backend>>,
    /// How long an upstream that is a directory is waited for. Other backends wait by themselves.
    pub patience: Patience,
}

/// A store that was opened. Cheap to clone; used by many threads at once.
#[derive(Clone)]
pub struct Opened {
    /// The store. If it follows an upstream, it reads through the cache.
    pub store: Store,
    /// The store's backend, if it follows an upstream.
    pub follower: Option<Follower>,
}

impl Opened {
    /// Returns a store that is not a follower's.
    pub fn plain(store: Store) -> Self {
        Self { store, follower: None }
    }

    fn of_follower(follower: Follower, id: StoreId) -> Self {
        let root = follower.root().to_path_buf();
        let store = Store::of_cache(Arc::new(follower.clone()), id, root);
        Self { store, follower: Some(follower) }
    }

    /// Returns true if the store follows an upstream.
    pub fn is_following(&self) -> bool {
        self.follower.is_some()
    }

    /// Returns the follower, if it may contact its upstream.
    pub fn online(&self) -> Option<&Follower> {
        self.follower.as_ref().filter(|follower| !follower.is_offline())
    }
}

impl Default for Opening<'_> {
    /// Returns the options of a store that contacts its upstream, which is a directory, and does not
    /// wait for it.
    fn default() -> Self {
        Self { offline: false, upstream: &open_directory, patience: Patience::default() }
    }
}

fn open_directory(url: &str) -> Result<Arc<dyn Backend>> {
    let path = directory_of(url).ok_or_else(|| {
        Error::refused(format!("upstream {url}: not supported here")).hint("name a directory")
    })?;
    Ok(Arc::new(Directory::new(path)))
}

/// Creates a store in the directory `root`, which is empty or does not exist, that follows the
/// upstream at `url`. `cache_size` is in bytes; `None` sets no limit.
///
/// # Errors
/// As [`Store::init`]; or the upstream cannot be read, or is not a store that can be followed.
pub fn init(
    root: &Path,
    url: &str,
    cache_size: Option<u64>,
    host: &str,
    opening: &Opening<'_>,
) -> Result<Opened> {
    let url = match directory_of(url) {
        Some(path) => {
            let path = std::path::absolute(&path).map_err(|error| {
                Error::io(format!("upstream {}: no such place", path.display()), error)
            })?;
            path.to_str().map(str::to_owned).ok_or_else(|| {
                Error::refused(format!("upstream {}: its path is not UTF-8", path.display()))
            })?
        }
        None => url.to_owned(),
    };
    let upstream = (opening.upstream)(&url)?;
    let header = read_header(&*upstream, &url)?;
    if header.follows {
        return Err(Error::refused(format!("{url} follows an upstream itself"))
            .hint("follow that one: its `freestone status` says where it is"));
    }
    let config = Config { url, store: header.id, cache_size, host: host.to_owned() };
    // Only what can be read again is written.
    let text = config.encode();
    Config::decode(text.as_bytes())?;
    let directory = Store::prepare(root)?;
    let own = Header { follows: true, ..Header::new(StoreId(freestone_backend::random())) };
    // The header makes it a store, so it comes last. A file that a killed init left is replaced.
    directory.remove("upstream")?;
    directory.create("upstream", text.as_bytes())?;
    match directory.create("format", own.encode().as_bytes())? {
        Created::New => open(root, opening),
        Created::Existed => Err(Error::refused("another process made a store there")),
    }
}

/// Opens the store in the directory `root`.
///
/// # Errors
/// As [`Store::open`]; or the upstream that it follows cannot be opened.
pub fn open(root: &Path, opening: &Opening<'_>) -> Result<Opened> {
    let directory = Directory::new(root);
    let header = read_header(&directory, &root.display().to_string())?;
    if !header.follows {
        return Store::open_backend(Arc::new(directory), Some(root.into())).map(Opened::plain);
    }
    let text = directory.get("upstream", CONFIG_BYTES_MAX)?.ok_or_else(|| {
        Error::corrupt(format!("{}: the file `upstream` is missing", root.display()))
            .hint("write it again, as docs/format.md says; or make the store again")
    })?;
    let config = Config::decode(&text).map_err(|error| error.context(root.display()))?;
    // Offline the upstream is not opened, since it may not be there.
    let upstream: Arc<dyn Backend> = match opening.offline {
        true => Arc::new(Directory::new("/nonexistent")),
        false => (opening.upstream)(&config.url)?,
    };
    let is_directory = directory_of(&config.url).is_some();
    let follower = Follower::new(config, directory, upstream, opening.offline)?;
    if is_directory {
        follower.be_patient(opening.patience.clone());
    }
    Ok(Opened::of_follower(follower, header.id))
}

/// Returns the same store, reading only its cache.
///
/// # Errors
/// The store does not follow an upstream, or its directory cannot be opened.
pub fn offline(opened: &Opened) -> Result<Opened> {
    let Some(follower) = &opened.follower else {
        return Err(Error::refused("this store does not follow an upstream"));
    };
    Ok(Opened::of_follower(follower.offline()?, opened.store.id()))
}
