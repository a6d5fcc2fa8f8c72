//! Making and opening a store that follows an upstream.

use super::{Follower, refused};
use crate::store::Store;
use freestone_backend::directory::{Directory, directory_of};
use freestone_backend::{Backend, Created};
use freestone_core::{Error, ErrorKind, Result};
use freestone_format::header::{Header, StoreId};
use freestone_format::upstream::Config;
use std::path::Path;
use std::sync::Arc;

const CONFIG_BYTES_MAX: u64 = 64 << 10;

/// How a store is opened.
pub struct Opening<'a> {
    /// Whether only what is here is read, where the store follows an upstream.
    pub offline: bool,
    /// Opens what an upstream's URL names.
    pub upstream: &'a dyn Fn(&str) -> Result<Arc<dyn Backend>>,
}

impl Default for Opening<'_> {
    /// Online; upstreams are directories.
    fn default() -> Self {
        Self { offline: false, upstream: &open_directory }
    }
}

fn open_directory(url: &str) -> Result<Arc<dyn Backend>> {
    let path = directory_of(url).ok_or_else(|| {
        Error::refused(format!("upstream {url}: not supported here")).hint("name a directory")
    })?;
    Ok(Arc::new(Directory::new(path)))
}

/// The header of the store that `backend` keeps.
pub(crate) fn read_header(backend: &dyn Backend, place: &str) -> Result<Header> {
    let text = backend.get("format", crate::store::HEADER_BYTES_MAX)?.ok_or_else(|| {
        Error::not_found(format!("there is no freestone store at {place}"))
            .hint("make one with `freestone init`, or name one with --store or FREESTONE_STORE")
    })?;
    Header::decode(&text).map_err(|error| error.context(place))
}

impl Store {
    /// Makes a store in the directory `root`, empty or new, that follows the upstream at `url`.
    ///
    /// # Errors
    /// As [`Self::init`]; or the upstream cannot be read, or is none.
    pub fn init_following(
        root: &Path,
        url: &str,
        cache_size: Option<u64>,
        host: &str,
        opening: &Opening<'_>,
    ) -> Result<Self> {
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
        // What cannot be read again is not written.
        let text = config.encode();
        Config::decode(text.as_bytes())?;
        let directory = Self::prepare(root)?;
        let own = Header { follows: true, ..Header::new(StoreId(freestone_backend::random())) };
        // The header makes it a store; so it comes last. What an init left that was killed in
        // between is replaced.
        directory.remove("upstream")?;
        directory.create("upstream", text.as_bytes())?;
        match directory.create("format", own.encode().as_bytes())? {
            Created::New => Self::open_with(root, opening),
            Created::Existed => Err(Error::refused("another process made a store there")),
        }
    }

    /// Opens the store in the directory `root`.
    ///
    /// # Errors
    /// As [`Self::open`]; or the upstream that it follows cannot be opened.
    pub fn open_with(root: &Path, opening: &Opening<'_>) -> Result<Self> {
        let directory = Directory::new(root);
        let header = read_header(&directory, &root.display().to_string())?;
        if !header.follows {
            return Self::open_backend(Arc::new(directory), Some(root.into()));
        }
        let text = directory.get("upstream", CONFIG_BYTES_MAX)?.ok_or_else(|| {
            Error::corrupt(format!("{}: the file `upstream` is missing", root.display()))
                .hint("write it again, as docs/format.md says; or make the store anew")
        })?;
        let config = Config::decode(&text).map_err(|error| error.context(root.display()))?;
        // Offline nothing is opened: it may not even be there.
        let upstream: Arc<dyn Backend> = match opening.offline {
            true => Arc::new(Directory::new("/nonexistent")),
            false => (opening.upstream)(&config.url)?,
        };
        let follower = Follower::new(config, root.into(), upstream, opening.offline);
        Ok(Self::of_follower(follower, header.id))
    }

    /// The same store, read by what is here alone.
    ///
    /// # Errors
    /// It follows no upstream.
    pub fn offline(&self) -> Result<Self> {
        let Some(follower) = self.following() else {
            return Err(Error::new(ErrorKind::Failed, "this store follows no upstream"));
        };
        follower.0.flush(false)?;
        let inner = &follower.0;
        let backend = inner.client.backend().clone();
        let follower = Follower::new(inner.config.clone(), inner.root.clone(), backend, true);
        Ok(Self::of_follower(follower, self.id()))
    }

    /// That this store is written to, and not its upstream.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`]: it follows an upstream.
    pub(crate) fn check_not_following(&self) -> Result<()> {
        self.following().map_or(Ok(()), |follower| Err(refused(follower.config())))
    }
}
