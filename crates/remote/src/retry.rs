//! Trying again: with exponential backoff and full jitter, as long as that can help.
//!
//! How long to wait is drawn between nothing and a bound that doubles, so that many who failed
//! together do not come back together (M. Brooker, "Exponential Backoff And Jitter", 2015).

use crate::fault::{Fault, describe};
use crate::options::RemoteOptions;
use crate::runtime;
use freestone_core::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the wish to give up is looked for.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// After how much trouble people are told.
const NOTICE_AFTER: Duration = Duration::from_secs(3);
/// Tries of a request whose signature is found wrong, where the same secret has been right.
const SIGNATURE_TRIES: u32 = 4;

/// Makes requests of one backend: not too many at a time, again where that can help.
pub(crate) struct Requests {
    options: RemoteOptions,
    /// What is named in messages: the store and the server.
    place: String,
    endpoint: String,
    open: Semaphore,
    /// Whether the server has ever done what it was asked.
    has_succeeded: AtomicBool,
    /// Whether "not allowed" is how the server says "not there": S3 does to who may not list.
    hides_missing: bool,
}

/// How a request failed for good.
pub(crate) struct FailedRequest {
    pub(crate) fault: Fault,
    /// Whether an earlier try, or this one, may have been carried out.
    pub(crate) may_be_done: bool,
    error: object_store::Error,
}

impl Requests {
    pub(crate) fn new(options: RemoteOptions, place: String, endpoint: String) -> Self {
        let open = Semaphore::new(options.requests_max.max(1));
        Self {
            options,
            place,
            endpoint,
            open,
            has_succeeded: AtomicBool::new(false),
            hides_missing: false,
        }
    }

    /// For who may read objects, but not list them.
    pub(crate) fn hiding_missing(self) -> Self {
        Self { hides_missing: true, ..self }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn options(&self) -> &RemoteOptions {
        &self.options
    }

    /// Runs what makes requests, on the caller's thread; ends early when the caller is to.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        runtime::get()?.block_on(async {
            tokio::select! {
                outcome = work => outcome,
                () = self.cancelled() => Err(Error::new(ErrorKind::Failed, "interrupted")),
            }
        })
    }

    async fn cancelled(&self) {
        while self.options.check().is_ok() {
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }

    /// The error of a request to do `what` that failed for good.
    pub(crate) fn error(&self, what: &str, failed: FailedRequest) -> Error {
        describe(what, &self.place, &self.endpoint, failed.error)
    }

    /// Makes a request, and again while that can help; also says whether an earlier try may have
    /// been carried out.
    pub(crate) async fn attempt<T, F>(
        &self,
        mut request: impl FnMut() -> F,
    ) -> Result<(T, bool), FailedRequest>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        // From the first failure on: a long request that then fails is worth another try.
        let mut begun = None;
        let mut bound = FIRST_WAIT;
        let mut strange = 0;
        let mut may_be_done = false;
        let mut told = NOTICE_AFTER;
        loop {
            let outcome = {
                // Closed never; and a request waits for its place without holding one.
                let _place = self.open.acquire().await;
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
            strange +=
                u32::from(matches!(fault, Fault::Signature | Fault::Tls(_) | Fault::Garbled));
            may_be_done |= fault.is_open();
            let known = self.has_succeeded.load(Ordering::Relaxed);
            if matches!(fault, Fault::Missing | Fault::Exists | Fault::NoUpload | Fault::BeyondEnd)
            {
                self.has_succeeded.store(true, Ordering::Relaxed);
            }
            let again = match fault {
                // What was signed right before is wrong only if it was changed on the way; so is
                // the certificate of who was trusted before.
                Fault::Signature | Fault::Tls(_) => known && strange < SIGNATURE_TRIES,
                // The server may just not like it.
                Fault::Garbled => strange < SIGNATURE_TRIES,
                fault => fault.is_transient(),
            };
            let patience = match fault {
                Fault::Unreachable if !known => self.options.first_patience,
                _ => self.options.patience,
            };
            let elapsed = begun.get_or_insert_with(Instant::now).elapsed();
            if !again || elapsed >= patience {
                return Err(FailedRequest { fault, may_be_done: may_be_done, error });
            }
            if elapsed >= told {
                told = elapsed * 2;
                let text = describe("go on", &self.place, &self.endpoint, error).to_string();
                let text = text.trim_start_matches("cannot go on: ");
                (self.options.notice.0)(&format!("{text}; trying again"));
            }
            self.options.traffic.retry();
            tokio::time::sleep(jittered(bound).min(patience - elapsed)).await;
            bound = (bound * 2).min(LONGEST_WAIT);
        }
    }

    /// As [`Self::attempt`], for requests that may be made twice; failures become errors.
    pub(crate) async fn make<T, F>(&self, what: &str, request: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match self.attempt(request).await {
            Ok((value, _)) => Ok(value),
            Err(failed) => Err(self.error(what, failed)),
        }
    }

    /// As [`Self::make`]; `None` if there is no such object.
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

/// A time between nothing and `bound`.
fn jittered(bound: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness all wait the longest; nothing worse.
    if getrandom::fill(&mut bytes).is_err() {
        return bound;
    }
    bound.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
