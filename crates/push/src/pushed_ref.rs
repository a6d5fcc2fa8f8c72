//! The ref that a push sets.

use crate::options::PushOptions;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::ref_entry::{RefAction, RefEntry};
use freestone_format::ref_place::RefPlace;
use freestone_store::{Index, Store};
use std::cell::Cell;

/// The ref that a push sets, if it sets one, with its newest place.
pub(crate) struct PushedRef<'a> {
    store: &'a Store,
    options: &'a PushOptions,
    head: Option<RefPlace>,
    /// Set when a collection may remove something that the push depends on.
    must_begin_again: Cell<bool>,
}

impl<'a> PushedRef<'a> {
    /// Reads the ref. Unless this is a dry run, a new ref is begun: a collection has to find it.
    ///
    /// # Errors
    /// The ref cannot be read or begun.
    pub(crate) fn new(store: &'a Store, options: &'a PushOptions) -> Result<Self> {
        let head = match &options.ref_name {
            Some(name) if options.dry_run => store.refs().head(name)?,
            Some(name) => Some(store.refs().begin(name)?),
            None => None,
        };
        Ok(Self { store, options, head, must_begin_again: Cell::new(false) })
    }

    /// Returns true if the push has failed because a collection may remove what it depends on: it
    /// succeeds if it begins again.
    pub(crate) fn must_begin_again(&self) -> bool {
        self.must_begin_again.get()
    }

    /// Returns the revision that the ref names.
    pub(crate) fn revision(&self) -> Option<Id> {
        self.head.as_ref()?.entry.as_ref().and_then(RefEntry::revision)
    }

    /// Sets the ref to a revision that is durable, and returns its new entry. `index` knows what
    /// the revision depends on. A dry run sets nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the ref was changed meanwhile, or if
    /// [the push must begin again](Self::must_begin_again); or writing failed.
    pub(crate) fn set(&mut self, id: Id, index: &Index) -> Result<Option<RefEntry>> {
        let name = self.options.ref_name.as_ref().filter(|_| !self.options.dry_run);
        let (Some(name), Some(head)) = (name, &self.head) else { return Ok(None) };
        let backend = &**self.store.backend();
        let mut look_again = || match index.still_stands(backend)? {
            true => Ok(()),
            false => {
                // What this try has listed stays: another push may depend on it by now.
                self.must_begin_again.set(true);
                Err(Error::new(ErrorKind::Conflict, "a collection removes what this push found")
                    .hint("run the command again"))
            }
        };
        let (refs, action, time) = (self.store.refs(), RefAction::Set(id), self.options.time);
        // What a revision has in common with its parent was not looked for. If the ref named the
        // parent, it is kept.
        let is_parent_kept = self.options.parent.is_none() || self.revision().is_some();
        let entry = match is_parent_kept {
            true => refs.append(name, head, action, time, &mut look_again)?,
            false => self.store.set_ref_after(name, head, id, time)?,
        };
        // Its place may be later by now. Then the next entry finds its place taken, and looks again.
        let place = head.place.saturating_add(1).max(entry.n);
        self.head = Some(RefPlace::of_entry(place, entry.clone()));
        Ok(Some(entry))
    }

    /// Makes sure that the ref names the revision `id` after a push that found nothing new, and
    /// returns its new entry if one was needed: the parent may be another one than the ref's.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(crate) fn confirm(&mut self, id: Id) -> Result<Option<RefEntry>> {
        if self.options.dry_run {
            return Ok(None);
        }
        self.store.refs().settle(self.options.ref_name.as_deref())?;
        let name = self.options.ref_name.as_ref().filter(|_| self.revision() != Some(id));
        let (Some(name), Some(head)) = (name, &self.head) else { return Ok(None) };
        // The ref did not keep it so far.
        let entry = self.store.set_ref_after(name, head, id, self.options.time)?;
        self.head = self.store.refs().head(name)?;
        Ok(Some(entry))
    }
}
