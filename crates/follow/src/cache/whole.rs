//! What is kept whole: index segments, revisions, ref entries. All are immutable, so one that is
//! here and is what its name says is never asked for again; one that the upstream does not list any
//! more goes.

use super::Inner;
use freestone_backend::{Backend, Created, Listed, Object};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::ref_entry::{self, RefEntry};
use freestone_format::revision;
use freestone_format::segment::{Segment, parse_file_name};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest index segment that is fetched.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Segments that are fetched at once.
const FETCHERS: usize = 8;

/// Checks that the bytes of an object are what its name says. Objects of other names pass.
fn check(name: &str, bytes: &[u8]) -> Result<()> {
    let damaged = || Error::corrupt("it is damaged, or was on its way");
    match name.split_once('/') {
        Some(("index", file_name)) => {
            let Some((_, id)) = parse_file_name(file_name) else { return Ok(()) };
            let segment = Segment::open(Arc::new(bytes.to_vec()))?;
            if segment.verify()? == id { Ok(()) } else { Err(damaged()) }
        }
        Some(("revisions", id)) => {
            let Ok(id) = Id::parse(id) else { return Ok(()) };
            revision::decode_file(&id, bytes).map(|_| ())
        }
        Some(("refs", entry)) => {
            let parts = entry.split_once('/');
            let parts = parts.and_then(|(folder, key)| {
                Some((ref_entry::name_of_folder(folder)?, ref_entry::number_of_key(key)?))
            });
            let Some((name, n)) = parts else { return Ok(()) };
            RefEntry::decode(&name, n, bytes).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Whether an object of this name never changes, so that it may be kept.
fn is_immutable(name: &str) -> bool {
    match name.split_once('/') {
        Some(("index", file_name)) => parse_file_name(file_name).is_some(),
        Some(("revisions", id)) => Id::parse(id).is_ok(),
        Some(("refs", entry)) => {
            entry.split_once('/').is_some_and(|(_, key)| ref_entry::number_of_key(key).is_some())
        }
        _ => false,
    }
}

impl Inner {
    /// A listing: the upstream's, or of what is here.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let kept = self.kept();
        if self.client.offline {
            let mut listed = kept.list(folder)?;
            listed.retain(|listed| folder == "packs" || is_immutable(&listed.name));
            return Ok(listed);
        }
        let listed = self.checked(|| self.client.list(folder))?;
        if folder == "index" {
            self.fetch_segments(&listed)?;
        }
        self.forget_unlisted(folder, &listed, None)?;
        Ok(listed)
    }

    /// The beginning of a listing: the upstream's, or of what is here.
    pub(super) fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        if self.client.offline {
            return self.list(folder);
        }
        let listed = self.checked(|| self.client.list_first(folder, count))?;
        // Of fewer than were asked for there are no more.
        let last = listed.last().filter(|_| listed.len() >= count);
        self.forget_unlisted(folder, &listed, last.map(|last| last.name.as_str()))?;
        Ok(listed)
    }

    /// Asks for a listing, and at the same time whether the upstream is the right store.
    fn checked(&self, list: impl FnOnce() -> Result<Vec<Listed>>) -> Result<Vec<Listed>> {
        std::thread::scope(|scope| {
            let checked = scope.spawn(|| self.client.check_store(self.config.store));
            let listed = list();
            let checked = checked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            checked.and(listed)
        })
    }

    /// Forgets what is kept of a folder and not listed any more. `last`: what comes after it was not
    /// listed.
    fn forget_unlisted(&self, folder: &str, listed: &[Listed], last: Option<&str>) -> Result<()> {
        let top = folder.split('/').next().unwrap_or_default();
        if !["index", "refs", "revisions"].contains(&top) {
            return Ok(());
        }
        let kept = self.kept();
        let names: HashSet<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
        for old in kept.list(folder)? {
            let name = old.name.as_str();
            let would_be_listed = last.is_none_or(|last| name <= last);
            if is_immutable(name) && would_be_listed && !names.contains(name) {
                // Should it stay, it is asked for by nobody while the upstream can be listed.
                let _ = kept.remove(name);
            }
        }
        Ok(())
    }

    /// Fetches the segments that are not here, several at once.
    fn fetch_segments(&self, listed: &[Listed]) -> Result<()> {
        let kept: HashSet<String> =
            self.kept().list("index")?.into_iter().map(|listed| listed.name).collect();
        let missing: Vec<&Listed> = listed
            .iter()
            .filter(|listed| is_immutable(&listed.name) && !kept.contains(&listed.name))
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let fetch = || -> Result<()> {
                while let Some(listed) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // One that is gone was merged; whoever opens it finds out, and lists again.
                    self.get_whole(&listed.name, SEGMENT_BYTES_MAX)?;
                }
                Ok(())
            };
            let workers: Vec<_> =
                (0..FETCHERS.min(missing.len())).map(|_| scope.spawn(fetch)).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// Removes the segments that the disk has damaged: they are fetched again.
    pub(super) fn drop_damaged_segments(&self) -> Result<()> {
        let kept = self.kept();
        for listed in kept.list("index")? {
            let Some((_, id)) = listed.name.strip_prefix("index/").and_then(parse_file_name) else {
                continue;
            };
            let Some(object) = kept.open(&listed.name)? else { continue };
            let found = object.map().and_then(Segment::open).and_then(|found| found.verify());
            let is_damaged = match found {
                Ok(found) => found != id,
                Err(error) => error.kind() == ErrorKind::Corrupt,
            };
            if is_damaged {
                kept.remove(&listed.name)?;
            }
        }
        Ok(())
    }

    /// Reads an object that is kept whole; `None` if there is none.
    pub(super) fn get_whole(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let immutable = is_immutable(name);
        let kept = self.kept();
        if immutable && let Ok(Some(bytes)) = kept.get(name, max) {
            if check(name, &bytes).is_ok() {
                return Ok(Some(bytes));
            }
            if self.client.offline {
                return Err(self.client.absent(name));
            }
            // The disk lost it.
            kept.remove(name)?;
        }
        let got = self.client.get(name, max, &|bytes| check(name, bytes))?;
        if let (true, Some(bytes)) = (immutable, &got) {
            match kept.create(name, bytes) {
                Ok(Created::New | Created::Existed) => {}
                Err(error) => self.could_not_keep(error),
            }
        }
        Ok(got)
    }

    /// Opens an object that is kept whole, after it was fetched.
    pub(super) fn open_whole(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        if is_immutable(name)
            && let Some(object) = self.kept().open(name)?
        {
            // Mapped segments are not read whole each time; what the disk cut off is noticed.
            let is_sound = match name.strip_prefix("index/").and_then(parse_file_name) {
                Some((_, id)) => {
                    object.map().and_then(Segment::open).is_ok_and(|segment| segment.id() == id)
                }
                None => true,
            };
            if is_sound || self.client.offline {
                return Ok(Some(object));
            }
            self.kept().remove(name)?;
        }
        let Some(bytes) = self.get_whole(name, SEGMENT_BYTES_MAX)? else { return Ok(None) };
        match self.kept().open(name)? {
            Some(object) if is_immutable(name) => Ok(Some(object)),
            // It could not be kept, but it can be used.
            _ => Ok(Some(Box::new(Held(Arc::new(bytes))))),
        }
    }
}

/// An object in memory.
struct Held(Arc<Vec<u8>>);

impl Object for Held {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = start.checked_add(out.len()).and_then(|end| self.0.get(start..end));
        let part = part.ok_or_else(|| Error::corrupt("an object ends too early"))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn map(&self) -> Result<freestone_core::wire::Bytes> {
        Ok(self.0.clone())
    }
}
