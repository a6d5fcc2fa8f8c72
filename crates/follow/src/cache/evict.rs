//! What the cache remembers and gives up: the files of runs, and eviction.
//!
//! The file of a pack's runs is replaced only after the pack's bytes were synced. What processes
//! add at the same time comes together: each adds what it has kept, under the cache's lock, to what
//! the file says then. Eviction gives up, a MiB of a pack at a time, what was used longest ago,
//! and never what a pinned revision needs, with all that it is based on.

use super::needs::Overlay;
use super::sparse::{Changes, SparsePack, paths, read_runs};
use super::{Follower, Inner, lock};
use crate::refs::Refs;
use crate::store::Store;
use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::{Error, Id, Result};
use freestone_format::pack::{self, TRAILER_BYTES};
use freestone_format::runs::{RunsFile, STAMPED_BYTES};
use freestone_format::segment::Segment;
use rustix::fs::{FallocateFlags, FlockOperation};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Packs from which on one sync of the file system takes the place of one for each.
const SYNCED_ONE_BY_ONE: usize = 16;
/// After this time nobody is about to say what is in a sparse pack.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("the cache: cannot {what} {}", path.display()), error)
        .hint("the cache can be deleted at any time; what was in it is fetched again")
}

/// The lock of a cache, held while files of runs are changed.
fn lock_cache(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let take = || {
        fs::create_dir_all(cache)?;
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    take().map_err(|error| failed("lock", &path, error))
}

/// Writes a file of runs beside its place; `place` gives it its name.
fn write_beside(path: &Path, bytes: &[u8], sync: bool) -> io::Result<std::path::PathBuf> {
    let beside = path
        .with_extension(format!("runs-{:016x}", u64::from_le_bytes(freestone_backend::random())));
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_data()?;
    }
    Ok(beside)
}

fn sync_file_system(cache: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(cache)?)?)
}

impl Inner {
    /// Puts what was kept since the last time into the files of runs; where something was, or with
    /// `every_use`, also what was used when.
    pub(super) fn flush(&self, every_use: bool) -> Result<()> {
        self.unflushed.store(0, Ordering::Relaxed);
        let packs: Vec<Arc<SparsePack>> = lock(&self.packs).values().cloned().collect();
        let every_use = every_use || packs.iter().any(|pack| pack.has_added());
        let changed: Vec<(Arc<SparsePack>, Changes)> = packs
            .into_iter()
            .filter_map(|pack| pack.take_changes(every_use).map(|changes| (pack, changes)))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let added = changed.iter().filter(|(_, changes)| !changes.added.is_empty());
        let one_by_one = added.clone().count() <= SYNCED_ONE_BY_ONE;
        let mut gone: HashSet<Id> = HashSet::new();
        let mut sync = || -> io::Result<()> {
            if !one_by_one {
                return sync_file_system(&self.cache);
            }
            for (pack, _) in added.clone() {
                match File::open(paths(&self.cache, &pack.id).0) {
                    Ok(file) => file.sync_data()?,
                    // Another process has given it up, who could not know of what was added.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        gone.insert(pack.id);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        // The cache can be deleted at any time.
        fs::create_dir_all(&self.cache)
            .and_then(|()| sync())
            .map_err(|error| failed("sync", &self.cache, error))?;
        let _lock = lock_cache(&self.cache)?;
        let mut renames = Vec::new();
        for (pack, changes) in &changed {
            let (_, path) = paths(&self.cache, &pack.id);
            if gone.contains(&pack.id) || !path.parent().is_some_and(Path::exists) {
                pack.replace(RunsFile::default());
                continue;
            }
            let mut file = read_runs(&self.cache, &pack.id);
            file.runs.remove_all(&changes.removed);
            file.runs.add_all(&changes.added);
            file.length = file.length.max(changes.length);
            let stamps = file.stamps.len().max(changes.stamps.len());
            file.stamps.resize(stamps, 0);
            for (stamp, used) in file.stamps.iter_mut().zip(&changes.stamps) {
                *stamp = (*stamp).max(*used);
            }
            // A use alone is not worth a sync.
            let sync = one_by_one && !changes.added.is_empty();
            let beside = write_beside(&path, &file.encode(&pack.id), sync)
                .map_err(|error| failed("write", &path, error))?;
            renames.push((beside, path));
            pack.replace(file);
        }
        if !one_by_one {
            sync_file_system(&self.cache).map_err(|error| failed("sync", &self.cache, error))?;
        }
        renames.iter().try_for_each(|(from, to)| {
            fs::rename(from, to).map_err(|error| failed("replace", to, error))
        })
    }

    /// The sparse packs, each with the bytes that it takes on the disk.
    fn sizes(&self) -> Result<Vec<(Id, u64)>> {
        let listed = self.kept().list("packs")?;
        let size = |id: Id| {
            let metadata = fs::metadata(paths(&self.cache, &id).0).ok()?;
            Some((id, metadata.blocks() * 512))
        };
        Ok(listed.iter().filter_map(|l| pack::id_of_object(&l.name)).filter_map(size).collect())
    }

    /// Makes room for `bytes`: the cache takes no more than its size with them, where that can be
    /// had without giving up what is pinned, or was used since `begun`.
    pub(super) fn evict(&self, bytes: u64, begun: Option<u64>) -> Result<()> {
        let Some(limit) = self.config.cache_size else { return Ok(()) };
        let sum = |sizes: &[(Id, u64)]| sizes.iter().map(|(_, size)| size).sum::<u64>();
        if sum(&self.sizes()?).saturating_add(bytes) <= limit {
            return Ok(());
        }
        self.flush(true)?;
        let (pinned, protected) = self.pinned()?;
        let _lock = lock_cache(&self.cache)?;
        // Another process may have given up enough meanwhile.
        let sizes = self.sizes()?;
        let mut used = sum(&sizes);
        // A little more than has to be, so that it is not begun again at once.
        let target = (limit - limit / 16).saturating_sub(bytes);
        let mut candidates: Vec<(u64, Id, Range<u64>)> = Vec::new();
        for (id, _) in &sizes {
            let file = read_runs(&self.cache, id);
            for number in 0..file.runs.end().div_ceil(STAMPED_BYTES) {
                let start = number * STAMPED_BYTES;
                let block = start..start + STAMPED_BYTES;
                let mut here = file.runs.within(&block);
                if let Some(protected) = protected.get(id) {
                    here.remove_all(protected);
                }
                let at = usize::try_from(start / STAMPED_BYTES).unwrap_or(usize::MAX);
                let stamp = file.stamps.get(at).copied().unwrap_or(0);
                let is_new = begun.is_some_and(|begun| stamp >= begun);
                if !here.is_empty() && !is_new {
                    candidates.push((stamp, *id, block));
                }
            }
            used = used.saturating_sub(self.give_up_unknown(id, &file));
        }
        candidates.sort_unstable_by_key(|(stamp, id, block)| (*stamp, *id, block.start));
        let mut gave_up = false;
        for (_, id, block) in candidates {
            if used <= target {
                break;
            }
            used = used.saturating_sub(self.give_up(&id, &block, protected.get(&id))?);
            gave_up = true;
        }
        if gave_up {
            self.client.reach.forget_complete(&pinned);
        }
        Ok(())
    }

    /// The pinned revisions, and the ranges of packs that hold what they need.
    ///
    /// # Errors
    /// It cannot be told what is pinned: then nothing may be given up.
    fn pinned(&self) -> Result<(Vec<Id>, Overlay)> {
        let (mut ids, mut ranges) = (Vec::new(), Overlay::new());
        let refs = Refs::new(Arc::new(Directory::new(&self.root)));
        let prefix = format!("hosts/{}/", self.config.host);
        let entries = refs.list().map_err(|error| {
            let refs = self.root.join("refs");
            error.context("what is pinned cannot be told").hint(format!(
                "remove what is damaged below {}, and pin again what it pinned",
                refs.display()
            ))
        })?;
        ids.extend(
            entries.iter().filter(|e| e.name.starts_with(&prefix)).filter_map(|e| e.revision()),
        );
        if ids.is_empty() {
            return Ok((ids, ranges));
        }
        // By what is here: eviction asks nobody.
        let follower = Follower::new(
            self.config.clone(),
            self.root.clone(),
            self.client.backend().clone(),
            true,
        );
        let store = Store::of_follower(follower, self.config.store);
        // Where rows follow from the table of a pack, nothing of it is found without.
        for listed in self.kept().list("index")? {
            let segment = self.kept().open(&listed.name)?.map(|object| object.map());
            let Some(segment) = segment.and_then(|bytes| Segment::open(bytes.ok()?).ok()) else {
                continue;
            };
            if segment.rows_left_out()
                && let Ok(pack) = segment.pack(0)
            {
                let end = pack.length.saturating_sub(TRAILER_BYTES);
                ranges.entry(pack.id).or_default().add(end.saturating_sub(pack.table)..end);
            }
        }
        for id in &ids {
            let mut walk = || -> Result<()> {
                let Some(revision) = store.revision(id)? else { return Ok(()) };
                let inner = store.following().map(|follower| follower.0.clone());
                inner.map_or(Ok(()), |inner| {
                    inner.ranges_of(&store.records()?, &revision.root, &mut ranges)
                })
            };
            // What is not here needs no protection.
            let _ = walk();
        }
        // This process has kept what the other view cannot see yet; nothing of it is to be written.
        Ok((ids, ranges))
    }

    /// Gives up what is in `block` of a pack, but for `protected`. Gives the bytes that came free.
    fn give_up(
        &self,
        id: &Id,
        block: &Range<u64>,
        protected: Option<&freestone_format::runs::Runs>,
    ) -> Result<u64> {
        let (pack_path, runs_path) = paths(&self.cache, id);
        let mut file = read_runs(&self.cache, id);
        let mut gone = file.runs.within(block);
        if let Some(protected) = protected {
            gone.remove_all(protected);
        }
        file.runs.remove_all(&gone);
        let blocks = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
        let before = blocks(&pack_path);
        let pack = lock(&self.packs).get(id).cloned();
        if file.runs.is_empty() && pack.as_ref().is_none_or(|pack| !pack.is_dirty()) {
            // Whoever has it open must not keep its room.
            let _ = File::options().write(true).open(&pack_path).and_then(|file| file.set_len(0));
            fs::remove_file(&runs_path).map_err(|error| failed("remove", &runs_path, error))?;
            fs::remove_file(&pack_path).map_err(|error| failed("remove", &pack_path, error))?;
        } else {
            let beside = write_beside(&runs_path, &file.encode(id), false)
                .map_err(|error| failed("write", &runs_path, error))?;
            fs::rename(&beside, &runs_path)
                .map_err(|error| failed("replace", &runs_path, error))?;
            gone.iter().for_each(|range| punch(&pack_path, &range));
        }
        if let Some(pack) = pack {
            pack.replace(file);
        }
        Ok(before.saturating_sub(blocks(&pack_path)))
    }

    /// Gives up what lies in a sparse pack without being in its runs: a process was killed before
    /// it could say so. Gives the bytes that came free.
    fn give_up_unknown(&self, id: &Id, file: &RunsFile) -> u64 {
        let (path, _) = paths(&self.cache, id);
        let Ok(metadata) = fs::metadata(&path) else { return 0 };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        if age.is_none_or(|age| age < ABANDONED_AFTER)
            || metadata.blocks() * 512 <= file.runs.bytes().saturating_add(1 << 16)
        {
            return 0;
        }
        let before = metadata.blocks() * 512;
        let mut at = 0;
        for run in file.runs.iter() {
            punch(&path, &(at..run.start));
            at = run.end;
        }
        punch(&path, &(at..metadata.len()));
        before.saturating_sub(fs::metadata(&path).map_or(0, |m| m.blocks() * 512))
    }
}

/// Gives the room of a range back. Where the file system cannot, it is not had back until the
/// whole pack goes.
fn punch(path: &Path, range: &Range<u64>) {
    if let Ok(file) = File::options().write(true).open(path)
        && range.start < range.end
    {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&file, flags, range.start, range.end - range.start);
    }
}
