//! The location of a store, a directory or a URL; and absolute paths.

use crate::config::is_url;
use crate::output;
use freestone_core::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// The location of a store.
#[derive(Clone, Debug)]
pub enum Location {
    /// A directory.
    Directory(PathBuf),
    /// Object storage, or a web server.
    #[cfg(feature = "remote")]
    Remote(freestone_remote::StoreUrl),
}

impl Location {
    /// Parses `named`, a path or a URL.
    ///
    /// # Errors
    /// It is a URL that no store can have, or this build does not support URLs.
    pub fn parse(named: PathBuf) -> Result<Self> {
        let text = named.to_string_lossy();
        if !is_url(&text) {
            return Ok(Self::Directory(named));
        }
        #[cfg(feature = "remote")]
        return Ok(Self::Remote(freestone_remote::StoreUrl::parse(&text)?));
        #[cfg(not(feature = "remote"))]
        return Err(Error::refused(format!("store {text}: this build does not support URLs"))
            .hint("name a directory, or build freestone with the feature `remote`"));
    }

    /// Returns the path of a store in a directory.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            #[cfg(feature = "remote")]
            Self::Remote(_) => None,
        }
    }

    /// Renders the location for JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Directory(path) => output::place(path),
            #[cfg(feature = "remote")]
            Self::Remote(place) => place.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "remote")]
            Self::Remote(place) => place.fmt(f),
        }
    }
}

/// Returns the absolute path of `path`, a path on this machine.
///
/// # Errors
/// The path is empty, or the current directory does not exist any more.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::io(format!("path {} cannot be made absolute", path.display()), error)
    })
}
