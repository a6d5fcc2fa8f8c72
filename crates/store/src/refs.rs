//! Refs: mutable names, each an append-only log of create-only entries.

use freestone_backend::{Backend, Created, Listed, get_decoded};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::hint;
use freestone_format::ref_entry::{self, RefAction, RefEntry, check_name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest file of an entry that is read.
const ENTRY_BYTES_MAX: u64 = 64 << 10;
/// Entries that are listed to find the newest, which is the first of them: more than one shows
/// whether they come in order; that eight of more do by chance is less than one case in 100,000.
const FIRST_COUNT: usize = 8;

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
        let mut entries = Vec::new();
        for (name, n) in self.newest_numbers()? {
            entries.extend(self.entry(&name, n)?);
        }
        Ok(entries)
    }

    /// Returns the names of all refs, also of deleted ones, sorted.
    ///
    /// # Errors
    /// Listing failed.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.newest_numbers()?.into_iter().map(|(name, _)| name).collect())
    }

    /// Returns the names of all refs, sorted, each with the number of its newest entry: by one
    /// listing.
    fn newest_numbers(&self) -> Result<Vec<(String, u64)>> {
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for listed in self.backend.list("refs")? {
            let key = listed.name.strip_prefix("refs/").and_then(|name| name.split_once('/'));
            let Some((folder, key)) = key else { continue };
            let Some(n) = ref_entry::number_of_key(key) else { continue };
            match newest.get_mut(folder) {
                Some(newest) => *newest = n.max(*newest),
                None => drop(newest.insert(folder.into(), n)),
            }
        }
        let names = newest.into_iter();
        let mut newest: Vec<(String, u64)> = names
            .filter_map(|(folder, n)| Some((ref_entry::name_of_folder(&folder)?, n)))
            .collect();
        newest.sort_unstable();
        Ok(newest)
    }

    /// Returns the number of an entry that each ref has had, by the hints that are written after an
    /// entry is durable. A ref whose entries are older, or that has none, has lost some.
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
            // A ref that is named there has one entry at least.
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

    /// Returns the numbers of a ref's entries, newest first.
    fn numbers(&self, name: &str) -> Result<Vec<u64>> {
        check_name(name)?;
        let folder = ref_entry::folder(name);
        let mut numbers = numbers_in(&folder, &self.backend.list(&folder)?);
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// Returns the number of a ref's newest entry, of which it is known that it is at least
    /// `known`: by the beginning of a listing, where its smallest key is. A server may list in no
    /// order, and the smallest key is the newest all the same: so what comes is believed only if it
    /// is a run of entries, each followed by the one before it; else the whole is listed.
    fn newest_number(&self, name: &str, known: u64) -> Result<Option<u64>> {
        check_name(name)?;
        let folder = ref_entry::folder(name);
        let listed = self.backend.list_first(&folder, FIRST_COUNT)?;
        let numbers = numbers_in(&folder, &listed);
        let is_run = numbers.windows(2).all(|pair| pair[0].checked_sub(1) == Some(pair[1]));
        match numbers.iter().max() {
            newest if listed.len() < FIRST_COUNT => Ok(newest.copied()),
            Some(newest) if is_run && *newest >= known => Ok(Some(*newest)),
            _ => Ok(self.numbers(name)?.first().copied()),
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

    /// Returns entry `n` of ref `name`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn entry(&self, name: &str, n: u64) -> Result<Option<RefEntry>> {
        check_name(name)?;
        let object = format!("{}/{}", ref_entry::folder(name), ref_entry::key(n));
        get_decoded(&*self.backend, &object, ENTRY_BYTES_MAX, |bytes| {
            RefEntry::decode(name, n, bytes)
        })
    }

    /// Returns the newest entry of ref `name`, be it a deletion.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn newest(&self, name: &str) -> Result<Option<RefEntry>> {
        match self.newest_number(name, 0)? {
            Some(n) => self.entry(name, n),
            None => Ok(None),
        }
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
        let mut next: Option<RefEntry> = None;
        for n in self.numbers(name)? {
            let entry = self.entry(name, n)?.ok_or_else(|| {
                Error::corrupt(format!("entry {n} of ref {name} vanished while it was read"))
            })?;
            if let Some(next) = next
                && (next.previous != Some(entry.id()) || next.log_id != entry.log_id)
                && next.n == n + 1
            {
                return Err(Error::corrupt(format!(
                    "entry {} of ref {name} does not name entry {n}",
                    next.n
                )));
            }
            next = Some(entry.clone());
            if !each(entry)? {
                break;
            }
        }
        Ok(())
    }

    /// Makes ref `name`, which is not a pin, name `revision`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the ref is not what is expected, or another writer was first;
    /// [`ErrorKind::Usage`] if the name is that of a pin.
    pub fn set(&self, name: &str, revision: Id, expect: Expect, time: i64) -> Result<RefEntry> {
        ref_entry::check_name_of_user(name)?;
        self.set_any(name, revision, expect, time)
    }

    /// Makes the pin `name`, which is `hosts/HOST/NAME`, name `revision`.
    ///
    /// # Errors
    /// The backend failed, or another writer was first.
    pub fn set_pin(&self, name: &str, revision: Id, time: i64) -> Result<RefEntry> {
        self.set_any(name, revision, Expect::Any, time)
    }

    fn set_any(&self, name: &str, revision: Id, expect: Expect, time: i64) -> Result<RefEntry> {
        let newest = self.newest(name)?;
        check_expected(name, newest.as_ref(), expect)?;
        self.settle(None)?;
        self.append(name, newest.as_ref(), RefAction::Set(revision), time)
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
        let newest = self.newest(name)?;
        if newest.as_ref().and_then(RefEntry::revision).is_none() {
            // A second deletion reports that it is gone; so the first has to be durable.
            self.backend.settle(&ref_entry::folder(name))?;
            return Err(Error::not_found(format!("there is no ref {name}")));
        }
        check_expected(name, newest.as_ref(), expect)?;
        self.append(name, newest.as_ref(), RefAction::Delete, time)
    }

    /// Adds the entry after `newest`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another writer added one first.
    pub fn append(
        &self,
        name: &str,
        newest: Option<&RefEntry>,
        action: RefAction,
        time: i64,
    ) -> Result<RefEntry> {
        check_name(name)?;
        let entry = RefEntry {
            action,
            name: name.into(),
            log_id: newest.map_or_else(freestone_backend::random, |newest| newest.log_id),
            n: newest.map_or(1, |newest| newest.n + 1),
            previous: newest.map(RefEntry::id),
            time,
        };
        let object = format!("{}/{}", ref_entry::folder(name), ref_entry::key(entry.n));
        let created = self.backend.create(&object, &entry.encode())?;
        // Another writer may have been first, and in a store whose listings lag a later entry may
        // depend on another entry n: this one counts only if it is the newest, or the next names it.
        let is_ours = match created {
            Created::New => true,
            // The very same entry, made by another try of the same.
            Created::Existed => {
                matches!(self.entry(name, entry.n), Ok(Some(made)) if made == entry)
            }
        };
        let stands = is_ours
            && match self.newest_number(name, entry.n)? {
                Some(n) if n > entry.n => self
                    .entry(name, entry.n + 1)?
                    .is_some_and(|next| next.previous == Some(entry.id())),
                _ => true,
            };
        if stands {
            crate::hints::write_ref(&*self.backend, name, entry.n, newest.is_none());
            return Ok(entry);
        }
        Err(Error::new(ErrorKind::Conflict, format!("ref {name} was changed by another writer"))
            .hint("run the command again, or with --retry, to go on from what the ref names now"))
    }
}

/// Returns the numbers of the entries that are listed, in their order.
fn numbers_in(folder: &str, listed: &[Listed]) -> Vec<u64> {
    let key = |name: &str| ref_entry::number_of_key(name.strip_prefix(folder)?.strip_prefix('/')?);
    listed.iter().filter_map(|listed| key(&listed.name)).collect()
}

/// Checks that a ref is what is expected.
///
/// # Errors
/// [`ErrorKind::Conflict`] if not.
fn check_expected(name: &str, newest: Option<&RefEntry>, expect: Expect) -> Result<()> {
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
        let stale = refs.newest("main").unwrap();
        refs.set("main", two, Expect::Revision(one), 12).unwrap();
        let error = refs.append("main", stale.as_ref(), RefAction::Set(one), 13).unwrap_err();
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
        let object = format!("refs/main/{}", ref_entry::key(2));
        backend.remove(&object).unwrap();
        backend.create(&object, &entry.encode()).unwrap();
        assert!(refs.log("main").is_err());
    }
}
