//! The file or device to which a path leads, and whether an image may be written to it.

use crate::control::Control;
use crate::device::Fit;
use crate::file_target::FileTarget;
use crate::image::Image;
use crate::overwrite::Overwrite;
use crate::report::SinkReport;
use crate::{device, file};
use freestone_core::{Error, ErrorKind, Result};
use freestone_files::{Folder, may_follow};
use rustix::fs::FileType;
use std::io;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// A file or device to which an image can be written by name.
#[derive(Clone, Debug)]
pub enum Target {
    /// A regular file, which need not exist yet. All links are resolved.
    File(FileTarget),
    /// A block device.
    Device(PathBuf),
}

impl Target {
    /// Returns what `path` names, after following links. A link in a directory that everybody may
    /// write to is followed only where the kernel would follow it ([`may_follow`]).
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
        let mut from: Option<Folder> = None;
        for _ in 0..LINKS_MAX {
            let Some(name) = link.file_name().filter(|_| !ends_in_slash(&link)) else {
                return refused("a directory, not a file", "name a file in it");
            };
            let folder = directory_of(from.as_ref(), &link)?;
            let directory = folder.real_path().map_err(|error| {
                Error::io(format!("directory {}", folder.path().display()), error)
            })?;
            let place = directory.join(name);
            let wrong = |error| Error::io(place.display().to_string(), error);
            if directory.starts_with("/proc") || directory.starts_with("/sys") {
                return refused(
                    "in a file system of the kernel, which cannot hold an image",
                    "for the standard output, give `-`",
                );
            }
            let stat = match folder.stat(name) {
                Ok(stat) => Some(stat),
                Err(error) if error.kind() == IoKind::NotFound => None,
                Err(error) => return Err(wrong(error)),
            };
            match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Some(FileType::Symlink) => {
                    let of_directory = folder.stat("").map_err(wrong)?;
                    if !stat.is_some_and(|stat| may_follow(&stat, &of_directory)) {
                        return refused(
                            "a link of another user, in a directory where everybody may make links",
                            "name the file itself",
                        );
                    }
                    link = folder.read_link(name).map_err(wrong)?;
                    from = Some(folder);
                }
                Some(FileType::BlockDevice) => return Ok(Self::Device(place)),
                Some(FileType::Directory) => {
                    return refused("a directory, not a file", "name a file in it");
                }
                Some(kind) if kind != FileType::RegularFile => {
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
                _ => {
                    let name = name.to_owned();
                    return Ok(Self::File(FileTarget::new(folder, name, place)));
                }
            }
        }
        refused("too many symbolic links", "name the file itself")
    }

    /// Returns the path of the file or device, without links, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Device(path) => path,
        }
    }
}

/// Returns true if `path` ends in a slash, which means a directory. `Path` ignores such a slash.
fn ends_in_slash(path: &Path) -> bool {
    matches!(path.as_os_str().as_encoded_bytes(), [.., b'/'] | [.., b'/', b'.'])
}

/// Opens the directory of `path`, which is seen from `from`, or from the working directory.
fn directory_of(from: Option<&Folder>, path: &Path) -> Result<Folder> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let opened: io::Result<Folder> = match from {
        None => Folder::open(directory),
        Some(from) => from.follow(directory),
    };
    opened.map_err(|error| {
        let what = directory.display();
        if error.kind() == IoKind::NotFound {
            let what = format!("directory {what} does not exist");
            return Error::new(ErrorKind::NotFound, what).hint("create it, or name another one");
        }
        Error::io(format!("directory {what}"), error)
    })
}

/// Checks whether an image with the properties `fit` may be written to `path`, without writing
/// anything.
///
/// # Errors
/// Those of [`write()`] that can be known before writing.
pub fn check(fit: Fit, path: &Path, overwrite: &Overwrite) -> Result<Target> {
    let target = Target::find(path)?;
    match &target {
        Target::File(file) => file::check(file, overwrite).map(drop)?,
        Target::Device(path) => device::open(path, fit, overwrite).map(drop)?,
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
        Target::File(file) => file::write(image, &file, overwrite, control),
        Target::Device(path) => device::write(image, &path, overwrite, control),
    }
}
