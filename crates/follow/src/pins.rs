//! Pins: revisions that a host runs, which stay in its cache and at the upstream.
//!
//! A pin is two refs `hosts/<host>/<name>`. The one in the host's own directory protects the
//! revision from eviction. The one at the upstream keeps it there, as every ref does. A host that
//! may not write to the upstream has only the first.

use crate::follower::Follower;
use crate::opening::Opened;
use freestone_core::{Error, Id, Result};
use freestone_format::ref_entry::{self, RefEntry};
use freestone_store::{Expect, Refs};
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

/// Where a pin was changed.
#[derive(Debug)]
pub enum Pinned {
    /// Here and at the upstream.
    AtUpstream,
    /// Only here, since the upstream could not be written to.
    OnlyHere(Error),
}

/// Returns the refs of the host's own directory, and the prefix of the pins among them.
fn own_refs(follower: &Follower) -> (Refs, String) {
    let refs = Refs::new(Arc::new(follower.0.own.clone()));
    (refs, format!("{}{}/", ref_entry::PINS, follower.config().host))
}

/// Returns the follower of `opened`.
///
/// # Errors
/// The store does not follow an upstream.
fn follower(opened: &Opened) -> Result<&Follower> {
    opened.follower.as_ref().ok_or_else(|| {
        Error::refused("this store follows no upstream, so it has no pins")
            .hint("refs keep revisions: freestone ref set")
    })
}

/// Lists the pins of this host, by name.
///
/// # Errors
/// The store does not follow an upstream, or a pin is damaged.
pub fn pins(opened: &Opened) -> Result<Vec<Pin>> {
    let (refs, prefix) = own_refs(follower(opened)?);
    let pin = |entry: RefEntry| {
        let name = entry.name.strip_prefix(&prefix)?.to_owned();
        Some(Pin { name, revision: entry.revision()?, time: entry.time })
    };
    Ok(refs.list()?.into_iter().filter_map(pin).collect())
}

/// Pins revision `id` as `name`, here and, if possible, at the upstream. `time` is in seconds since
/// 1970. At the upstream a collection may remove what the revision needs at that very time: so the
/// pin is set only if all of it is there.
///
/// # Errors
/// The name is not valid, or the pin cannot be created here.
pub fn pin(opened: &Opened, name: &str, id: Id, time: i64) -> Result<Pinned> {
    ref_entry::check_part(name)?;
    let follower = follower(opened)?;
    let (refs, prefix) = own_refs(follower);
    let full = format!("{prefix}{name}");
    ref_entry::check_name(&full)?;
    if refs.current(&full)? != Some(id) {
        refs.set_own_pin(&full, id, time)?;
    }
    Ok(at_upstream(follower, |refs| match refs.current(&full)? {
        Some(there) if there == id => Ok(()),
        _ => opened.store.set_pin(refs, &full, id, time).map(|_| ()),
    }))
}

/// Removes a pin, here and, if possible, at the upstream. `time` is in seconds since 1970.
///
/// # Errors
/// [`NotFound`](freestone_core::ErrorKind::NotFound) if there is no pin of this name; or it cannot
/// be removed here.
pub fn unpin(opened: &Opened, name: &str, time: i64) -> Result<Pinned> {
    ref_entry::check_part(name)?;
    let follower = follower(opened)?;
    let (refs, prefix) = own_refs(follower);
    let full = format!("{prefix}{name}");
    if refs.current(&full)?.is_none() {
        return Err(Error::not_found(format!("there is no pin {name}"))
            .hint("`freestone pin list` shows the pins of this host"));
    }
    refs.delete(&full, Expect::Any, time)?;
    Ok(at_upstream(follower, |refs| match refs.current(&full)? {
        None => Ok(()),
        Some(_) => refs.delete(&full, Expect::Any, time).map(|_| ()),
    }))
}

/// Returns true if the upstream has this pin.
///
/// # Errors
/// The store does not follow an upstream, or that cannot be reached.
pub fn is_pinned_at_upstream(opened: &Opened, pin: &Pin) -> Result<bool> {
    let (_, prefix) = own_refs(follower(opened)?);
    Ok(opened.store.refs().current(&format!("{prefix}{}", pin.name))? == Some(pin.revision))
}

/// Changes the refs of the upstream, if it may be contacted and written to.
fn at_upstream(follower: &Follower, change: impl FnOnce(&Refs) -> Result<()>) -> Pinned {
    if follower.is_offline() {
        return Pinned::OnlyHere(Error::refused("--offline does not contact the upstream"));
    }
    match change(&Refs::new(follower.0.client.backend())) {
        Ok(()) => Pinned::AtUpstream,
        Err(error) => Pinned::OnlyHere(error),
    }
}
