//! Threads, as many as the system provides: a limit of threads or processes makes work slower, and
//! does not end it.

use std::sync::{Condvar, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};

/// Starts a thread of `scope` that does `work`. Returns `None` if the system provides no further
/// thread; then `work` is dropped, and the caller does it, or does with the threads that there are.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().spawn_scoped(scope, work).ok()
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
}
