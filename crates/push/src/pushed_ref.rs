//! The ref that a push sets.

use crate::options::PushOptions;
use freestone_core::{Id, Result};
use freestone_format::ref_entry::{RefAction, RefEntry};
use freestone_store::Store;

/// The ref that a push sets, if it sets one, with its newest entry.
pub(crate) struct PushedRef<'a> {
    store: &'a Store,
    options: &'a PushOptions,
    newest: Option<RefEntry>,
}

impl<'a> PushedRef<'a> {
    /// Reads the ref.
    ///
    /// # Errors
    /// The ref cannot be read.
    pub(crate) fn new(store: &'a Store, options: &'a PushOptions) -> Result<Self> {
        let newest = match &options.ref_name {
            Some(name) => store.refs().newest(name)?,
            None => None,
        };
        Ok(Self { store, options, newest })
    }

    /// Returns the revision that the ref names.
    pub(crate) fn revision(&self) -> Option<Id> {
        self.newest.as_ref().and_then(RefEntry::revision)
    }

    /// Sets the ref to a revision that is durable, and returns its new entry. A dry run sets
    /// nothing.
    ///
    /// # Errors
    /// [`Conflict`](freestone_core::ErrorKind::Conflict) if the ref was changed meanwhile; or
    /// writing failed.
    pub(crate) fn set(&mut self, id: Id) -> Result<Option<RefEntry>> {
        let Some(name) = self.options.ref_name.as_ref().filter(|_| !self.options.dry_run) else {
            return Ok(None);
        };
        let (refs, action) = (self.store.refs(), RefAction::Set(id));
        let entry = refs.append(name, self.newest.as_ref(), action, self.options.time)?;
        self.newest = Some(entry.clone());
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
        if self.revision() == Some(id) { Ok(None) } else { self.set(id) }
    }
}
