//! Threads, as many as the system provides: a limit of threads or processes makes work slower, and
//! does not end it.

use crate::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};

/// Starts a thread of `scope` that does `work`. Returns `None` if the system provides no further
/// thread; then `work` is dropped, and the caller does it, or does with the threads that there are.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().spawn_scoped(scope, work).ok()
}

/// Calls `work` for each of `things`, on up to `count` threads, of which one is the caller's. After
/// the first error no further call begins.
///
/// # Errors
/// That of `work`; or `work` panicked on another thread.
pub fn each<T: Sync>(
    things: &[T],
    count: usize,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || -> Result<()> {
        while !failed.load(Ordering::Relaxed)
            && let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed))
        {
            work(thing).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others = 1..count.min(things.len());
        let others: Vec<_> = others.map_while(|_| spawn(scope, run)).collect();
        let own = run();
        others.into_iter().map(join).fold(own, Result::and)
    })
}

/// Waits for a thread. A panic there is an error here, so that a server continues.
///
/// # Errors
/// Those of the thread; or it panicked.
pub fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Failed, "internal error: a thread panicked (please report this)"))
    })
}

/// Does `work` on up to `count` threads, this one among them, or on as many as the system provides.
/// Returns the results, in any order. A panic of a thread is passed on.
pub fn together<T: Send>(count: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..count).map_while(|_| spawn(scope, &work)).collect();
        let mut results = vec![work()];
        results.extend(
            others.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }),
        );
        results
    })
}

/// Starts a thread called `name` that does `work`, for as long as that takes.
///
/// # Errors
/// The system provides no further thread.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| none_left().because(error))
}

/// Returns the error for a thread that the system does not provide.
pub fn none_left() -> Error {
    Error::new(ErrorKind::Failed, "the system provides too few threads").hint(
        "raise the limit of threads (`ulimit -u`, TasksMax= of a service, the limit of pids of a \
         container)",
    )
}

/// Returns true if the system provides `count` threads now: for libraries that end the process when
/// it does not.
pub fn are_available(count: usize) -> bool {
    let (is_done, done) = (Mutex::new(false), Condvar::new());
    let wait = || {
        let mut guard = crate::lock(&is_done);
        while !*guard {
            guard = done.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    };
    thread::scope(|scope| {
        let started = (0..count).take_while(|_| spawn(scope, wait).is_some()).count();
        *crate::lock(&is_done) = true;
        done.notify_all();
        started == count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_started_as_long_as_there_are_some() {
        assert!(are_available(0) && are_available(3));
        let sum = thread::scope(|scope| {
            let threads: Vec<_> = (0..3).filter_map(|n| spawn(scope, move || n)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>()
        });
        assert_eq!(sum, 3);
    }

    #[test]
    fn each_thing_is_done_once_and_no_panic_ends_the_caller() {
        for count in [0, 1, 3] {
            let sum = AtomicUsize::new(0);
            let add = |n: &usize| {
                sum.fetch_add(*n, Ordering::Relaxed);
                Ok(())
            };
            each(&[1, 20, 300, 4000], count, add).unwrap();
            assert_eq!(sum.into_inner(), 4321);
        }
        let fail = |n: &usize| match n {
            2 => Err(Error::missing("two")),
            _ => Ok(()),
        };
        assert_eq!(each(&[1, 2, 3], 2, fail).unwrap_err().to_string(), "two");
        let caller = thread::current().id();
        let panicking = |_: &usize| -> Result<()> {
            match thread::current().id() == caller {
                true => {
                    // The others have time to take one.
                    thread::sleep(std::time::Duration::from_millis(200));
                    Ok(())
                }
                false => panic!("on another thread"),
            }
        };
        let error = each(&[1, 2], 2, panicking).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }

    #[test]
    fn work_is_done_together_and_by_this_thread_alone() {
        for count in [0, 1, 5] {
            let ids = together(count, || thread::current().id());
            assert_eq!(ids.len(), count.max(1));
            assert_eq!(ids[0], thread::current().id());
        }
        assert_eq!(start("sum", || 1 + 2).unwrap().join().unwrap(), 3);
    }
}
