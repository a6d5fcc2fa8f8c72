//! Locking a target, so that nobody else uses it during an update.

use crate::file_target::FileTarget;
use freestone_core::{Error, Result};
use freestone_files::lock_within;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory in which the system says which files its loop devices are attached to.
const BLOCK_DEVICES: &str = "/sys/block";
/// How long the lock of a device is waited for.
const DEVICE_WAIT: Duration = Duration::from_secs(2);

/// Creates the error of a target that another process uses.
fn in_use(path: &Path, by: &str) -> Error {
    Error::refused(format!("{}: in use{by}", path.display())).hint(
        "stop the guest or whatever else has it open; or leave --update out: then a new file \
         replaces it, and the guest keeps the old one",
    )
}

/// Opens the file `target` for writing and locks it, in the ways in which guests do. The locks are
/// released when the returned file is closed.
///
/// # Errors
/// It is in use, or cannot be opened.
pub(super) fn file(target: &FileTarget) -> Result<File> {
    let path = target.path();
    let name = path.display();
    let file = target
        .folder()
        .update_file(target.name())
        .map_err(|error| Error::io(format!("{name}: cannot be opened for writing"), error))?;
    let whole = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        // To the file's end, wherever that is.
        l_len: 0,
        l_pid: 0,
    };
    // QEMU holds such locks on single bytes, both for reading and for writing.
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)) {
        Err(Errno::EAGAIN | Errno::EACCES) => return Err(in_use(path, "")),
        // A file system without locks: nobody else can hold one either.
        Err(Errno::EINVAL | Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS) | Ok(_) => {}
        Err(errno) => {
            return Err(Error::io(format!("{name}: cannot be locked"), errno.into()));
        }
    }
    flock(&file, path)?;
    if let Some(device) = loop_device(&file) {
        return Err(in_use(path, &format!(" as {}", device.display())));
    }
    Ok(file)
}

/// Takes a `flock`.
///
/// # Errors
/// Another process holds one.
pub(super) fn flock(file: &File, path: &Path) -> Result<()> {
    // udev takes one for a moment when a device that was written to is closed.
    let is_device = file.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
    let time = if is_device { DEVICE_WAIT } else { Duration::ZERO };
    if lock_within(file, time) { Ok(()) } else { Err(in_use(path, "")) }
}

/// Returns the loop device that is attached to `file`, if there is one and it can be known.
fn loop_device(file: &File) -> Option<PathBuf> {
    let of = file.metadata().ok()?;
    fs::read_dir(BLOCK_DEVICES).ok()?.flatten().find_map(|entry| {
        let attached = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let found = fs::metadata(attached.trim_end_matches('\n')).ok()?;
        let is_it = (found.dev(), found.ino()) == (of.dev(), of.ino());
        is_it.then(|| Path::new("/dev").join(entry.file_name()))
    })
}
