//! Which upstreams this machine may contact.
//!
//! The file `upstream` of a store names a URL, and a store may have been handed over: as a stick, as
//! an archive, or in the directory of another user. Whoever wrote it would choose to whom this
//! machine sends requests, and to which bucket with its keys. So an upstream at a URL is contacted
//! only if this user named it: by `init --upstream`, which is remembered, by `--trust-upstream`, or
//! in the configuration. What root set up for other users counts, too.

use crate::config::user_directory;
use freestone_backend::directory::directory_of;
use freestone_core::{Error, Result, shown};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest list of remembered upstreams that is read.
const LIST_BYTES_MAX: u64 = 1 << 20;
/// The permissions to write, of all but the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Returns the file of the upstreams that this user named: URLs, each on a line.
fn list_path() -> Option<PathBuf> {
    // A service of the system has no home.
    let home = || geteuid().is_root().then(|| PathBuf::from("/root/.local/state"));
    let state = user_directory("XDG_STATE_HOME", ".local/state").or_else(home)?;
    Some(state.join("freestone/upstreams"))
}

/// Reads the list; empty if there is none.
fn read_list(path: &Path) -> String {
    let mut text = String::new();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
    let read = |file: File| file.take(LIST_BYTES_MAX).read_to_string(&mut text);
    match file.map(read) {
        Ok(Ok(_)) => text,
        _ => String::new(),
    }
}

/// Returns true if `named` is `url`, or a URL above it.
fn covers(named: &str, url: &str) -> bool {
    let named = named.trim_end_matches('/');
    !named.is_empty()
        && url.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Remembers that this user named `url` as an upstream.
///
/// # Errors
/// The list cannot be written.
pub fn remember(url: &str) -> Result<()> {
    if directory_of(url).is_some() {
        return Ok(());
    }
    let Some(path) = list_path() else { return Ok(()) };
    if read_list(&path).lines().any(|named| covers(named, url)) {
        return Ok(());
    }
    let write = || {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(format!("{url}\n").as_bytes())
    };
    write().map_err(|error: std::io::Error| {
        let what =
            format!("{} cannot be written, so the upstream is not remembered", path.display());
        Error::io(what, error).hint(format!("name it with --trust-upstream {url}"))
    })
}

/// Returns true if root set up the store in `root`, and nobody else can have changed what its file
/// `upstream` says.
fn is_by_root(root: &Path) -> bool {
    let is_roots = |path: &Path| {
        fs::symlink_metadata(path)
            .is_ok_and(|found| found.uid() == 0 && found.mode() & WRITABLE_BY_OTHERS == 0)
    };
    !geteuid().is_root() && is_roots(root) && is_roots(&root.join("upstream"))
}

/// Checks that the upstream `url` of the store in `root` may be contacted. `named` are the URLs of
/// the command line and of the configuration.
///
/// # Errors
/// [`Refused`](freestone_core::ErrorKind::Refused) if this user has not named it.
pub fn check<'a>(root: &Path, url: &str, named: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut named = named;
    if directory_of(url).is_some() || named.any(|named| covers(named, url)) || is_by_root(root) {
        return Ok(());
    }
    let list = list_path().map(|path| read_list(&path)).unwrap_or_default();
    if list.lines().any(|named| covers(named, url)) {
        return Ok(());
    }
    let shown = shown::url(url);
    Err(Error::refused(format!(
        "the store {} names {shown} as its upstream, and this user has not",
        root.display()
    ))
    .hint(format!(
        "if you trust it, give --trust-upstream {shown}, or list it as trust-upstreams in the \
         configuration; --offline contacts nobody"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_covers_what_is_below_it() {
        for (named, url) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket/a"),
            ("https://host/a", "https://host/a/b"),
        ] {
            assert!(covers(named, url), "{named} {url}");
        }
        for (named, url) in [
            ("s3://bucket", "s3://bucket2"),
            ("s3://bucket/a", "s3://bucket"),
            ("https://host", "https://host.evil/a"),
            ("https://host", "https://host:1/a"),
            ("", "s3://bucket"),
            ("/", "/"),
        ] {
            assert!(!covers(named, url), "{named} {url}");
        }
    }
}
