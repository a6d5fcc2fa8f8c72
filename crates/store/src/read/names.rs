//! The SHA-1s that were computed.

use freestone_core::{Id, Sha1, lock};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// Contents whose SHA-1 is remembered.
const NAMES_MAX: usize = 1 << 12;

/// The SHA-1s of large contents that were computed from their bytes.
#[derive(Default)]
pub(crate) struct ProvenNames {
    names: Mutex<HashMap<Id, Sha1>>,
    /// Held while one is computed, so that two threads do not read the same content.
    computing: Mutex<()>,
}

impl ProvenNames {
    /// Waits until no other thread computes one.
    pub(crate) fn computing(&self) -> MutexGuard<'_, ()> {
        lock(&self.computing)
    }

    /// Returns the SHA-1 of a content, if it was computed.
    pub(crate) fn get(&self, content: &Id) -> Option<Sha1> {
        lock(&self.names).get(content).copied()
    }

    /// Remembers the SHA-1 of a content.
    pub(crate) fn keep(&self, content: Id, sha1: Sha1) {
        let mut names = lock(&self.names);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(content, sha1);
    }
}
