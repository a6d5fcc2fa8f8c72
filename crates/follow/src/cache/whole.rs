//! What is kept whole: index segments, revisions, ref entries. All are immutable. One that is here and
//! is what its name says is never fetched again; one that the upstream no longer lists is removed.
//!
//! A cache that cannot be written to is not an error: what was fetched is used from memory, and
//! fetched again by the next process.

use super::Cache;
use super::check::{check, is_immutable, is_sound};
use super::folder::is_unreadable;
use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Listed, Object};
use freestone_core::digest::PlainHasher;
use freestone_core::limits::REVISION_BYTES_MAX;
use freestone_core::wire::{Bytes, to_usize};
use freestone_core::{Error, ErrorKind, Result, lock, threads};
use freestone_format::segment::{CHECK_BYTES, Segment, check_header, parse_file_name};
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest object that is not a segment: the file of a revision, with its locator.
const OBJECT_BYTES_MAX: u64 = (REVISION_BYTES_MAX as u64) + (64 << 20);
/// Bytes of a segment that are requested at once.
const PART_BYTES: u64 = 4 << 20;
/// The longest segment that is held in memory because the cache has no room for it.
const HELD_BYTES_MAX: u64 = 256 << 20;
/// Segments that are fetched at once. With [`PART_BYTES`] it bounds the memory.
const FETCHERS: usize = 8;

impl Cache {
    /// Lists a folder of the upstream; offline, what is here of it.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        if self.client.offline {
            return self.here.list(folder);
        }
        let mut listed = self.checked(|| self.client.list(folder))?;
        if folder == "index" {
            let mut gone = self.fetch_segments(&listed)?;
            if !gone.is_empty() && self.client.lists_by_hints() {
                // The hint may have been replaced meanwhile. If it is still old, the segments that
                // were merged are not waited for.
                listed = self.client.list(folder)?;
                gone = self.fetch_segments(&listed)?;
                listed.retain(|listed| !gone.contains(&listed.name));
            }
        }
        self.add_newer(folder, &mut listed);
        self.forget_unlisted(folder, &listed, None);
        Ok(listed)
    }

    /// Lists the beginning of a folder of the upstream; offline, what is here of it.
    pub(crate) fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        if self.client.offline {
            return self.list(folder);
        }
        let mut listed = self.checked(|| self.client.list_first(folder, count))?;
        // A shorter listing is whole.
        let last = listed.last().filter(|_| listed.len() >= count).cloned();
        self.add_newer(folder, &mut listed);
        self.forget_unlisted(folder, &listed, last.as_ref().map(|last| last.name.as_str()));
        Ok(listed)
    }

    /// Makes a listing, and at the same time checks that the upstream is the right store.
    fn checked(&self, list: impl FnOnce() -> Result<Vec<Listed>>) -> Result<Vec<Listed>> {
        let check = || self.client.check_store();
        std::thread::scope(|scope| {
            let checking = threads::spawn(scope, check);
            let listed = list();
            checking.map_or_else(check, threads::join).and(listed)
        })
    }

    /// Lists what is here of a folder. If it cannot be listed, the reason is remembered.
    fn list_kept(&self, folder: &str) -> Vec<Listed> {
        self.here.list(folder).unwrap_or_else(|error| {
            self.could_not_keep(error);
            Vec::new()
        })
    }

    /// Adds to a listing by hints what is here and newer: a cache between the upstream and this host may
    /// answer with an old hint, and must not make the host go back. Entries of refs are never
    /// removed, so all of them count. A segment counts if it was written after all that are listed.
    fn add_newer(&self, folder: &str, listed: &mut Vec<Listed>) {
        if !self.client.lists_by_hints() {
            return;
        }
        let mut kept = self.list_kept(folder);
        match folder.split('/').next() {
            Some("refs") => {}
            Some("index") => {
                let newest = listed.iter().filter_map(|listed| time_of(&listed.name)).max();
                kept.retain(|kept| time_of(&kept.name) > newest);
            }
            _ => return,
        }
        listed.append(&mut kept);
        listed.sort_unstable();
        listed.dedup_by(|a, b| a.name == b.name);
    }

    /// Removes what is kept of a folder and not listed any more. What comes after `last` was not
    /// listed.
    fn forget_unlisted(&self, folder: &str, listed: &[Listed], last: Option<&str>) {
        let top = folder.split('/').next().unwrap_or_default();
        // Hints name only some of the revisions.
        let is_whole = top != "revisions" || !self.client.lists_by_hints();
        if !["index", "refs", "revisions"].contains(&top) || !is_whole {
            return;
        }
        let Some(objects) = self.objects() else { return };
        let names: HashSet<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
        for old in objects.list(folder).unwrap_or_default() {
            let name = old.name.as_str();
            let would_be_listed = last.is_none_or(|last| name <= last);
            if is_immutable(name) && would_be_listed && !names.contains(name) {
                // If it stays, nobody asks for it while the upstream can be listed.
                let _ = objects.remove(name);
            }
        }
    }

    /// Fetches the segments that are not here, several at once. Returns the names of those that are
    /// gone: they were merged into others.
    fn fetch_segments(&self, listed: &[Listed]) -> Result<Vec<String>> {
        let kept = self.list_kept("index").into_iter().map(|listed| listed.name);
        let kept: HashSet<String> = kept.collect();
        let missing: Vec<&Listed> = listed
            .iter()
            .filter(|listed| is_immutable(&listed.name) && !kept.contains(&listed.name))
            .collect();
        let gone: Mutex<Vec<String>> = Mutex::default();
        threads::each(&missing, FETCHERS, |listed| {
            // What cannot be kept is fetched by the reader that needs it.
            if self.has_failed() {
                return Ok(());
            }
            match self.fetch_segment(&listed.name, Some(listed.length)) {
                Err(error) if error.kind() == ErrorKind::Missing => {
                    lock(&gone).push(listed.name.clone());
                    Ok(())
                }
                outcome => outcome.map(drop),
            }
        })?;
        Ok(gone.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes the segments that the disk has damaged: they are fetched again.
    pub(crate) fn drop_damaged_segments(&self) -> Result<()> {
        let Some(objects) = self.here.folder.objects()? else { return Ok(()) };
        for listed in objects.list("index")? {
            let Some((_, id)) = listed.name.strip_prefix("index/").and_then(parse_file_name) else {
                continue;
            };
            let Some(object) = objects.open(&listed.name)? else { continue };
            let found = object.map().and_then(Segment::open).and_then(|found| found.verify());
            let is_damaged = match found {
                Ok(found) => found != id,
                Err(error) => error.is_damage(),
            };
            if is_damaged {
                objects.remove(&listed.name)?;
            }
        }
        Ok(())
    }

    /// Reads an object that is kept whole; `None` if there is none.
    pub(crate) fn get_whole(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        if self.client.offline {
            return self.here.get(name, max);
        }
        let immutable = is_immutable(name);
        if immutable && let Some(objects) = self.objects() {
            match objects.get(name, max) {
                Ok(Some(bytes)) if check(name, &bytes).is_ok() => return Ok(Some(bytes)),
                Ok(None) => {}
                outcome => self.renounce(name, &objects, outcome.err()),
            }
        }
        let got = self.client.get(name, max, &|bytes| check(name, bytes))?;
        if let (true, Some(bytes)) = (immutable, &got) {
            self.keep(name, bytes);
        }
        Ok(got)
    }

    /// Opens an object that is kept whole. It is fetched if it is not here.
    pub(crate) fn open_whole(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        if self.client.offline {
            return self.here.open(name);
        }
        if is_immutable(name)
            && let Some(objects) = self.objects()
        {
            let kept = objects.open(name).and_then(|object| {
                let Some(object) = object else { return Ok(None) };
                let is_sound = is_sound(name, &*object)?;
                Ok(Some((object, is_sound)))
            });
            match kept {
                Ok(Some((object, true))) => return Ok(Some(object)),
                Ok(None) => {}
                outcome => self.renounce(name, &objects, outcome.err()),
            }
        }
        if name.strip_prefix("index/").and_then(parse_file_name).is_some() {
            return match self.fetch_segment(name, None) {
                Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
                outcome => outcome.map(Some),
            };
        }
        let bytes = self.get_whole(name, OBJECT_BYTES_MAX)?;
        Ok(bytes.map(|bytes| Box::new(Held(Arc::new(bytes))) as Box<dyn Object>))
    }

    /// Fetches a segment, of `length` if that is known, in parts that bound the memory, and opens
    /// it. The length that the upstream names must be that of the segment's header before more than
    /// one part is fetched.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] if there is no such object; or it is damaged.
    fn fetch_segment(&self, name: &str, length: Option<u64>) -> Result<Box<dyn Object>> {
        let id = name.strip_prefix("index/").and_then(parse_file_name).map(|(_, id)| id);
        let mut tries = 1;
        loop {
            let length = match length {
                Some(length) if tries == 1 => length,
                _ => self.client.length(name)?,
            };
            match self.fetch_segment_once(name, id, length) {
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && tries < crate::client::TRANSFERS_MAX =>
                {
                    tries += 1;
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return Err(error.context(format!("{}: {name}", self.config.url)));
                }
                outcome => return outcome,
            }
        }
    }

    fn fetch_segment_once(
        &self,
        name: &str,
        id: Option<[u8; 16]>,
        length: u64,
    ) -> Result<Box<dyn Object>> {
        let mut part = vec![0; to_usize(length.min(PART_BYTES))];
        self.client.read(name, 0, &mut part)?;
        check_header(&part, length)?;
        if length <= PART_BYTES {
            check(name, &part)?;
            self.keep(name, &part);
            return Ok(Box::new(Held(Arc::new(part))));
        }
        let folder = &self.here.folder;
        let spool = match folder.has_room(length) {
            true => folder.make_objects().and_then(|objects| Ok((objects.spool()?, objects))),
            false => Err(Error::new(ErrorKind::Storage, format!("there is no room for {name}"))),
        };
        let kept = match spool {
            Ok((spool, objects)) => {
                let write = |at, bytes: &[u8]| spool.file().write_all_at(bytes, at);
                let outcome = self.fetch_parts(name, id, length, part.clone(), write)?;
                outcome
                    .map_err(|error| Error::io(format!("cannot keep {name}"), error))
                    .and_then(|()| objects.publish(spool, name))
                    .map(|_| objects)
            }
            Err(error) => Err(error),
        };
        match kept {
            Ok(objects) => {
                let gone = || Error::missing(format!("{name} was removed from the cache"));
                objects.open(name)?.ok_or_else(gone)
            }
            Err(error) => {
                self.could_not_keep(error);
                self.hold_segment(name, id, length, part)
            }
        }
    }

    /// Fetches a segment of which `part` is the beginning, and holds it in memory.
    fn hold_segment(
        &self,
        name: &str,
        id: Option<[u8; 16]>,
        length: u64,
        part: Vec<u8>,
    ) -> Result<Box<dyn Object>> {
        if length > HELD_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Storage,
                format!("{name} has {length} bytes, and the cache has no room for it"),
            )
            .hint(format!("make room in {}", self.own.root().display())));
        }
        let mut held = Vec::new();
        let write = |_, bytes: &[u8]| {
            held.extend_from_slice(bytes);
            Ok(())
        };
        self.fetch_parts(name, id, length, part, write)?
            .map_err(|error| Error::io(format!("cannot hold {name}"), error))?;
        Ok(Box::new(Held(Arc::new(held))))
    }

    /// Fetches a segment of which `part` is the beginning, and calls `write` with each part and its
    /// offset. The inner result is that of `write`.
    ///
    /// # Errors
    /// It cannot be fetched, or is damaged.
    fn fetch_parts(
        &self,
        name: &str,
        id: Option<[u8; 16]>,
        length: u64,
        mut part: Vec<u8>,
        mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<io::Result<()>> {
        let mut hasher = PlainHasher::default();
        let (mut at, mut tail) = (0, Vec::new());
        loop {
            // The check at the end is the hash of everything before it.
            tail.extend_from_slice(&part);
            let hashed = tail.len().saturating_sub(CHECK_BYTES);
            hasher.update(&tail[..hashed]);
            tail.drain(..hashed);
            if let Err(error) = write(at, &part) {
                return Ok(Err(error));
            }
            at += part.len() as u64;
            if at == length {
                break;
            }
            part.resize(to_usize((length - at).min(PART_BYTES)), 0);
            self.client.read(name, at, &mut part)?;
        }
        let found = hasher.finish();
        if found.0[..] != tail[..] || id.is_some_and(|id| id != found.0[..16]) {
            return Err(Error::corrupt("it is damaged, or was damaged on its way"));
        }
        Ok(Ok(()))
    }

    /// Keeps an object. If that is not possible, the reason is remembered.
    fn keep(&self, name: &str, bytes: &[u8]) {
        let kept = self.here.folder.make_objects().and_then(|objects| objects.create(name, bytes));
        if let Err(error) = kept {
            self.could_not_keep(error);
        }
    }

    /// Does without the object `name` that is in the cache: the disk damaged it or cannot read it, so
    /// that it is removed and fetched again; or it cannot be used for the reason `error`, which is
    /// remembered.
    fn renounce(&self, name: &str, objects: &Directory, error: Option<Error>) {
        let outcome = match error {
            Some(error) if !error.is_damage() && !is_unreadable(&error) => Err(error),
            _ => objects.remove(name),
        };
        if let Err(error) = outcome {
            self.could_not_keep(error);
        }
    }
}

/// Returns the time at which a segment was written, from its name.
fn time_of(name: &str) -> Option<u64> {
    let name = name.strip_prefix("index/").filter(|name| parse_file_name(name).is_some())?;
    u64::from_str_radix(name.split('-').nth(1)?, 16).ok()
}

/// An object in memory.
struct Held(Arc<Vec<u8>>);

impl Object for Held {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let start = to_usize(offset);
        let part = start.checked_add(out.len()).and_then(|end| self.0.get(start..end));
        let part = part.ok_or_else(|| Error::corrupt("an object ends too early"))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn map(&self) -> Result<Bytes> {
        Ok(self.0.clone())
    }
}
