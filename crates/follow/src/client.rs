//! Requests to the upstream: each is counted, repeated where that may help, and remembered when it
//! fails, so that messages can say since when the upstream cannot be reached.

use crate::cache::here::Here;
use crate::reach::{Reach, show_time};
use freestone_backend::{Backend, Listed};
use freestone_core::{Error, ErrorKind, Result, lock};
use freestone_format::header::{Header, StoreId};
use freestone_store::header_text;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The first pause before a request is repeated.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest such pause: an upstream that is there again is found soon.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a request fails before the user is notified.
const NOTICE_AFTER: Duration = Duration::from_secs(3);
/// How often the flag that cancels is read.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// How often an object that arrives damaged is fetched in all before it is called damaged.
pub(crate) const TRANSFERS_MAX: usize = 3;

/// Receives lines that are to be shown to the user.
pub type Notify = Arc<dyn Fn(&str) + Send + Sync>;

/// How readers wait for an upstream that fails. The default does not wait.
#[derive(Clone, Default)]
pub struct Patience {
    /// How long a failed request is repeated, counted from its first failure.
    pub retry_for: Duration,
    /// The same for an upstream that this process has not reached yet: most likely its name is
    /// wrong, or it is not mounted.
    pub first_retry_for: Duration,
    /// Receives a line that says what is being waited for, when it takes long.
    pub notice: Option<Notify>,
    /// Set to stop waiting: requests then fail with [`Error::interrupted`].
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Patience {
    /// Returns the patience of a reader that repeats every failed request for `time`.
    pub fn of(time: Duration) -> Self {
        Self { retry_for: time, first_retry_for: time, ..Self::default() }
    }

    /// Waits for `pause`, or until waiting is cancelled.
    fn pause(&self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        loop {
            if self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(Error::interrupted());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(CANCEL_POLL));
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = (&self.retry_for, &self.first_retry_for);
        f.debug_tuple("Patience").field(times.0).field(times.1).finish()
    }
}

/// The requests that were made to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests: listings, and reads of a range or an object.
    pub requests: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

fn missing(name: &str) -> Error {
    Error::missing(format!("{name} is missing"))
        .hint("`freestone verify`, with --store the upstream, lists all that is")
}

/// Returns true if the same request may succeed later.
fn is_transient(error: &Error) -> bool {
    let denied = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    let cause = std::error::Error::source(error);
    error.kind() == ErrorKind::Storage
        && !cause.and_then(|cause| cause.downcast_ref()).is_some_and(denied)
}

/// Makes requests to one upstream. Used by many threads at once.
pub(crate) struct Client {
    /// The upstream. If it is a directory, and another one with the same store was put in its place,
    /// it is replaced.
    backend: Mutex<Arc<dyn Backend>>,
    /// The id of the store there.
    store: StoreId,
    /// What is here, for messages about what is not.
    here: Here,
    pub(crate) offline: bool,
    patience: Mutex<Patience>,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Set once the store there was seen to be the right one.
    known: Mutex<bool>,
    /// The same, for readers that must not wait.
    is_known: AtomicBool,
    pub(crate) reach: Reach,
}

impl Client {
    /// Creates the client of the upstream `store` that `backend` keeps. If `offline` is true, every
    /// request fails.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        store: StoreId,
        here: Here,
        offline: bool,
        reach: Reach,
    ) -> Self {
        Self {
            backend: Mutex::new(backend),
            store,
            here,
            offline,
            patience: Mutex::default(),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            known: Mutex::default(),
            is_known: AtomicBool::new(false),
            reach,
        }
    }

    /// Sets how requests wait for an upstream that fails.
    pub(crate) fn be_patient(&self, patience: Patience) {
        *lock(&self.patience) = patience;
    }

    /// Returns the upstream itself, for what is not read through the cache.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        lock(&self.backend).clone()
    }

    /// Returns the requests that were made so far.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn count(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Checks, once, that the upstream is the right store: a directory that is not mounted, or
    /// another store in its place, would look like one from which everything was removed.
    pub(crate) fn check_store(&self) -> Result<()> {
        let mut known = lock(&self.known);
        if *known {
            return Ok(());
        }
        self.ask("format", |backend| self.check_header(&**backend))?;
        *known = true;
        self.is_known.store(true, Ordering::Relaxed);
        self.reach.reached();
        Ok(())
    }

    /// Checks that `backend` keeps the right store.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if no store can be reached there; [`ErrorKind::Refused`] if it is
    /// another one.
    fn check_header(&self, backend: &dyn Backend) -> Result<()> {
        self.count(0);
        let text = header_text(backend)?;
        let absent = || Error::new(ErrorKind::Storage, "there is no freestone store there");
        let found = Header::decode(&text.ok_or_else(absent)?)?.id;
        match found == self.store {
            true => Ok(()),
            false => Err(Error::refused(format!(
                "another store is there now: its id is {found}, and this host follows {}",
                self.store
            ))
            .hint("mend `url` in the store's file `upstream`, or make a new store for this one")),
        }
    }

    /// Returns the upstream that is at its place now: `used`, or the same store in another
    /// directory, which was mounted there or put there since `used` was opened.
    ///
    /// # Errors
    /// There is nothing, or another store.
    fn at_its_place(&self, used: &Arc<dyn Backend>) -> Result<Arc<dyn Backend>> {
        let held = self.backend();
        if !Arc::ptr_eq(used, &held) {
            return Ok(held);
        }
        let Some(there) = used.moved()? else { return Ok(held) };
        self.check_header(&*there)?;
        *lock(&self.backend) = there.clone();
        Ok(there)
    }

    /// Checks that the upstream is there, after it had nothing of what was asked for: a directory
    /// that is not mounted any more has nothing. A server says so by itself.
    fn check_there(&self, used: &Arc<dyn Backend>) -> Result<()> {
        if used.is_far() {
            return Ok(());
        }
        self.check_header(&**used)?;
        match Arc::ptr_eq(used, &self.at_its_place(used)?) {
            true => Ok(()),
            // The request is made again.
            false => Err(Error::new(ErrorKind::Storage, "another directory is in its place")),
        }
    }

    /// Returns the error for an object that the upstream does not have.
    fn gone(&self, used: &Arc<dyn Backend>, name: &str) -> Error {
        self.check_there(used).err().unwrap_or_else(|| missing(name))
    }

    /// Returns true if listings may be old.
    pub(crate) fn lists_by_hints(&self) -> bool {
        self.backend().lists_by_hints()
    }

    /// Lists a folder.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.listing(folder, |backend| backend.list(folder))
    }

    /// Lists the beginning of a folder.
    pub(crate) fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        self.listing(folder, |backend| backend.list_first(folder, count))
    }

    fn listing(
        &self,
        folder: &str,
        list: impl Fn(&dyn Backend) -> Result<Vec<Listed>>,
    ) -> Result<Vec<Listed>> {
        self.ask(folder, |backend| {
            // What changes is asked of the place, also where an old directory still answers.
            let backend = self.at_its_place(backend)?;
            self.count(0);
            let listed = list(&*backend)?;
            if listed.is_empty() {
                self.check_there(&backend)?;
            }
            Ok(listed)
        })
    }

    /// Reads a whole object of at most `max` bytes. It is read again if `check` finds it damaged.
    pub(crate) fn get(
        &self,
        name: &str,
        max: u64,
        check: &dyn Fn(&[u8]) -> Result<()>,
    ) -> Result<Option<Vec<u8>>> {
        let mut tries = 1;
        loop {
            let got = self.ask(name, |backend| {
                let got = backend.get(name, max);
                self.count(
                    got.as_ref().ok().and_then(Option::as_ref).map_or(0, |got| got.len() as u64),
                );
                if let Ok(None) = got {
                    self.check_there(backend)?;
                }
                got
            })?;
            match got.as_deref().map(check) {
                Some(Err(_)) if tries < TRANSFERS_MAX => tries += 1,
                Some(Err(error)) => {
                    return Err(error.context(format!("{}: {name}", self.here.url())));
                }
                None | Some(Ok(())) => return Ok(got),
            }
        }
    }

    /// Reads a range of an object.
    pub(crate) fn read(&self, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.ask(name, |backend| {
            self.count(out.len() as u64);
            match backend.read_range(name, offset, out) {
                Err(error) if error.kind() == ErrorKind::NotFound => Err(self.gone(backend, name)),
                outcome => outcome,
            }
        })
    }

    /// Returns the length of an object.
    pub(crate) fn length(&self, name: &str) -> Result<u64> {
        self.ask(name, |backend| match backend.open(name)? {
            Some(object) => Ok(object.length()),
            None => Err(self.gone(backend, name)),
        })
    }

    /// Makes a request until it succeeds, fails for good, or patience ends.
    fn ask<T>(
        &self,
        name: &str,
        mut request: impl FnMut(&Arc<dyn Backend>) -> Result<T>,
    ) -> Result<T> {
        if self.offline {
            return Err(self.here.absent(name));
        }
        // Patience counts from the first failure: a long request may fail late.
        let mut begun = None;
        let mut pause = PAUSE_FIRST;
        let mut next_notice = NOTICE_AFTER;
        loop {
            let backend = self.backend();
            let error = match request(&backend) {
                Ok(answer) => {
                    // Before it is known which store answers, an answer proves nothing: a directory
                    // that is not mounted has empty listings.
                    if self.is_known.load(Ordering::Relaxed) {
                        self.reach.reached();
                    }
                    return Ok(answer);
                }
                Err(error) if error.kind() == ErrorKind::Storage => error,
                Err(error) => return Err(error.context(self.here.url())),
            };
            match self.at_its_place(&backend) {
                Ok(there) if !Arc::ptr_eq(&there, &backend) => continue,
                Err(error) if error.kind() == ErrorKind::Refused => {
                    return Err(error.context(self.here.url()));
                }
                _ => {}
            }
            let since = self.reach.failed();
            let patience = lock(&self.patience).clone();
            let time = match self.is_known.load(Ordering::Relaxed) {
                true => patience.retry_for,
                false => patience.first_retry_for,
            };
            let elapsed = begun.get_or_insert_with(Instant::now).elapsed();
            let left = time.saturating_sub(elapsed);
            if left.is_zero() || !is_transient(&error) {
                return Err(self.out_of_reach(since, error));
            }
            if elapsed >= next_notice
                && let Some(notice) = &patience.notice
            {
                next_notice = elapsed * 2;
                notice(&format!("upstream {}: {}; trying again", self.here.url(), error.chain()));
            }
            patience.pause(pause.min(left))?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn out_of_reach(&self, since: u64, error: Error) -> Error {
        let hint = match self.reach.local() {
            Ok(local) if local.is_empty() => {
                "nothing is complete here; `freestone fetch REV` fetches a revision when the \
                 upstream is back"
                    .to_owned()
            }
            Ok(local) => {
                format!("with --offline what is here is read; complete: {}", local.join(", "))
            }
            Err(_) => "with --offline what is here is read".to_owned(),
        };
        Error::new(
            ErrorKind::Storage,
            format!("upstream {} is unreachable since {}", self.here.url(), show_time(since)),
        )
        .because(error.chain())
        .hint(hint)
    }
}
