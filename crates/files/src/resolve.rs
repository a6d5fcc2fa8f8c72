//! Opens a name below an open directory without following any link.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags to look up a directory on the way to a name.
const THROUGH: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Returns true if `name` stays below the directory that it is resolved from.
pub(crate) fn is_below(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.contains(&0)
        && name.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Opens `name` below `root`. Uses `openat2` as long as `has_openat2` is true, and clears it where
/// the kernel does not have the call.
///
/// # Errors
/// Those of `openat2`; [`Errno::INVAL`] for a name that [`is_below`] refuses.
pub(crate) fn open_below(
    root: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
    mode: Mode,
    has_openat2: &AtomicBool,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if !is_below(name) {
        return Err(Errno::INVAL);
    }
    if has_openat2.load(Ordering::Relaxed) {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, name, flags, mode, resolve) {
            // The kernel lacks the call.
            Err(Errno::NOSYS) => has_openat2.store(false, Ordering::Relaxed),
            // A sandbox that does not know the call forbids it; or something was renamed at the
            // same moment.
            Err(Errno::PERM | Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    open_by_parts(root, name, flags, mode)
}

fn open_by_parts(
    root: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    let mut rest = name;
    while let Some(end) = rest.iter().position(|byte| *byte == b'/') {
        let directory = held.as_ref().map_or(root, AsFd::as_fd);
        held = Some(openat(directory, &rest[..end], THROUGH, Mode::empty())?);
        rest = &rest[end + 1..];
    }
    openat(held.as_ref().map_or(root, AsFd::as_fd), rest, flags, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["a", "a/b", "..a", "a/...", ".a"] {
            assert!(is_below(name.as_bytes()), "{name}");
        }
        for name in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b"] {
            assert!(!is_below(name.as_bytes()), "{name}");
        }
    }
}
