//! Where a store is: a directory, or a URL.

use crate::config::is_url;
use crate::output;
use freestone_core::Result;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// Object storage, or a web server.
    #[cfg(feature = "remote")]
    Remote(freestone_remote::StoreUrl),
}

impl Place {
    /// What `named`, a path or a URL, names.
    ///
    /// # Errors
    /// It is a URL that no store can have, or this build knows none.
    pub fn parse(named: PathBuf) -> Result<Self> {
        let text = named.to_string_lossy();
        if !is_url(&text) {
            return Ok(Self::Directory(named));
        }
        #[cfg(feature = "remote")]
        return Ok(Self::Remote(freestone_remote::StoreUrl::parse(&text)?));
        #[cfg(not(feature = "remote"))]
        return Err(freestone_core::Error::refused(format!(
            "store {text}: not supported by this build"
        ))
        .hint("this build knows stores in directories; name one, or build it with the feature `remote`"));
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            #[cfg(feature = "remote")]
            Self::Remote(_) => None,
        }
    }

    /// As it stands in JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Directory(path) => output::place(path),
            #[cfg(feature = "remote")]
            Self::Remote(place) => place.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "remote")]
            Self::Remote(place) => place.fmt(f),
        }
    }
}
