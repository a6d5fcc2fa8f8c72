//! The folder in which a user's caches of a store are kept.
//!
//! What proves bytes or names contents is believed only where nobody but the reader could have
//! written it. So it is kept outside of the store, in a folder of the user who runs the program,
//! and not used if others may write to that folder.

use crate::Folder;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of root's caches.
const OF_ROOT: &str = "/var/cache";
/// The name of the folder in the directory of a user's caches.
const NAME: &str = "freestone";

/// Returns the folder of the caches of the user who runs this program: `freestone` in
/// `xdg_cache_home` if that is an absolute path, else in `/var/cache` for root, and in `.cache` in
/// `home` for others. Returns `None` if none of them is known.
///
/// Source: XDG Base Directory Specification, which says that a relative path is ignored.
pub fn of_user(xdg_cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = xdg_cache_home.and_then(absolute).or_else(|| {
        if rustix::process::geteuid().is_root() {
            return Some(PathBuf::from(OF_ROOT));
        }
        home.and_then(absolute).map(|home| home.join(".cache"))
    })?;
    Some(base.join(NAME))
}

/// Opens the folder `name` in the folder `base` of a user's caches, and creates both where they do
/// not exist, for this user alone.
///
/// # Errors
/// One cannot be created; or one belongs to another user, or others may write to it
/// ([`io::ErrorKind::PermissionDenied`]).
pub fn open(base: &Path, name: &str) -> io::Result<Folder> {
    let all = match Folder::open(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(base)?;
            Folder::open(base)?
        }
        opened => opened?,
    };
    let own = match all.folder(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            all.create_folders(name, 0o700)?;
            all.folder(name)?
        }
        opened => opened?,
    };
    for folder in [&all, &own] {
        if !folder.owner("")?.is_own() {
            let what = "it belongs to another user, or others may write to it";
            let path = folder.path().display();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{path}: {what}")));
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_place_is_that_of_the_specification() {
        let home = Some("/home/a".into());
        let named = of_user(Some("/caches".into()), home.clone()).unwrap();
        assert_eq!(named, Path::new("/caches/freestone"));
        let own = match rustix::process::geteuid().is_root() {
            true => "/var/cache/freestone",
            false => "/home/a/.cache/freestone",
        };
        for ignored in [None, Some("".into()), Some("relative".into())] {
            assert_eq!(of_user(ignored, home.clone()).unwrap(), Path::new(own));
        }
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().join("deep/freestone");
        let folder = open(&base, "store").unwrap();
        assert_eq!(folder.stat("").unwrap().st_mode & 0o7777, 0o700);
        assert_eq!(base.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        for path in [base.clone(), base.join("store")] {
            for mode in [0o720, 0o702, 0o1777] {
                set_mode(&path, mode);
                let error = open(&base, "store").unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{mode:o}");
            }
            set_mode(&path, 0o755);
            open(&base, "store").unwrap();
        }
        std::fs::remove_dir(base.join("store")).unwrap();
        std::os::unix::fs::symlink(place.path(), base.join("store")).unwrap();
        assert!(open(&base, "store").is_err());
    }
}
