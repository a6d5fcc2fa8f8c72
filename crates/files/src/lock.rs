//! Locks of files that other processes may hold.

use rustix::fd::AsFd;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock (`flock`) of `file`, and waits for it for at most `time`. Returns false if others
/// hold it all that time. On a file system without locks nobody holds one, so there it returns true.
///
/// Whoever may read a file may lock it, so no lock is waited for without a limit.
pub fn lock_within(file: impl AsFd, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        if flock(&file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK) {
            return true;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(left.min(PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    #[test]
    fn a_lock_is_waited_for_as_long_as_was_said() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let holder = folder.update_or_create_file("lock", 0o600).unwrap();
        let other = folder.read_file("lock").unwrap();
        assert!(lock_within(&holder, Duration::ZERO));
        let begun = Instant::now();
        assert!(!lock_within(&other, Duration::from_millis(200)));
        assert!(begun.elapsed() >= Duration::from_millis(200));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock_within(&other, Duration::from_secs(60)));
            sleep(Duration::from_millis(100));
            assert!(!waiting.is_finished());
            drop(holder);
            assert!(waiting.join().unwrap());
        });
    }
}
