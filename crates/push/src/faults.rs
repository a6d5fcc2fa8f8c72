//! Paths that cannot be read. They end the push, but not at once: all of them are reported
//! together.

use freestone_core::{Error, ErrorKind, Result, Unreadable, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The paths of one push that cannot be read, as they are found.
#[derive(Default)]
pub(crate) struct Faults {
    list: Mutex<Unreadable>,
    any: AtomicBool,
}

impl Faults {
    /// Returns true if there are any, so that no revision will be made.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Keeps an error that is about one path, and returns `None` in its place. Any other error is
    /// returned.
    pub(crate) fn sift<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
        outcome.map(Some).or_else(|error| {
            lock(&self.list).collect(error)?;
            self.any.store(true, Ordering::Relaxed);
            Ok(None)
        })
    }

    /// Takes the error that ended the walk. Returns it if no other path is worth looking at.
    pub(crate) fn take_end_of_walk(&self, error: Error) -> Result<()> {
        match self.sift::<()>(Err(error)) {
            Err(error) if error.kind() == ErrorKind::Refused => {
                lock(&self.list).set_beside(error);
            }
            sifted => _ = sifted?,
        }
        self.any.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the error that lists all of them, and forgets them.
    pub(crate) fn take_error(&self) -> Option<Error> {
        std::mem::take(&mut *lock(&self.list)).into_error()
    }
}
