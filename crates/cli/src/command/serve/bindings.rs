//! What the names of a server's exports were bound to, remembered next to its socket.
//!
//! A client that loses its connection connects again by the same name. If the server was started
//! again meanwhile and the name meant a newer image, the client's device would change under it. So
//! a server at a Unix socket `PATH` writes its bindings to `PATH.bound`, and starts with those.
//! They are believed only if nobody but this user could have written them. A server at a TCP port
//! has no such place, and remembers nothing.

use freestone_core::Id;
use freestone_files::{Folder, prefix_beside};
use freestone_serve::Catalogue;
use freestone_serve::listen::Listener;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};

/// A longer file was written by something else.
const BYTES_MAX: u64 = 1 << 20;
/// Only this user can write the file, and the names of refs are nobody else's business.
const MODE: u32 = 0o600;

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Written {
    store: String,
    bound: BTreeMap<String, String>,
}

/// The file in which bindings are remembered.
pub(super) struct Bindings {
    folder: Folder,
    name: OsString,
}

impl Bindings {
    /// Returns the file next to the first Unix socket that this process created.
    pub(super) fn beside(listeners: &[Listener]) -> Option<Self> {
        let path = listeners.iter().find_map(Listener::path)?;
        let mut name = path.file_name()?.to_owned();
        name.push(".bound");
        Some(Self { folder: Folder::open(path.parent()?).ok()?, name })
    }

    /// Returns the bindings of the store `id` that a server remembered here.
    pub(super) fn read(&self, id: &str) -> BTreeMap<String, Id> {
        let is_own = self.folder.owner(&self.name).is_ok_and(|owner| owner.is_own());
        let bytes = is_own.then(|| self.folder.read_whole(&self.name, BYTES_MAX).ok()).flatten();
        let written: Option<Written> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(written) = written.filter(|written| written.store == id) else {
            return BTreeMap::new();
        };
        let bindings = written.bound.into_iter();
        bindings.filter_map(|(name, id)| Some((name, Id::parse(&id).ok()?))).collect()
    }

    /// Remembers what the names of `catalogue` are bound to. If that fails, it is logged, and
    /// nothing else.
    pub(super) fn write(&self, catalogue: &Catalogue) {
        if let Err(error) = self.replace(catalogue) {
            let place = self.folder.path_of(&self.name);
            let what = format!("{}: what names mean is not remembered: {error}", place.display());
            catalogue.service().log(&what);
        }
    }

    fn replace(&self, catalogue: &Catalogue) -> io::Result<()> {
        let shown = |(name, id): (String, Id)| (name, id.to_string());
        let bound = catalogue.bound().into_iter().map(shown).collect();
        let written = Written { store: catalogue.store().id().to_string(), bound };
        let mut temporary = self.folder.create_temporary("", prefix_beside(&self.name), MODE)?;
        let bytes = serde_json::to_vec(&written)?;
        let renamed = temporary
            .file
            .write_all(&bytes)
            .and_then(|()| self.folder.rename(&temporary.name, &self.name));
        if renamed.is_err() {
            let _ = self.folder.remove_file(&temporary.name);
        }
        renamed
    }
}
