//! Pins: revisions that a host runs, which stay in its cache, and at the upstream.
//!
//! A pin is a ref `hosts/<host>/<name>`: one in the host's own directory, which eviction heeds, and
//! one of the same name at the upstream, where collecting garbage heeds it as it does every ref.
//! Where the host may not write to the upstream there is only the first.

use crate::refs::{Expect, Refs};
use crate::store::Store;
use freestone_backend::directory::Directory;
use freestone_core::{Error, Id, Result};
use freestone_format::ref_entry;
use std::sync::Arc;

/// A pinned revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The pin's name, such as that of the volume that shows the revision.
    pub name: String,
    /// The revision.
    pub revision: Id,
    /// When it was pinned: seconds since 1970.
    pub time: i64,
}

/// What became of a pin at the upstream.
#[derive(Debug)]
pub enum Pinned {
    /// It is there too.
    AtUpstream,
    /// It is only here, since the upstream could not be written to.
    OnlyHere(Error),
}

impl Store {
    fn own_refs(&self) -> Result<(Refs, String)> {
        match (self.following(), self.root()) {
            (Some(follower), Some(root)) => {
                let refs = Refs::new(Arc::new(Directory::new(root)));
                Ok((refs, format!("hosts/{}/", follower.config().host)))
            }
            _ => Err(Error::refused("this store follows no upstream, so it has no pins")
                .hint("refs keep revisions: freestone ref set")),
        }
    }

    /// What is pinned on this host, by name.
    ///
    /// # Errors
    /// This store follows no upstream, or a pin is damaged.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let (refs, prefix) = self.own_refs()?;
        let pin = |entry: freestone_format::RefEntry| {
            let name = entry.name.strip_prefix(&prefix)?.to_owned();
            Some(Pin { name, revision: entry.revision()?, time: entry.time })
        };
        Ok(refs.list()?.into_iter().filter_map(pin).collect())
    }

    /// Pins revision `id` as `name`, here and, where that can be, at the upstream.
    ///
    /// # Errors
    /// The name is none, or the pin cannot be made here.
    pub fn pin(&self, name: &str, id: Id, time: i64) -> Result<Pinned> {
        ref_entry::check_part(name)?;
        let (refs, prefix) = self.own_refs()?;
        let full = format!("{prefix}{name}");
        ref_entry::check_name(&full)?;
        if refs.current(&full)? != Some(id) {
            refs.set(&full, id, Expect::Any, time)?;
        }
        Ok(self.at_upstream(|refs| match refs.current(&full)? {
            Some(there) if there == id => Ok(()),
            _ => refs.set(&full, id, Expect::Any, time).map(|_| ()),
        }))
    }

    /// Takes a pin away, here and, where that can be, at the upstream.
    ///
    /// # Errors
    /// [`NotFound`](freestone_core::ErrorKind::NotFound) if there is none of this name; or it cannot
    /// be taken away here.
    pub fn unpin(&self, name: &str, time: i64) -> Result<Pinned> {
        ref_entry::check_part(name)?;
        let (refs, prefix) = self.own_refs()?;
        let full = format!("{prefix}{name}");
        if refs.current(&full)?.is_none() {
            return Err(Error::not_found(format!("there is no pin {name}"))
                .hint("`freestone pin list` shows the pins of this host"));
        }
        refs.delete(&full, Expect::Any, time)?;
        Ok(self.at_upstream(|refs| match refs.current(&full)? {
            None => Ok(()),
            Some(_) => refs.delete(&full, Expect::Any, time).map(|_| ()),
        }))
    }

    /// Whether the upstream has this pin.
    ///
    /// # Errors
    /// The upstream is out of reach, or nobody may be asked.
    pub fn is_pinned_at_upstream(&self, pin: &Pin) -> Result<bool> {
        let (_, prefix) = self.own_refs()?;
        Ok(self.refs().current(&format!("{prefix}{}", pin.name))? == Some(pin.revision))
    }

    fn at_upstream(&self, change: impl FnOnce(&Refs) -> Result<()>) -> Pinned {
        let Some(follower) = self.following() else { return Pinned::AtUpstream };
        if follower.is_offline() {
            return Pinned::OnlyHere(Error::refused("--offline asks nobody"));
        }
        match change(&Refs::new(follower.0.client.backend().clone())) {
            Ok(()) => Pinned::AtUpstream,
            Err(error) => Pinned::OnlyHere(error),
        }
    }
}
