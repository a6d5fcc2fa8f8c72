//! A fixed number of threads for work that takes time: reading, decoding, proving.
//!
//! They never touch a connection, so a client that does not read its replies delays only itself.
//! Each holds a few megabytes at most, so their number bounds the memory that all clients together
//! can make a server use.

use crossbeam_channel::{Sender, bounded, unbounded};
use freestone_core::{Error, ErrorKind, Result};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

type Job = Box<dyn FnOnce() + Send>;

/// The threads. When they are dropped, they finish the work that is queued and end.
pub struct Workers {
    /// Holds no more jobs than the bounded number of requests of all connections.
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system cannot start as many.
    pub fn start(count: NonZeroUsize) -> Result<Self> {
        let (jobs, queue) = unbounded::<Job>();
        let mut threads = Vec::with_capacity(count.get());
        for _ in 0..count.get() {
            let queue = queue.clone();
            let work = move || queue.into_iter().for_each(|job| job());
            let thread = thread::Builder::new().name("worker".into()).spawn(work);
            threads.push(thread.map_err(|error| Error::io("cannot start a thread", error))?);
        }
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Queues `work`. The thread that runs it then calls `done` with its result, which is an error
    /// if `work` panics; `done` must not panic.
    pub fn queue<T>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            done(result.unwrap_or_else(|_| Err(panicked())));
        };
        if let Some(jobs) = &self.jobs {
            // The threads receive for as long as this lives.
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Runs `work` on one of the threads, and waits for its result.
    ///
    /// # Errors
    /// `work` returns an error or panics.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (give, take) = bounded(1);
        self.queue(work, move |result| {
            let _ = give.send(result);
        });
        take.recv().unwrap_or_else(|_| Err(panicked()))
    }
}

fn panicked() -> Error {
    let what = "internal error: a worker thread panicked (please report this)";
    Error::new(ErrorKind::Failed, what)
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A worker that holds the last reference cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_panics_is_an_error_and_the_thread_stays() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let panicked = workers.run(|| -> Result<()> { panic!("a test's panic") });
        assert!(panicked.unwrap_err().to_string().starts_with("internal error: "));
        assert_eq!(workers.run(|| Ok(7)).unwrap(), 7);
    }
}
