//! The one way in which freestone locks a mutex: a panic of another thread does not spoil it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also after a thread panicked while it held the lock.
///
/// The guarded value must be valid between any two statements that change it. That is so for every
/// value that freestone guards: caches, counters and queues, each changed by one statement.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_locked_leaves_the_value_usable() {
        let mutex = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut value = lock(&mutex);
                *value = 2;
                panic!("while the lock is held");
            });
            thread.join().is_err()
        });
        assert!(panicked);
        assert_eq!(*lock(&mutex), 2);
    }
}
