//! The file or device to which a path leads, and whether an image may be written to it.

use crate::control::Control;
use crate::image::Image;
use crate::overwrite::Overwrite;
use crate::report::SinkReport;
use crate::{device, file};
use freestone_core::{Error, ErrorKind, Result};
use std::fs;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// A file or device to which an image can be written by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A regular file, which need not exist yet. All links are resolved.
    File(PathBuf),
    /// A block device.
    Device(PathBuf),
}

impl Target {
    /// Returns what `path` names, after following links.
    ///
    /// # Errors
    /// - [`ErrorKind::Refused`] if it is neither a block device nor a path where a regular file can
    ///   be, or if only devices belong there
    /// - [`ErrorKind::NotFound`] if the directory does not exist
    /// - [`ErrorKind::Storage`] if it cannot be inspected
    pub fn find(path: &Path) -> Result<Self> {
        let refused = |what: &str, hint: &str| {
            Err(Error::refused(format!("{}: {what}", path.display())).hint(hint))
        };
        let mut link = path.to_owned();
        for _ in 0..LINKS_MAX {
            let Some(name) = link.file_name().filter(|_| !ends_in_slash(&link)) else {
                return refused("a directory, not a file", "name a file in it");
            };
            let directory = directory_of(&link)?;
            let place = directory.join(name);
            if directory.starts_with("/proc") || directory.starts_with("/sys") {
                return refused(
                    "in a file system of the kernel, which cannot hold an image",
                    "for the standard output, give `-`",
                );
            }
            let kind = match fs::symlink_metadata(&place) {
                Ok(metadata) => Some(metadata.file_type()),
                Err(error) if error.kind() == IoKind::NotFound => None,
                Err(error) => return Err(Error::io(place.display().to_string(), error)),
            };
            match kind {
                Some(kind) if kind.is_symlink() => {
                    let text = fs::read_link(&place)
                        .map_err(|error| Error::io(place.display().to_string(), error))?;
                    link = directory.join(text);
                }
                Some(kind) if kind.is_block_device() => return Ok(Self::Device(place)),
                Some(kind) if kind.is_dir() => {
                    return refused("a directory, not a file", "name a file in it");
                }
                Some(kind) if !kind.is_file() => {
                    return refused(
                        "neither a regular file nor a block device",
                        "to write to a pipe or the like, give `-` and redirect the output there",
                    );
                }
                _ if directory.starts_with("/dev") && !directory.starts_with("/dev/shm") => {
                    return refused(
                        "under /dev, but not a block device",
                        "a file there would only fill memory: check the device's name, and whether it is \
                         attached",
                    );
                }
                _ => return Ok(Self::File(place)),
            }
        }
        refused("too many symbolic links", "name the file itself")
    }
}

/// Returns true if `path` ends in a slash, which means a directory. `Path` ignores such a slash.
fn ends_in_slash(path: &Path) -> bool {
    matches!(path.as_os_str().as_encoded_bytes(), [.., b'/'] | [.., b'/', b'.'])
}

fn directory_of(path: &Path) -> Result<PathBuf> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::canonicalize(directory).map_err(|error| {
        let what = directory.display();
        if error.kind() == IoKind::NotFound {
            let what = format!("directory {what} does not exist");
            return Error::new(ErrorKind::NotFound, what).hint("create it, or name another one");
        }
        Error::io(format!("directory {what}"), error)
    })
}

/// Checks whether an image of `length` bytes may be written to `path`, without writing anything.
///
/// # Errors
/// Those of [`write()`] that can be known before writing.
pub fn check(length: u64, path: &Path, overwrite: &Overwrite) -> Result<Target> {
    let target = Target::find(path)?;
    match &target {
        Target::File(path) => file::check(path, overwrite).map(drop)?,
        Target::Device(path) => device::open(path, length, overwrite).map(drop)?,
    }
    Ok(target)
}

/// Writes `image` to the file or device that `path` names: see [`file::write`] and
/// [`device::write`].
///
/// # Errors
/// Those of [`Target::find`], [`file::write`] and [`device::write`].
pub fn write(
    image: &Image<'_>,
    path: &Path,
    overwrite: &Overwrite,
    control: &Control<'_>,
) -> Result<SinkReport> {
    match Target::find(path)? {
        Target::File(path) => file::write(image, &path, overwrite, control),
        Target::Device(path) => device::write(image, &path, overwrite, control),
    }
}
