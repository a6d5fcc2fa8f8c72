//! Jobs of one push, and the threads that do them.

use crossbeam_channel::{Receiver, Sender, bounded};
use freestone_core::{Error, ErrorKind, Result, threads};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Scope, ScopedJoinHandle};

/// Returns the error of a push whose reading threads ended too early.
pub(crate) fn readers_failed() -> Error {
    Error::new(ErrorKind::Failed, "the reading threads failed")
}

/// What one thread does with its jobs.
pub(crate) trait JobThread<J>: Send {
    /// Does a job.
    ///
    /// # Errors
    /// The thread can do no more jobs.
    fn work(&mut self, job: J) -> Result<()>;

    /// Ends the work of the thread, unless it has failed.
    ///
    /// # Errors
    /// Its last pack could not be written.
    fn finish(self) -> Result<()>;
}

/// The threads that do the jobs of a push. Where the system provides none, the thread that gives a
/// job does it.
pub(crate) struct JobThreads<'scope, J, T> {
    jobs: Option<Sender<J>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<()>>>,
    /// Set if there are no threads.
    alone: Option<T>,
}

impl<'scope, J: Send + 'scope, T: JobThread<J> + 'scope> JobThreads<'scope, J, T> {
    /// Starts up to `count` threads of `scope`. `thread` returns the state of the thread with a
    /// number. Twice as many jobs as threads may wait.
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        count: usize,
        thread: impl Fn(usize) -> T,
    ) -> Self {
        let (jobs_in, jobs) = bounded(2 * count);
        let threads: Vec<_> = (0..count)
            .map_while(|number| {
                let (jobs, thread) = (jobs.clone(), thread(number));
                threads::spawn(scope, move || run(thread, &jobs))
            })
            .collect();
        let alone = threads.is_empty().then(|| thread(0));
        Self { jobs: Some(jobs_in), threads, alone }
    }

    /// Has a job done: gives it to a thread when one has room for it, or does it.
    ///
    /// # Errors
    /// All threads have failed.
    pub(crate) fn give(&mut self, job: J) -> Result<()> {
        match (&mut self.alone, &self.jobs) {
            (Some(alone), _) => alone.work(job),
            (None, Some(jobs)) => jobs.send(job).map_err(|_| readers_failed()),
            (None, None) => Err(readers_failed()),
        }
    }

    /// Says that there are no more jobs: threads that have none left end.
    pub(crate) fn close(&mut self) {
        self.jobs = None;
    }

    /// Waits until all jobs are done.
    ///
    /// # Errors
    /// The first error of a thread.
    pub(crate) fn end(mut self) -> Result<()> {
        self.close();
        let alone = self.alone.take().map_or(Ok(()), JobThread::finish);
        // All are waited for, whichever fails.
        let ends: Vec<Result<()>> = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(readers_failed())))
            .collect();
        ends.into_iter().fold(alone, Result::and)
    }
}

fn run<J>(mut thread: impl JobThread<J>, jobs: &Receiver<J>) -> Result<()> {
    for job in jobs {
        // A panic must not leave the other side waiting.
        let done = catch_unwind(AssertUnwindSafe(|| thread.work(job)));
        done.unwrap_or_else(|_| Err(readers_failed()))?;
    }
    thread.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::{Error, ErrorKind};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Adds its jobs up, and fails at 13.
    struct Adding<'a>(&'a AtomicU64);

    impl JobThread<u64> for Adding<'_> {
        fn work(&mut self, job: u64) -> Result<()> {
            if job == 13 {
                return Err(Error::new(ErrorKind::Failed, "13"));
            }
            self.0.fetch_add(job, Ordering::Relaxed);
            Ok(())
        }

        fn finish(self) -> Result<()> {
            self.0.fetch_add(1000, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn jobs_are_done_by_threads_and_without_any() {
        for count in [0, 1, 3] {
            let sum = AtomicU64::new(0);
            std::thread::scope(|scope| {
                let mut threads = JobThreads::start(scope, count, |_| Adding(&sum));
                assert_eq!(threads.alone.is_some(), count == 0);
                (0..10).for_each(|job| threads.give(job).unwrap());
                threads.close();
                threads.end().unwrap();
            });
            let ends = u64::try_from(count.max(1)).unwrap();
            assert_eq!(sum.into_inner(), 45 + 1000 * ends, "{count}");
        }
    }

    #[test]
    fn a_job_that_fails_is_the_outcome() {
        for count in [0, 1] {
            let sum = AtomicU64::new(0);
            std::thread::scope(|scope| {
                let mut threads = JobThreads::start(scope, count, |_| Adding(&sum));
                let given = threads.give(13);
                assert_eq!(given.is_err(), count == 0);
                let end = threads.end();
                assert!(given.and(end).unwrap_err().to_string().contains("13"));
            });
        }
    }
}
