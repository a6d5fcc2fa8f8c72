//! A fixed number of threads for what somebody has to wait for: reading, decoding, proving.
//!
//! They never touch a connection: a client that does not read its answers keeps nobody but
//! itself waiting. Each holds a few megabytes at most, so their number bounds the memory that
//! all clients together can make a server use.

use crossbeam_channel::{Sender, unbounded};
use freestone_core::{Error, Result};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Dropped, they end when what was asked of them is done.
pub struct Workers {
    /// Holds no more than every connection's bounded number of requests.
    jobs: Option<Sender<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// So many threads.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(count: NonZeroUsize) -> Result<Self> {
        let (jobs, queue) = unbounded::<Job>();
        let mut threads = Vec::with_capacity(count.get());
        for _ in 0..count.get() {
            let queue = queue.clone();
            let work = move || {
                for job in queue {
                    // One that panics says so by not answering; others are still to be done.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            };
            let thread = thread::Builder::new().name("worker".into()).spawn(work);
            threads.push(thread.map_err(|error| Error::io("cannot start a thread", error))?);
        }
        Ok(Self { jobs: Some(jobs), threads: Mutex::new(threads) })
    }

    /// Lets one of them do `job` soon.
    pub fn give(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // They live as long as this.
            let _ = jobs.send(Box::new(job));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // The last reference may be a worker's own.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
