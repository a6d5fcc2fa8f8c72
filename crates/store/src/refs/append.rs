//! Adding to the log of a ref: an entry, or the barrier of a collection.

use super::{Refs, object_name};
use freestone_backend::Created;
use freestone_core::{Error, ErrorKind, Result};
use freestone_format::ref_entry::{RefAction, RefEntry, check_name};
use freestone_format::ref_place::RefPlace;

/// How often a place is tried that others take first.
const TRIES_MAX: usize = 1000;

impl Refs {
    /// Returns the newest place of ref `name`, which is created if there is no such ref: a
    /// collection has to find the ref before an entry is added to it.
    ///
    /// # Errors
    /// It cannot be read or is damaged, or the store cannot be written to.
    pub fn begin(&self, name: &str) -> Result<RefPlace> {
        check_name(name)?;
        for _ in 0..TRIES_MAX {
            if let Some(head) = self.head(name)? {
                return Ok(head);
            }
            let unborn = RefPlace::unborn();
            if self.create(name, &unborn)? {
                return Ok(unborn);
            }
        }
        Err(always_taken(name))
    }

    /// Adds an entry to ref `name`, whose newest place is `head`. If a collection puts barriers
    /// there first, `look_again` is called after each, and must find out whether what the entry
    /// needs is still there.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another writer added an entry first; or an error of `look_again`.
    pub fn append(
        &self,
        name: &str,
        head: &RefPlace,
        action: RefAction,
        time: i64,
        look_again: &mut dyn FnMut() -> Result<()>,
    ) -> Result<RefEntry> {
        let newest = head.entry.as_ref();
        let entry = RefEntry {
            action,
            name: name.into(),
            log_id: newest.map_or_else(freestone_backend::random, |newest| newest.log_id),
            n: newest.map_or(1, |newest| newest.n + 1),
            previous: newest.map(RefEntry::id),
            time,
        };
        self.add(name, head, entry.clone(), look_again)?;
        Ok(entry)
    }

    /// Adds `entry` to ref `name` as it is, as [`Self::append`] does.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn add(
        &self,
        name: &str,
        head: &RefPlace,
        entry: RefEntry,
        look_again: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        check_name(name)?;
        let is_new = head.entry.is_none();
        let mut head = head.clone();
        for _ in 0..TRIES_MAX {
            let place = head.place.saturating_add(1).max(entry.n);
            if self.create(name, &RefPlace::of_entry(place, entry.clone()))? {
                crate::hints::write_ref(&*self.backend, name, place, is_new);
                return Ok(());
            }
            let now = self.head(name)?;
            let Some(now) = now.filter(|now| now.entry == head.entry && now.place > head.place)
            else {
                break;
            };
            head = now;
            look_again()?;
        }
        Err(Error::new(ErrorKind::Conflict, format!("ref {name} was changed by another writer"))
            .hint("run the command again, or with --retry, to go on from what the ref names now"))
    }

    /// Puts a barrier of the collection `collection` on ref `name`: an entry that is added after it
    /// comes from a writer that has looked at the collection. Does nothing if the newest place is
    /// such a barrier already, or if there is no such ref.
    ///
    /// # Errors
    /// The ref cannot be read or written to.
    pub fn put_barrier(&self, name: &str, collection: u64) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let Some(head) = self.head(name)? else { return Ok(()) };
            // A barrier of a later collection was put there after this one's intent, too.
            if head.barrier.is_some_and(|at| at >= collection) {
                return Ok(());
            }
            let barrier = RefPlace::barrier_after(&head, collection);
            if self.create(name, &barrier)? {
                crate::hints::write_ref(&*self.backend, name, barrier.place, false);
                return Ok(());
            }
        }
        Err(always_taken(name))
    }

    /// Creates a place. Returns false if another one is there, or takes its turn.
    fn create(&self, name: &str, place: &RefPlace) -> Result<bool> {
        let bytes = place.encode(name);
        // The very same, made by another try of the same, counts.
        let is_ours = match self.backend.create(&object_name(name, place.place), &bytes)? {
            Created::New => true,
            Created::Existed => {
                matches!(self.place(name, place.place), Ok(Some(made)) if made == *place)
            }
        };
        if !is_ours {
            return Ok(false);
        }
        // In a store whose listings lag, a later place may depend on another one in this place: it
        // counts only if it is the newest, or if the next leads to it.
        match self.newest_place(name, place.place)? {
            Some(newest) if newest > place.place => {
                let next = self.place(name, place.place + 1)?;
                Ok(next.is_some_and(|next| leads_to(&next, place)))
            }
            _ => Ok(true),
        }
    }
}

/// Returns true if `next` was added to a log whose newest place was `place`.
fn leads_to(next: &RefPlace, place: &RefPlace) -> bool {
    match (next.barrier, &next.entry) {
        (Some(_), entry) => *entry == place.entry,
        (None, Some(entry)) => entry.previous == place.entry.as_ref().map(RefEntry::id),
        (None, None) => false,
    }
}

fn always_taken(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("other writers of ref {name} were always first"))
        .hint("run the command again when fewer write to the same ref")
}
