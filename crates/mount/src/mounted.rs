//! Mounting, and ending it: an earlier mount that is dead is cleared first, and one that is ended
//! serves on until what is open in it is closed.

use crate::filesystem::FileSystem;
use crate::options::MountOptions;
use crate::revisions::Revisions;
use freestone_core::{Error, ErrorKind, Result, lock};
use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;

/// What the system's table of mounts says that is mounted.
const SOURCE: &str = "freestone";

/// How far the kernel reads ahead of who reads in order, where we may say so: it asks in steps of
/// at most so much, and each step costs the same.
const READ_AHEAD_KIB: u32 = 1024;

/// A file system that is mounted. Dropped, it goes on: see [`end`](Self::end).
pub struct Mounted {
    directory: PathBuf,
    thread: JoinHandle<io::Result<()>>,
    unmounter: Mutex<SessionUnmounter>,
}

/// Mounts `revisions` on `directory`, which exists. `failed` is told of what could not be read.
///
/// # Errors
/// - [`NotFound`](ErrorKind::NotFound) if the directory does not exist
/// - [`Refused`](ErrorKind::Refused) if it is none, or freestone is mounted there already
/// - [`Storage`](ErrorKind::Storage) if the system does not mount it
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
            .hint("make it, or name another one"),
        _ => Error::io(format!("directory {name}"), error),
    })?;
    if !directory.is_dir() {
        return Err(Error::refused(format!("{name}: not a directory")));
    }
    if is_ours(&directory) {
        return Err(Error::refused(format!("{name}: freestone is mounted there already"))
            .hint("use it as it is, or `umount` it first"));
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
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    let file_system = FileSystem::new(revisions, options, failed);
    let mut session = Session::new(file_system, &directory, &config)
        .map_err(|error| cannot_mount(&directory, error))?;
    let unmounter = Mutex::new(session.unmount_callable());
    let thread = std::thread::Builder::new().name("mount".to_owned()).spawn(move || session.run());
    let thread = thread.map_err(|error| cannot_mount(&directory, error))?;
    read_ahead(&directory);
    Ok(Mounted { directory, thread, unmounter })
}

fn cannot_mount(directory: &Path, error: io::Error) -> Error {
    let what = format!("{}: cannot be mounted", directory.display());
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "FUSE is needed: /dev/fuse (`modprobe fuse`), and `fusermount3` (package fuse3) for \
             who is not root"
        }
        io::ErrorKind::PermissionDenied => {
            "be root, or own the directory and have `fusermount3` (package fuse3); in a container, \
             give it /dev/fuse"
        }
        _ => {
            "who is not root needs `fusermount3` (package fuse3), and for --allow-other \
              `user_allow_other` in /etc/fuse.conf"
        }
    };
    Error::io(what, error).hint(hint)
}

impl Mounted {
    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes it from the tree of files. What is open in it can be read on until it is closed;
    /// nothing new can be opened.
    ///
    /// # Errors
    /// The system does not let go of it.
    pub fn end(&self) -> Result<()> {
        let wrong =
            |error| Error::io(format!("{}: cannot be unmounted", self.directory.display()), error);
        // First by who mounted it, which it does but once, whatever comes of it: else it would unmount
        // whatever is mounted there when what is open here is closed, be that somebody else's.
        let mut unmounter = lock(&self.unmounter);
        let Err(busy) = unmounter.unmount() else { return Ok(()) };
        match unmount(&self.directory, UnmountFlags::DETACH) {
            // Ended by somebody else.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
            Err(Errno::PERM) => Err(wrong(busy)),
            Err(errno) => Err(wrong(errno.into())),
        }
    }

    /// Whether it is over: unmounted, and all closed.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it is over.
    ///
    /// # Errors
    /// It could not be served to the end.
    pub fn wait(self) -> Result<()> {
        let what = format!("{}: the mount failed", self.directory.display());
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            // What the kernel says to who was just asking for work when the last file was closed. Of a
            // connection that an administrator aborts it says the same, but that stays mounted.
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

/// Clears what a killed process left mounted at `directory`: nobody can use it any more.
fn clear(directory: &Path) -> Result<()> {
    // Asked anew: the kernel may remember for a second what a server said that is dead now.
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
        Error::io(format!("{name}: a dead mount that cannot be cleared"), error)
            .hint(format!("run `umount -l {name}` as root"))
    })
}

/// Whether freestone is mounted at `directory`, which is canonical.
fn is_ours(directory: &Path) -> bool {
    // Without the table nobody can tell, and a second mount above the first does no harm.
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let place = fields.nth(4).map(unescape);
        let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = behind.next().unwrap_or_default();
        let source = behind.next().unwrap_or_default();
        kind.starts_with(b"fuse")
            && source == SOURCE.as_bytes()
            && place
                .is_some_and(|place| Path::new(&std::ffi::OsString::from_vec(place)) == directory)
    })
}

/// Undoes what the table does to blanks and the like: `\040`.
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

/// Lets the kernel read farther ahead, where we may: it is only faster.
fn read_ahead(directory: &Path) {
    if let Ok(stat) = rustix::fs::stat(directory) {
        let (major, minor) = (major(stat.st_dev), minor(stat.st_dev));
        let place = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        let _ = fs::write(place, READ_AHEAD_KIB.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_table_are_read() {
        assert_eq!(unescape(br"/mnt/a\040b\134c\09"), b"/mnt/a b\\c\\09");
        assert_eq!(unescape(br"\"), b"\\");
    }
}
