//! Reads the files of a repository that are not objects: `config`, `HEAD`, refs, alternates.
//!
//! A repository may come from somebody else, and its files may be anything. They are opened without
//! waiting, must be regular files (or links to such), and never take more memory than the caller
//! allows.

use freestone_core::{Error, Result, path};
use rustix::fs::OFlags;
use std::fs::{DirEntry, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Returns a path of the repository as text for people.
pub(crate) fn shown(file: &Path) -> String {
    path::display(file.as_os_str().as_bytes())
}

/// Opens the file at `file`. Returns `None` if it does not exist or is a directory.
///
/// # Errors
/// It is a pipe, a device or a socket, or cannot be opened.
pub(crate) fn open(file: &Path) -> Result<Option<File>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let wrong = |error| Error::io(format!("{} cannot be read", shown(file)), error);
    let special = || {
        Error::refused(format!("{} is not a regular file", shown(file))).hint(
            "git keeps a regular file there; remove it, or use another copy of the repository",
        )
    };
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(file) {
        Ok(opened) => opened,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                // What a socket answers, or a device without a driver.
                _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                    Err(special())
                }
                _ => Err(wrong(error)),
            };
        }
    };
    let kind = opened.metadata().map_err(wrong)?.file_type();
    match kind {
        _ if kind.is_dir() => Ok(None),
        _ if kind.is_file() => Ok(Some(opened)),
        _ => Err(special()),
    }
}

/// Reads the first `bytes_max` bytes of the file at `file`, or all of it if it is shorter; `None`
/// if there is no file, or a directory.
///
/// # Errors
/// As [`open`], or reading fails.
pub(crate) fn read_start(file: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let Some(opened) = open(file)? else { return Ok(None) };
    let mut bytes = Vec::new();
    opened
        .take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(format!("{} cannot be read", shown(file)), error))?;
    Ok(Some(bytes))
}

/// Reads the file at `file`. Returns `None` if it does not exist or is a directory.
///
/// # Errors
/// As [`read_start`], or the file is longer than `bytes_max`.
pub(crate) fn read(file: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let bytes = read_start(file, bytes_max.saturating_add(1))?;
    if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > bytes_max) {
        return Err(Error::corrupt(format!("{} is longer than {bytes_max} bytes", shown(file))));
    }
    Ok(bytes)
}

/// Returns what is in a directory; nothing if there is none.
///
/// # Errors
/// It cannot be read.
pub(crate) fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let read = std::fs::read_dir(folder).and_then(Iterator::collect);
    match read {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        read => read.map_err(|error| Error::io(format!("{} cannot be read", shown(folder)), error)),
    }
}

/// Checks that the file at `file`, if there is one, is a regular file, for a library that opens it
/// by its path.
///
/// # Errors
/// It is a pipe, a device or a socket.
pub(crate) fn check(file: &Path) -> Result<()> {
    open(file).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::ErrorKind;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_are_read_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "12345").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for missing in ["none", "folder", "file/x"] {
            assert_eq!(read(&at(missing), 9).unwrap(), None, "{missing}");
        }
        for good in ["file", "link"] {
            assert_eq!(read(&at(good), 5).unwrap().unwrap(), b"12345");
            assert_eq!(read_start(&at(good), 2).unwrap().unwrap(), b"12");
            assert_eq!(read(&at(good), 4).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        for bad in ["pipe", "zero", "socket"] {
            let error = read(&at(bad), 9).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{bad}");
            assert!(error.to_string().contains("is not a regular file"), "{error}");
        }
    }
}
