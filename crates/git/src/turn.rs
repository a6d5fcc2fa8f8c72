//! Lets one thread at a time do what needs much memory.

use freestone_core::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Turns that threads wait for.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<(Mutex<bool>, Condvar)>);

/// A turn, which ends when it is dropped.
pub(crate) struct Turn(Turns);

impl Turns {
    /// Waits until no other thread has a turn. A thread must have at most one.
    pub(crate) fn wait(&self) -> Turn {
        let (taken, ended) = &*self.0;
        let mut taken = lock(taken);
        while *taken {
            taken = ended.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Turn(self.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (taken, ended) = &*self.0.0;
        *lock(taken) = false;
        ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_thread_at_a_time_has_a_turn() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let turn = turns.wait();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
    }
}
