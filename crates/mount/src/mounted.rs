//! Mounts and unmounts. A dead mount that an earlier process left is removed first. A mount that
//! was ended continues to serve until its open files are closed.

use crate::filesystem::FileSystem;
use crate::options::MountOptions;
use crate::revisions::Revisions;
use freestone_core::{Error, ErrorKind, Result, lock, threads};
use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;

/// The source in the system's table of mounts.
const SOURCE: &str = "freestone";

/// How far the kernel reads ahead of a sequential reader, where this process may set it. One
/// request of the kernel reads at most as much, and each request costs the same.
const READ_AHEAD_KIB: u32 = 1024;

/// A mounted file system. It stays mounted when this is dropped; see [`end`](Self::end).
pub struct Mounted {
    directory: PathBuf,
    thread: JoinHandle<io::Result<()>>,
    unmounter: Mutex<SessionUnmounter>,
}

/// Mounts `revisions` on `directory`, which must exist. `failed` is called with each error of a
/// read.
///
/// # Errors
/// - [`NotFound`](ErrorKind::NotFound) if the directory does not exist
/// - [`Refused`](ErrorKind::Refused) if it is not a directory, or freestone is mounted there
///   already
/// - [`Storage`](ErrorKind::Storage) if the system cannot mount it
pub fn mount(
    revisions: Box<dyn Revisions>,
    directory: &Path,
    options: MountOptions,
    failed: Box<dyn Fn(&Error) + Send + Sync>,
) -> Result<Mounted> {
    let name = directory.display();
    clear(directory)?;
    let directory = fs::canonicalize(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("directory {name} does not exist"))
            .hint("create it, or name another one"),
        _ => Error::io(format!("directory {name}"), error),
    })?;
    if !directory.is_dir() {
        return Err(Error::refused(format!("{name}: not a directory")));
    }
    if is_ours(&directory) {
        return Err(Error::refused(format!("{name}: freestone is mounted there already"))
            .hint("use that mount, or `umount` it first"));
    }
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(SOURCE.to_owned()),
        MountOption::Subtype(SOURCE.to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    // Without all of its threads the session would end.
    let threads = options.threads.max(1);
    config.n_threads = Some(if threads::are_available(threads + 1) { threads } else { 1 });
    config.clone_fd = true;
    let file_system = FileSystem::new(revisions, options, failed);
    let mut session = Session::new(file_system, &directory, &config)
        .map_err(|error| cannot_mount(&directory, error))?;
    let unmounter = Mutex::new(session.unmount_callable());
    let thread = threads::start("mount", move || session.run());
    let thread = thread
        .map_err(|error| error.context(format!("{}: cannot be mounted", directory.display())))?;
    read_ahead(&directory);
    Ok(Mounted { directory, thread, unmounter })
}

/// Returns the error of a failed mount, with a hint that fits its cause.
fn cannot_mount(directory: &Path, error: io::Error) -> Error {
    let what = format!("{}: cannot be mounted", directory.display());
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "FUSE needs /dev/fuse (`modprobe fuse`); a user other than root also needs \
             `fusermount3` (package fuse3)"
        }
        io::ErrorKind::PermissionDenied => {
            "run as root, or own the directory and install `fusermount3` (package fuse3); a \
             container needs /dev/fuse"
        }
        _ => {
            "a user other than root needs `fusermount3` (package fuse3), and for --allow-other \
             also `user_allow_other` in /etc/fuse.conf"
        }
    };
    Error::io(what, error).hint(hint)
}

impl Mounted {
    /// Returns the directory that it is mounted on.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Unmounts it. Files that are open can be read until they are closed; no others can be opened.
    ///
    /// # Errors
    /// The system cannot unmount it.
    pub fn end(&self) -> Result<()> {
        let wrong =
            |error| Error::io(format!("{}: cannot be unmounted", self.directory.display()), error);
        // The unmounter goes first. It acts only once, whether or not that succeeds; unused, it
        // would unmount whatever is mounted there, even by another process, when the last file is
        // closed.
        let mut unmounter = lock(&self.unmounter);
        let Err(busy) = unmounter.unmount() else { return Ok(()) };
        match unmount(&self.directory, UnmountFlags::DETACH) {
            // Another process has unmounted it.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
            Err(Errno::PERM) => Err(wrong(busy)),
            Err(errno) => Err(wrong(errno.into())),
        }
    }

    /// Returns true if it is unmounted and all its files are closed.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it is unmounted and all its files are closed.
    ///
    /// # Errors
    /// A thread that served it failed.
    pub fn wait(self) -> Result<()> {
        let what = format!("{}: the mount failed", self.directory.display());
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            // The kernel returns this to a thread that was just asking for a request when the last
            // file was closed. It is also the error of a connection that an administrator aborts,
            // but then the directory stays mounted.
            Ok(Err(error))
                if error.kind() == io::ErrorKind::ConnectionAborted
                    && !is_ours(&self.directory) =>
            {
                Ok(())
            }
            Ok(Err(error)) => Err(Error::io(what, error)),
            Err(_) => Err(Error::new(ErrorKind::Failed, what)),
        }
    }
}

/// Removes the mount that a killed process left at `directory`, which nobody can use any more.
fn clear(directory: &Path) -> Result<()> {
    // Without the kernel's cache, which may hold an answer of the dead server for a second.
    let flags = AtFlags::STATX_FORCE_SYNC;
    match statx(CWD, directory, flags, StatxFlags::BASIC_STATS) {
        Err(Errno::NOTCONN) => {}
        _ => return Ok(()),
    }
    let unmounted = match unmount(directory, UnmountFlags::DETACH) {
        Err(Errno::PERM) => {
            let mut helper = Command::new("fusermount3");
            helper.args(["-u", "-z", "-q", "--"]).arg(directory).stdin(Stdio::null());
            match helper.status() {
                Ok(status) if status.success() => Ok(()),
                Ok(_) => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
                Err(error) => Err(error),
            }
        }
        unmounted => unmounted.map_err(io::Error::from),
    };
    unmounted.map_err(|error| {
        let name = directory.display();
        Error::io(format!("{name}: a dead mount cannot be removed"), error)
            .hint(format!("run `umount -l {name}` as root"))
    })
}

/// Returns true if freestone is mounted at `directory`, which is canonical.
fn is_ours(directory: &Path) -> bool {
    // If the table cannot be read, a second mount over the first one does no harm.
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let mounted_on = fields.nth(4).map(unescape);
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = rest.next().unwrap_or_default();
        let source = rest.next().unwrap_or_default();
        kind.starts_with(b"fuse")
            && source == SOURCE.as_bytes()
            && mounted_on.is_some_and(|path| Path::new(&OsString::from_vec(path)) == directory)
    })
}

/// Decodes the octal escapes of the table of mounts, such as `\040` for a blank.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &more[3..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

/// Lets the kernel read farther ahead, where this process may set that. It only affects speed.
fn read_ahead(directory: &Path) {
    if let Ok(stat) = rustix::fs::stat(directory) {
        let (major, minor) = (major(stat.st_dev), minor(stat.st_dev));
        let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        let _ = fs::write(setting, READ_AHEAD_KIB.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_table_of_mounts_are_decoded() {
        assert_eq!(unescape(br"/mnt/a\040b\134c\09"), b"/mnt/a b\\c\\09");
        assert_eq!(unescape(br"\"), b"\\");
    }
}
