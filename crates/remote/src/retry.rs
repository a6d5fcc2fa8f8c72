//! Repeating requests that fail, with exponential backoff and full jitter.
//!
//! The wait is drawn between nothing and a bound that doubles, so that clients that failed at the
//! same time do not repeat at the same time (M. Brooker, "Exponential Backoff And Jitter", 2015).

use crate::fault::{Fault, describe};
use crate::options::RemoteOptions;
use crate::runtime;
use freestone_core::{Error, Result, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the flag that cancels is read.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// How long a request fails before the user is notified.
const NOTICE_AFTER: Duration = Duration::from_secs(3);
/// How long a line that was shown to the user is not repeated.
const NOTICE_PAUSE: Duration = Duration::from_secs(60);
/// Attempts of a request after an answer that transit damage could explain, such as a wrong
/// signature by a secret that was right before.
const ALTERED_TRIES: u32 = 4;

/// Makes the requests of one backend: a limited number at the same time, repeated where it helps.
pub(crate) struct Requests {
    options: RemoteOptions,
    /// The store, as messages name it.
    place: String,
    /// The server, as messages name it.
    endpoint: String,
    /// A permit for each request that may be made at the same time.
    slots: Semaphore,
    /// Set once the server has answered a request as it should.
    has_succeeded: AtomicBool,
    /// The last line that was shown to the user, and when.
    noticed: Mutex<Option<(String, Instant)>>,
    /// Set if "denied" may mean "missing": S3 answers so to clients that may not list.
    hides_missing: bool,
}

/// A request that failed and is not repeated any more.
pub(crate) struct FailedRequest {
    pub(crate) fault: Fault,
    /// Set if the server may have carried out this attempt or an earlier one.
    pub(crate) may_be_done: bool,
    error: object_store::Error,
}

impl Requests {
    /// Makes requests as `options` say. `place` and `endpoint` name store and server in messages.
    pub(crate) fn new(options: RemoteOptions, place: String, endpoint: String) -> Self {
        let slots = Semaphore::new(options.requests_max.max(1));
        Self {
            options,
            place,
            endpoint,
            slots,
            has_succeeded: AtomicBool::new(false),
            noticed: Mutex::default(),
            hides_missing: false,
        }
    }

    /// Takes "denied" for "missing": for clients that may read objects but not list them.
    pub(crate) fn hiding_missing(self) -> Self {
        Self { hides_missing: true, ..self }
    }

    /// Returns the store, as messages name it.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Returns how requests are made.
    pub(crate) fn options(&self) -> &RemoteOptions {
        &self.options
    }

    /// Runs `work`, which makes requests, and waits for it on this thread.
    ///
    /// # Errors
    /// The error of `work`, or [`Error::interrupted`] as soon as the work is cancelled.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        runtime::get()?.block_on(async {
            tokio::select! {
                outcome = work => outcome,
                () = self.cancelled() => Err(Error::interrupted()),
            }
        })
    }

    /// Waits until the work is cancelled.
    async fn cancelled(&self) {
        while self.options.check().is_ok() {
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }

    /// Shows a line to the user, unless the same was shown not long ago: many requests wait for the
    /// same server.
    pub(crate) fn notice(&self, text: &str) {
        {
            let mut noticed = lock(&self.noticed);
            let is_known =
                |(last, at): &(String, Instant)| last == text && at.elapsed() < NOTICE_PAUSE;
            if noticed.as_ref().is_some_and(is_known) {
                return;
            }
            *noticed = Some((text.to_owned(), Instant::now()));
        }
        (self.options.notice.0)(text);
    }

    /// Returns the error for the user of a request that was made to do `what`.
    pub(crate) fn error(&self, what: &str, failed: FailedRequest) -> Error {
        describe(what, &self.place, &self.endpoint, failed.error)
    }

    /// Makes a request, and repeats it while that can help. Also returns true if the server may
    /// have carried out an earlier attempt.
    pub(crate) async fn attempt<T, F>(
        &self,
        mut request: impl FnMut() -> F,
    ) -> Result<(T, bool), FailedRequest>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        // Patience counts from the first failure: a long request may fail late, and is repeated.
        let mut begun = None;
        let mut bound = FIRST_WAIT;
        let mut altered = 0;
        let mut may_be_done = false;
        let mut next_notice = NOTICE_AFTER;
        loop {
            let outcome = {
                // The semaphore is never closed. Between two attempts a request holds no permit.
                let _slot = self.slots.acquire().await;
                request().await
            };
            let error = match outcome {
                Ok(value) => {
                    self.has_succeeded.store(true, Ordering::Relaxed);
                    return Ok((value, may_be_done));
                }
                Err(error) => error,
            };
            let fault = Fault::of(&error);
            altered +=
                u32::from(matches!(fault, Fault::Signature | Fault::Tls(_) | Fault::Garbled));
            may_be_done |= fault.may_be_done();
            let was_reached = self.has_succeeded.load(Ordering::Relaxed);
            if matches!(fault, Fault::Missing | Fault::Exists | Fault::NoUpload | Fault::BeyondEnd)
            {
                self.has_succeeded.store(true, Ordering::Relaxed);
            }
            let again = match fault {
                // A signature or a certificate that was right before was changed in transit.
                Fault::Signature | Fault::Tls(_) => was_reached && altered < ALTERED_TRIES,
                // It was changed in transit, or the server does not accept such a request.
                Fault::Garbled => altered < ALTERED_TRIES,
                fault => fault.is_transient(),
            };
            let patience = match fault {
                Fault::Unreachable if !was_reached => self.options.first_patience,
                _ => self.options.patience,
            };
            let elapsed = begun.get_or_insert_with(Instant::now).elapsed();
            if !again || elapsed >= patience {
                return Err(FailedRequest { fault, may_be_done, error });
            }
            if elapsed >= next_notice {
                next_notice = elapsed * 2;
                let text = describe("go on", &self.place, &self.endpoint, error).to_string();
                let text = text.trim_start_matches("cannot go on: ");
                self.notice(&format!("{text}; trying again"));
            }
            self.options.traffic.retry();
            tokio::time::sleep(jittered(bound).min(patience - elapsed)).await;
            bound = (bound * 2).min(LONGEST_WAIT);
        }
    }

    /// Makes a request that may safely be made twice, as [`Self::attempt`] does. Returns a failure
    /// as the error for the user.
    pub(crate) async fn make<T, F>(&self, what: &str, request: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match self.attempt(request).await {
            Ok((value, _)) => Ok(value),
            Err(failed) => Err(self.error(what, failed)),
        }
    }

    /// Makes a request as [`Self::make`] does. Returns `None` if the object does not exist.
    pub(crate) async fn find<T, F>(
        &self,
        what: &str,
        request: impl FnMut() -> F,
    ) -> Result<Option<T>>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match self.attempt(request).await {
            Ok((value, _)) => Ok(Some(value)),
            Err(FailedRequest { fault: Fault::Missing, .. }) => Ok(None),
            Err(FailedRequest { fault: Fault::Denied, .. })
                if self.hides_missing && self.has_succeeded.load(Ordering::Relaxed) =>
            {
                Ok(None)
            }
            Err(failed) => Err(self.error(what, failed)),
        }
    }
}

/// Returns a random time between nothing and `bound`.
fn jittered(bound: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness every client waits the longest time, which does no harm.
    if getrandom::fill(&mut bytes).is_err() {
        return bound;
    }
    bound.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
