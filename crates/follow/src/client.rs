//! Asking the upstream: every request is counted, made again where that may help, and remembered
//! when it fails, so that anybody can be told since when the upstream is out of reach.

use super::reach::Reach;
use freestone_backend::{Backend, Listed};
use freestone_core::{Error, ErrorKind, Result};
use freestone_format::header::{Header, StoreId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first pause before a request is made again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often something that came damaged is fetched in all before it is called damaged.
pub(super) const TRANSFERS_MAX: usize = 3;

/// How long a reader waits for an upstream that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// For how long a request is made again before its error is told. None: not once; what
    /// lies below may try again by itself.
    pub retry_for: Duration,
}

/// What was asked of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests: listings, and reads of a range or an object.
    pub requests: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

fn missing(name: &str) -> Error {
    Error::corrupt(format!("{name} is missing"))
        .hint("`freestone verify`, with --store the upstream, lists all that is")
}

/// Asks one upstream. Used by many threads at once.
pub(super) struct Client {
    backend: Arc<dyn Backend>,
    pub(super) url: String,
    pub(super) offline: bool,
    patience: Mutex<Patience>,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Whether the store there was seen to be the right one.
    known: Mutex<bool>,
    /// The same, for who must not wait.
    is_known: AtomicBool,
    pub(super) reach: Reach,
}

impl Client {
    pub(super) fn new(backend: Arc<dyn Backend>, url: String, offline: bool, reach: Reach) -> Self {
        Self {
            backend,
            url,
            offline,
            patience: Mutex::default(),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            known: Mutex::default(),
            is_known: AtomicBool::new(false),
            reach,
        }
    }

    pub(super) fn be_patient(&self, patience: Patience) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    /// The upstream itself, for what is not read through the cache.
    pub(super) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn count(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// That the store which this host follows is there, asked once: a directory that is not
    /// mounted, or another store in its place, would look like one from which all was removed.
    pub(super) fn check_store(&self, id: StoreId) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known {
            return Ok(());
        }
        let header = self.ask("format", || {
            self.count(0);
            let text = self.backend.get("format", crate::store::HEADER_BYTES_MAX)?;
            let absent = || Error::new(ErrorKind::Storage, "there is no freestone store there");
            Header::decode(&text.ok_or_else(absent)?)
        })?;
        if header.id != id {
            return Err(Error::refused(format!(
                "upstream {} is another store now: its id is {}, and this host follows {id}",
                self.url, header.id
            ))
            .hint("mend `url` in the store's file `upstream`, or make a new store for this one"));
        }
        *known = true;
        self.is_known.store(true, Ordering::Relaxed);
        self.reach.reached();
        Ok(())
    }

    /// Lists a folder.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.ask(folder, || {
            self.count(0);
            self.backend.list(folder)
        })
    }

    /// Lists the beginning of a folder.
    pub(super) fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        self.ask(folder, || {
            self.count(0);
            self.backend.list_first(folder, count)
        })
    }

    /// Reads a whole object, which is right if `check` says so.
    pub(super) fn get(
        &self,
        name: &str,
        max: u64,
        check: &dyn Fn(&[u8]) -> Result<()>,
    ) -> Result<Option<Vec<u8>>> {
        let mut tries = 1;
        loop {
            let got = self.ask(name, || {
                let got = self.backend.get(name, max);
                self.count(
                    got.as_ref().ok().and_then(Option::as_ref).map_or(0, |got| got.len() as u64),
                );
                got
            })?;
            match got.as_deref().map(check) {
                Some(Err(_)) if tries < TRANSFERS_MAX => tries += 1,
                Some(Err(error)) => return Err(error.context(format!("{}: {name}", self.url))),
                None | Some(Ok(())) => return Ok(got),
            }
        }
    }

    /// Reads a range of an object.
    pub(super) fn read(&self, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.ask(name, || {
            self.count(out.len() as u64);
            match self.backend.read_range(name, offset, out) {
                Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(name)),
                outcome => outcome,
            }
        })
    }

    /// The length of an object.
    pub(super) fn length(&self, name: &str) -> Result<u64> {
        self.ask(name, || match self.backend.open(name)? {
            Some(object) => Ok(object.length()),
            None => Err(missing(name)),
        })
    }

    /// Makes a request until it succeeds, fails for good, or patience ends.
    fn ask<T>(&self, name: &str, mut request: impl FnMut() -> Result<T>) -> Result<T> {
        if self.offline {
            return Err(self.absent(name));
        }
        let patience = *self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut pause = PAUSE_FIRST;
        loop {
            let outcome = request();
            match outcome {
                Err(error) if error.kind() == ErrorKind::Storage => {
                    let since = self.reach.failed();
                    let left = patience.retry_for.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(self.out_of_reach(since, error));
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error.context(&self.url)),
                outcome => {
                    // An answer says nothing before it is known who answers: what is not mounted
                    // has empty listings.
                    if self.is_known.load(Ordering::Relaxed) {
                        self.reach.reached();
                    }
                    return outcome;
                }
            }
        }
    }

    fn out_of_reach(&self, since: u64, error: Error) -> Error {
        let local = self.reach.local();
        let hint = match local.is_empty() {
            true => "nothing is complete here; `freestone fetch REV` brings a revision when the \
                     upstream is back"
                .to_owned(),
            false => format!("with --offline what is here is read; complete: {}", local.join(", ")),
        };
        let cause = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Error::new(
            ErrorKind::Storage,
            format!(
                "upstream {} is unreachable since {}",
                self.url,
                super::reach::show_time(since)
            ),
        )
        .because(cause)
        .hint(hint)
    }

    /// What is said of something that is not here, where nothing is asked.
    pub(super) fn absent(&self, name: &str) -> Error {
        Error::not_found(format!("{name} is not here, and --offline asks nobody")).hint(format!(
            "`freestone fetch REV` without --offline brings a revision from {}; `freestone status` \
             lists what is complete here",
            self.url
        ))
    }
}
