//! Refs: mutable names, each an append-only log of create-only entries.
//!
//! The files of a log are its places. A place holds an entry or a barrier, which a collection puts
//! there so that a push that began before has to look again.

mod append;
mod collected;

pub use collected::CollectedRef;

use freestone_backend::{Backend, Listed, get_decoded};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::hint;
use freestone_format::ref_entry::{self, RefAction, RefEntry, check_name};
use freestone_format::ref_place::{self, RefPlace};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest file of an entry that is read.
const ENTRY_BYTES_MAX: u64 = 64 << 10;
/// Entries that are listed to find the newest, which is the first of them: more than one shows
/// whether they come in order; that eight of more do by chance is less than one case in 100,000.
const FIRST_COUNT: usize = 8;
/// Places that are read to find an entry before all are listed.
const STEPS_MAX: usize = 4;

/// What a ref must be for a change of it to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// Not there, or deleted.
    Absent,
    /// This revision.
    Revision(Id),
}

/// The refs of a store.
#[derive(Clone)]
pub struct Refs {
    backend: Arc<dyn Backend>,
}

impl Refs {
    /// Creates the refs of the store that `backend` keeps.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Returns the newest entry of every ref that is not deleted, by name.
    ///
    /// # Errors
    /// Listing failed, or an entry is damaged.
    pub fn list(&self) -> Result<Vec<RefEntry>> {
        let mut entries = self.list_all()?;
        entries.retain(|entry| entry.action != RefAction::Delete);
        Ok(entries)
    }

    /// Returns the newest entry of every ref, also of deleted ones, by name.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn list_all(&self) -> Result<Vec<RefEntry>> {
        Ok(self.heads()?.into_iter().filter_map(|(_, head)| head.entry).collect())
    }

    /// Returns the newest place of every ref, by name: also of refs that are deleted or unborn.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn heads(&self) -> Result<Vec<(String, RefPlace)>> {
        let mut heads = Vec::new();
        for (name, place) in self.newest_places()? {
            if let Some(head) = self.place(&name, place)? {
                heads.push((name, head));
            }
        }
        Ok(heads)
    }

    /// Returns the names of all refs, also of those that are deleted or unborn, sorted.
    ///
    /// # Errors
    /// Listing failed.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.newest_places()?.into_iter().map(|(name, _)| name).collect())
    }

    /// Returns the names of all refs, sorted, each with its newest place: by one listing.
    fn newest_places(&self) -> Result<Vec<(String, u64)>> {
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for listed in self.backend.list("refs")? {
            let key = listed.name.strip_prefix("refs/").and_then(|name| name.split_once('/'));
            let Some((folder, key)) = key else { continue };
            let Some(place) = ref_place::place_of_key(key) else { continue };
            match newest.get_mut(folder) {
                Some(newest) => *newest = place.max(*newest),
                None => drop(newest.insert(folder.into(), place)),
            }
        }
        let names = newest.into_iter();
        let mut newest: Vec<(String, u64)> = names
            .filter_map(|(folder, place)| Some((ref_entry::name_of_folder(&folder)?, place)))
            .collect();
        newest.sort_unstable();
        Ok(newest)
    }

    /// Returns a place that each ref has had, by the hints that are written after a place is durable.
    /// A ref whose places are older, or that has none, has lost some.
    ///
    /// # Errors
    /// Listing failed. Hints that cannot be read say nothing.
    pub fn hinted(&self) -> Result<BTreeMap<String, u64>> {
        let get = |name: &str| match self.backend.get(name, hint::BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            _ => Vec::new(),
        };
        let mut hinted = BTreeMap::new();
        let names = get(&format!("refs/{}", hint::NAME));
        for folder in hint::decode(&names).unwrap_or_default() {
            // A ref that is named there has one place at least.
            hinted.extend(ref_entry::name_of_folder(folder).map(|name| (name, 1)));
        }
        for listed in self.backend.list("refs")? {
            let folder = listed.name.strip_prefix("refs/").and_then(|name| name.split_once('/'));
            let Some((folder, hint::NAME)) = folder else { continue };
            let bytes = get(&listed.name);
            let newest = hint::decode(&bytes).and_then(|lines| lines.first()?.parse().ok());
            if let (Some(name), Some(n)) = (ref_entry::name_of_folder(folder), newest) {
                hinted.insert(name, n);
            }
        }
        Ok(hinted)
    }

    /// Returns the places of a ref, newest first.
    fn places(&self, name: &str) -> Result<Vec<u64>> {
        check_name(name)?;
        let folder = ref_entry::folder(name);
        let mut places = places_in(&folder, &self.backend.list(&folder)?);
        places.sort_unstable_by(|a, b| b.cmp(a));
        Ok(places)
    }

    /// Returns a ref's newest place, of which it is known that it is at least `known`: by the
    /// beginning of a listing, where its smallest key is. A server may list in no order, and the
    /// smallest key is the newest all the same: so what comes is believed only if it is a run of
    /// places, each followed by the one before it; else the whole is listed.
    fn newest_place(&self, name: &str, known: u64) -> Result<Option<u64>> {
        check_name(name)?;
        let folder = ref_entry::folder(name);
        let listed = self.backend.list_first(&folder, FIRST_COUNT)?;
        let places = places_in(&folder, &listed);
        let is_run = places.windows(2).all(|pair| pair[0].checked_sub(1) == Some(pair[1]));
        match places.iter().max() {
            newest if listed.len() < FIRST_COUNT => Ok(newest.copied()),
            Some(newest) if is_run && *newest >= known => Ok(Some(*newest)),
            _ => Ok(self.places(name)?.first().copied()),
        }
    }

    /// Checks that a ref is what is expected now.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is not; or it cannot be read.
    pub fn check(&self, name: &str, expect: Expect) -> Result<()> {
        if expect == Expect::Any {
            return Ok(());
        }
        check_expected(name, self.newest(name)?.as_ref(), expect)
    }

    /// Returns place `place` of ref `name`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn place(&self, name: &str, place: u64) -> Result<Option<RefPlace>> {
        check_name(name)?;
        let object = object_name(name, place);
        get_decoded(&*self.backend, &object, ENTRY_BYTES_MAX, |bytes| {
            RefPlace::decode(name, place, bytes)
        })
    }

    /// Returns entry `n` of ref `name`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn entry(&self, name: &str, n: u64) -> Result<Option<RefEntry>> {
        // Each barrier before the entry puts it one place later.
        let mut at = n;
        for _ in 0..STEPS_MAX {
            let Some(found) = self.place(name, at)? else { return Ok(None) };
            let number = found.entry.as_ref().map_or(0, |entry| entry.n);
            if number >= n {
                return Ok(found.entry.filter(|entry| entry.n == n));
            }
            at = at.saturating_add(n - number);
        }
        let mut later: Vec<u64> =
            self.places(name)?.into_iter().filter(|place| *place >= at).collect();
        while !later.is_empty() {
            // The newest places come first.
            let middle = later.len() / 2;
            let found = self.place(name, later[middle])?.and_then(|found| found.entry);
            match found {
                Some(entry) if entry.n == n => return Ok(Some(entry)),
                Some(entry) if entry.n > n => drop(later.drain(..=middle)),
                _ => later.truncate(middle),
            }
        }
        Ok(None)
    }

    /// Returns the newest place of ref `name`; `None` if there is no such ref.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn head(&self, name: &str) -> Result<Option<RefPlace>> {
        match self.newest_place(name, 0)? {
            Some(place) => self.place(name, place),
            None => Ok(None),
        }
    }

    /// Returns the newest entry of ref `name`, be it a deletion.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn newest(&self, name: &str) -> Result<Option<RefEntry>> {
        Ok(self.head(name)?.and_then(|head| head.entry))
    }

    /// Returns the revision that ref `name` names now.
    ///
    /// # Errors
    /// The newest entry cannot be read or is damaged.
    pub fn current(&self, name: &str) -> Result<Option<Id>> {
        Ok(self.newest(name)?.and_then(|entry| entry.revision()))
    }

    /// Returns all entries of ref `name`, newest first; each names the one before it.
    ///
    /// # Errors
    /// As [`Self::each_entry`].
    pub fn log(&self, name: &str) -> Result<Vec<RefEntry>> {
        let mut entries = Vec::new();
        self.each_entry(name, &mut |entry| {
            entries.push(entry);
            Ok(true)
        })?;
        Ok(entries)
    }

    /// Calls `each` with the entries of ref `name`, newest first, until it returns false. Each names
    /// the one before it.
    ///
    /// # Errors
    /// An entry cannot be read, is damaged, or does not name the one before it; or an error of
    /// `each`.
    pub fn each_entry(
        &self,
        name: &str,
        each: &mut dyn FnMut(RefEntry) -> Result<bool>,
    ) -> Result<()> {
        self.each_place(name, &mut |place| match (place.barrier, place.entry) {
            (None, Some(entry)) => each(entry),
            _ => Ok(true),
        })
    }

    /// Calls `each` with the places of ref `name`, newest first, until it returns false.
    ///
    /// # Errors
    /// As [`Self::each_entry`].
    pub fn each_place(
        &self,
        name: &str,
        each: &mut dyn FnMut(RefPlace) -> Result<bool>,
    ) -> Result<()> {
        let mut next: Option<RefEntry> = None;
        for place in self.places(name)? {
            let found = self.place(name, place)?.ok_or_else(|| {
                Error::corrupt(format!("place {place} of ref {name} vanished while it was read"))
            })?;
            if let (Some(next), Some(entry)) = (&next, &found.entry)
                && !follows(next, entry)
            {
                return Err(Error::corrupt(format!(
                    "entry {} of ref {name} does not name entry {}",
                    next.n, entry.n
                )));
            }
            next = found.entry.clone().or(next);
            if !each(found)? {
                break;
            }
        }
        Ok(())
    }

    /// Makes ref `name`, which is not a pin, name `revision`. Whoever calls it knows that no
    /// collection removes what the revision needs.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the ref is not what is expected, or another writer was first;
    /// [`ErrorKind::Usage`] if the name is that of a pin.
    pub fn set(&self, name: &str, revision: Id, expect: Expect, time: i64) -> Result<RefEntry> {
        ref_entry::check_name_of_user(name)?;
        self.set_any(name, revision, expect, time)
    }

    /// Makes the pin `name`, which is `hosts/HOST/NAME`, name `revision`, in a host's own directory:
    /// nothing is collected there.
    ///
    /// # Errors
    /// The backend failed, or another writer was first.
    pub fn set_own_pin(&self, name: &str, revision: Id, time: i64) -> Result<RefEntry> {
        self.set_any(name, revision, Expect::Any, time)
    }

    fn set_any(&self, name: &str, revision: Id, expect: Expect, time: i64) -> Result<RefEntry> {
        let head = self.begin(name)?;
        check_expected(name, head.entry.as_ref(), expect)?;
        self.settle(None)?;
        self.append(name, &head, RefAction::Set(revision), time, &mut || Ok(()))
    }

    /// Makes durable the revisions that exist, and the entries of ref `name` if one is given. Called
    /// before something is reported as done that depends on what another process wrote.
    ///
    /// # Errors
    /// The backend failed.
    pub fn settle(&self, name: Option<&str>) -> Result<()> {
        // A revision may have been found through a segment, before it had a file of its own.
        self.backend.settle("index")?;
        self.backend.settle("revisions")?;
        name.map_or(Ok(()), |name| self.backend.settle(&ref_entry::folder(name)))
    }

    /// Makes ref `name` name nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it names nothing; else as [`Self::set`].
    pub fn delete(&self, name: &str, expect: Expect, time: i64) -> Result<RefEntry> {
        let head = self.head(name)?;
        let newest = head.as_ref().and_then(|head| head.entry.as_ref());
        let Some(head) = head.as_ref().filter(|_| newest.and_then(RefEntry::revision).is_some())
        else {
            // A second deletion reports that it is gone; so the first has to be durable.
            self.backend.settle(&ref_entry::folder(name))?;
            return Err(Error::not_found(format!("there is no ref {name}")));
        };
        check_expected(name, newest, expect)?;
        self.append(name, head, RefAction::Delete, time, &mut || Ok(()))
    }
}

/// Returns the name of the object of place `place` of ref `name`.
fn object_name(name: &str, place: u64) -> String {
    format!("{}/{}", ref_entry::folder(name), ref_place::key(place))
}

/// Returns true if `entry` may be the one before `next` in a log, or is the same: an entry that
/// comes next names the hash of the one before it.
fn follows(next: &RefEntry, entry: &RefEntry) -> bool {
    match next.n.checked_sub(entry.n) {
        Some(0) => next == entry,
        Some(1) => next.previous == Some(entry.id()) && next.log_id == entry.log_id,
        Some(_) => true,
        None => false,
    }
}

/// Returns the places that are listed, in their order.
fn places_in(folder: &str, listed: &[Listed]) -> Vec<u64> {
    let key = |name: &str| ref_place::place_of_key(name.strip_prefix(folder)?.strip_prefix('/')?);
    listed.iter().filter_map(|listed| key(&listed.name)).collect()
}

/// Checks that a ref is what is expected.
///
/// # Errors
/// [`ErrorKind::Conflict`] if not.
pub(crate) fn check_expected(name: &str, newest: Option<&RefEntry>, expect: Expect) -> Result<()> {
    let current = newest.and_then(RefEntry::revision);
    let met = match expect {
        Expect::Any => true,
        Expect::Absent => current.is_none(),
        Expect::Revision(id) => current == Some(id),
    };
    if met {
        return Ok(());
    }
    let is = current.map_or_else(|| "nothing".into(), |id| format!("revision {id}"));
    let expected = match expect {
        Expect::Revision(id) => format!("revision {id}"),
        _ => "nothing".into(),
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!("ref {name} names {is}, but {expected} was expected"),
    )
    .hint("look at what changed with `freestone ref log`, then push again with the new --expect"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_backend::directory::Directory;

    #[test]
    fn a_ref_is_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let refs = Refs::new(Arc::new(Directory::new(folder.path())));
        let (one, two) = (Id([1; 32]), Id([2; 32]));
        assert_eq!(refs.current("main").unwrap(), None);
        refs.set("main", one, Expect::Absent, 10).unwrap();
        let error = refs.set("main", two, Expect::Absent, 11).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let stale = refs.head("main").unwrap().unwrap();
        refs.set("main", two, Expect::Revision(one), 12).unwrap();
        let mut look = || Ok(());
        let error = refs.append("main", &stale, RefAction::Set(one), 13, &mut look).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(refs.current("main").unwrap(), Some(two));
        refs.set("a/b", one, Expect::Any, 14).unwrap();
        refs.delete("main", Expect::Any, 15).unwrap();
        assert_eq!(refs.current("main").unwrap(), None);
        assert!(refs.delete("main", Expect::Any, 16).is_err());
        refs.set("main", one, Expect::Absent, 17).unwrap();
        let log = refs.log("main").unwrap();
        assert_eq!(log.iter().map(|entry| entry.n).collect::<Vec<_>>(), [4, 3, 2, 1]);
        assert!(log.iter().all(|entry| entry.log_id == log[0].log_id));
        let names: Vec<_> = refs.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a/b", "main"]);
    }

    #[test]
    fn a_log_whose_entries_do_not_lean_on_each_other_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let backend = Arc::new(Directory::new(folder.path()));
        let refs = Refs::new(backend.clone());
        refs.set("main", Id([1; 32]), Expect::Any, 1).unwrap();
        let mut entry = refs.set("main", Id([2; 32]), Expect::Any, 2).unwrap();
        entry.previous = Some(Id([9; 32]));
        let object = object_name("main", 2);
        backend.remove(&object).unwrap();
        backend.create(&object, &entry.encode()).unwrap();
        assert!(refs.log("main").is_err());
    }
}
