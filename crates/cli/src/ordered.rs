//! Doing work on many threads, and taking its results in order.

use freestone_core::{Error, Result, lock};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Results that may wait for one before them. It bounds the memory; while one large file is
/// hashed, so many small ones go on.
const AHEAD_MAX: u64 = 4096;

struct Input<N> {
    next: N,
    number: u64,
    ended: bool,
}

struct Results<R, T> {
    take: T,
    /// The number of the result that is taken next.
    next: u64,
    waiting: BTreeMap<u64, R>,
    /// Threads that wait for a result before theirs: telling nobody costs a system call too.
    sleepers: usize,
    failure: Option<Error>,
}

struct Pool<N, R, T> {
    input: Mutex<Input<N>>,
    results: Mutex<Results<R, T>>,
    changed: Condvar,
    stopped: AtomicBool,
}

/// Does `work` on everything that `next` gives, on `workers` threads, and gives the results to
/// `take` in the order of `next`.
///
/// # Errors
/// The first that any of the three returns; nothing is asked of `next` after it.
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
    thread::scope(|scope| {
        for _ in 1..workers.get() {
            scope.spawn(|| pool.work(&work));
        }
        pool.work(&work);
    });
    let results = pool.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.failure.map_or(Ok(()), Err)
}

impl<I, R, N, T> Pool<N, R, T>
where
    N: FnMut() -> Result<Option<I>>,
    T: FnMut(R) -> Result<()>,
{
    fn work(&self, work: &impl Fn(I) -> Result<R>) {
        // A panic here must not leave the others waiting.
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
            let told = results.sleepers > 0;
            drop(results);
            if told {
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
        // Also after a failure, which who waits for this lock does not know of yet.
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
    fn nothing_is_asked_for_after_a_failure() {
        let mut asked = 0;
        let next = || {
            asked += 1;
            if asked == 1 {
                return Ok(Some(()));
            }
            thread::sleep(Duration::from_millis(50));
            Err(Error::new(ErrorKind::Failed, format!("failure {asked}")))
        };
        // While a result is being taken, nobody can be told of a failure.
        let take = |()| {
            thread::sleep(Duration::from_millis(300));
            Ok(())
        };
        let error = run(NonZeroUsize::new(4).unwrap(), next, Ok, take).unwrap_err();
        assert_eq!((error.to_string().as_str(), asked), ("failure 2", 2));
    }

    #[test]
    fn a_failure_ends_all_and_nobody_waits() {
        for (work, take, what) in [(1, 0, "work"), (9000, 0, "work"), (0, 1, "take")] {
            let error = numbers(3 * AHEAD_MAX, work, take).unwrap_err();
            assert_eq!(error.to_string(), what);
        }
    }
}
