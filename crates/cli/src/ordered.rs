//! Work on many threads, whose results are taken in order.

use freestone_core::{Error, Result, lock, threads};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The most results that wait for an earlier one. It bounds the memory: while one large file is
/// hashed, the other threads may finish this many small ones.
const AHEAD_MAX: u64 = 4096;

struct Input<N> {
    next: N,
    number: u64,
    ended: bool,
}

struct Results<R, T> {
    take: T,
    /// Number of the result that is taken next.
    next: u64,
    waiting: BTreeMap<u64, R>,
    /// Threads that wait until earlier results are taken. If there are none, the system call that
    /// wakes them is saved.
    sleepers: usize,
    failure: Option<Error>,
}

struct Pool<N, R, T> {
    input: Mutex<Input<N>>,
    results: Mutex<Results<R, T>>,
    changed: Condvar,
    stopped: AtomicBool,
}

/// Does `work` on every item that `next` returns, on `workers` threads, and passes the results to
/// `take` in the order of the items.
///
/// # Errors
/// The first error of any of the three; `next` is not called after it.
pub fn run<I: Send, R: Send>(
    workers: NonZeroUsize,
    next: impl FnMut() -> Result<Option<I>> + Send,
    work: impl Fn(I) -> Result<R> + Sync,
    take: impl FnMut(R) -> Result<()> + Send,
) -> Result<()> {
    let pool = Pool {
        input: Mutex::new(Input { next, number: 0, ended: false }),
        results: Mutex::new(Results {
            take,
            next: 0,
            waiting: BTreeMap::new(),
            sleepers: 0,
            failure: None,
        }),
        changed: Condvar::new(),
        stopped: AtomicBool::new(false),
    };
    threads::together(workers.get(), || pool.work(&work));
    let results = pool.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.failure.map_or(Ok(()), Err)
}

impl<I, R, N, T> Pool<N, R, T>
where
    N: FnMut() -> Result<Option<I>>,
    T: FnMut(R) -> Result<()>,
{
    fn work(&self, work: &impl Fn(I) -> Result<R>) {
        // If this thread panics, the others must not wait for it.
        let stop = StopUnlessDone(self);
        if let Err(error) = self.steps(work) {
            self.stop();
            self.results().failure.get_or_insert(error);
        }
        std::mem::forget(stop);
    }

    fn steps(&self, work: &impl Fn(I) -> Result<R>) -> Result<()> {
        while let Some((number, item)) = self.next()? {
            let result = work(item)?;
            let mut results = self.results();
            while number - results.next >= AHEAD_MAX && !self.is_stopped() {
                results.sleepers += 1;
                results = self.changed.wait(results).unwrap_or_else(PoisonError::into_inner);
                results.sleepers -= 1;
            }
            if self.is_stopped() {
                break;
            }
            results.waiting.insert(number, result);
            results.drain()?;
            let has_sleepers = results.sleepers > 0;
            drop(results);
            if has_sleepers {
                self.changed.notify_all();
            }
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<(u64, I)>> {
        let mut input = lock(&self.input);
        if input.ended || self.is_stopped() {
            return Ok(None);
        }
        let item = (input.next)();
        // Set after a failure, too: threads that wait for this lock do not know of it yet.
        input.ended = !matches!(item, Ok(Some(_)));
        let Some(item) = item? else { return Ok(None) };
        input.number += 1;
        Ok(Some((input.number - 1, item)))
    }
}

impl<N, R, T> Pool<N, R, T> {
    fn results(&self) -> MutexGuard<'_, Results<R, T>> {
        lock(&self.results)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        let results = self.results();
        self.stopped.store(true, Ordering::Relaxed);
        drop(results);
        self.changed.notify_all();
    }
}

impl<R, T: FnMut(R) -> Result<()>> Results<R, T> {
    fn drain(&mut self) -> Result<()> {
        while let Some(result) = self.waiting.remove(&self.next) {
            (self.take)(result)?;
            self.next += 1;
        }
        Ok(())
    }
}

struct StopUnlessDone<'a, N, R, T>(&'a Pool<N, R, T>);

impl<N, R, T> Drop for StopUnlessDone<'_, N, R, T> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::ErrorKind;
    use std::thread;
    use std::time::Duration;

    fn numbers(count: u64, fail_work_at: u64, fail_take_at: u64) -> Result<Vec<u64>> {
        let mut given = 0;
        let mut taken = Vec::new();
        run(
            NonZeroUsize::new(4).unwrap(),
            || {
                given += 1;
                Ok((given <= count).then_some(given))
            },
            |number| {
                if number == 1 {
                    thread::sleep(Duration::from_millis(50));
                }
                if number == fail_work_at {
                    return Err(Error::new(ErrorKind::Failed, "work"));
                }
                Ok(number)
            },
            |number| {
                taken.push(number);
                if number == fail_take_at {
                    return Err(Error::new(ErrorKind::Failed, "take"));
                }
                Ok(())
            },
        )?;
        Ok(taken)
    }

    #[test]
    fn results_come_in_order_even_if_the_first_is_slow() {
        let count = 3 * AHEAD_MAX;
        assert_eq!(numbers(count, 0, 0).unwrap(), (1..=count).collect::<Vec<_>>());
        assert!(numbers(0, 0, 0).unwrap().is_empty());
    }

    #[test]
    fn next_is_not_called_after_a_failure() {
        let mut asked = 0;
        let next = || {
            asked += 1;
            if asked == 1 {
                return Ok(Some(()));
            }
            thread::sleep(Duration::from_millis(50));
            Err(Error::new(ErrorKind::Failed, format!("failure {asked}")))
        };
        // While a result is taken, other threads cannot report a failure.
        let take = |()| {
            thread::sleep(Duration::from_millis(300));
            Ok(())
        };
        let error = run(NonZeroUsize::new(4).unwrap(), next, Ok, take).unwrap_err();
        assert_eq!((error.to_string().as_str(), asked), ("failure 2", 2));
    }

    #[test]
    fn a_failure_ends_all_threads() {
        for (work, take, what) in [(1, 0, "work"), (9000, 0, "work"), (0, 1, "take")] {
            let error = numbers(3 * AHEAD_MAX, work, take).unwrap_err();
            assert_eq!(error.to_string(), what);
        }
    }
}
