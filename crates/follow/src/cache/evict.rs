//! Eviction: the cache removes what was used longest ago, a MiB of a pack at a time, and never what
//! is protected.

use super::flush::{failed, lock_cache};
use super::sparse::{paths, read_runs};
use super::{Cache, Protected};
use crate::durable::write_beside;
use freestone_backend::Backend;
use freestone_core::wire::to_usize;
use freestone_core::{Id, Result};
use freestone_format::pack;
use freestone_format::runs::{Runs, RunsFile, STAMPED_BYTES};
use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// After this time no process is about to say what is in a sparse pack.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

impl Cache {
    /// Lists the sparse packs, each with the bytes that it takes on the disk.
    fn sizes(&self) -> Result<Vec<(Id, u64)>> {
        let listed = self.here.directory().list("packs")?;
        let size = |id: Id| {
            let metadata = fs::metadata(paths(self.folder(), &id).0).ok()?;
            Some((id, metadata.blocks() * 512))
        };
        Ok(listed.iter().filter_map(|l| pack::id_of_object(&l.name)).filter_map(size).collect())
    }

    /// Makes room for `bytes`: with them the cache takes no more than its size, if that is possible
    /// without removing what is protected, or was used since `begun` (milliseconds since 1970).
    ///
    /// # Errors
    /// It is not known what is protected: then nothing is removed. Or the cache cannot be changed.
    pub(crate) fn evict(&self, bytes: u64, begun: Option<u64>) -> Result<()> {
        let Some(limit) = self.config.cache_size else { return Ok(()) };
        let sum = |sizes: &[(Id, u64)]| sizes.iter().map(|(_, size)| size).sum::<u64>();
        if sum(&self.sizes()?).saturating_add(bytes) <= limit {
            return Ok(());
        }
        self.flush(true)?;
        let Protected { revisions: pinned, ranges: protected } = (self.protect)()?;
        let _lock = lock_cache(self.folder())?;
        // Another process may have removed enough meanwhile.
        let sizes = self.sizes()?;
        let mut used = sum(&sizes);
        // A little more than is needed, so that the next call has nothing to do.
        let target = (limit - limit / 16).saturating_sub(bytes);
        let mut candidates: Vec<(u64, Id, Range<u64>)> = Vec::new();
        for (id, _) in &sizes {
            let file = read_runs(self.folder(), id);
            for number in 0..file.runs.end().div_ceil(STAMPED_BYTES) {
                let start = number * STAMPED_BYTES;
                let block = start..start + STAMPED_BYTES;
                let mut here = file.runs.within(&block);
                if let Some(protected) = protected.get(id) {
                    here.remove_all(protected);
                }
                let at = to_usize(start / STAMPED_BYTES);
                let stamp = file.stamps.get(at).copied().unwrap_or(0);
                let is_new = begun.is_some_and(|begun| stamp >= begun);
                if !here.is_empty() && !is_new {
                    candidates.push((stamp, *id, block));
                }
            }
            used = used.saturating_sub(self.remove_unlisted(id, &file));
        }
        candidates.sort_unstable_by_key(|(stamp, id, block)| (*stamp, *id, block.start));
        let mut removed = false;
        for (_, id, block) in candidates {
            if used <= target {
                break;
            }
            used = used.saturating_sub(self.remove_block(&id, &block, protected.get(&id))?);
            removed = true;
        }
        if removed {
            self.client.reach.forget_complete(&pinned);
        }
        Ok(())
    }

    /// Removes what is in `block` of a pack, except `protected`. Returns the bytes that became free.
    fn remove_block(&self, id: &Id, block: &Range<u64>, protected: Option<&Runs>) -> Result<u64> {
        let (pack_path, runs_path) = paths(self.folder(), id);
        let mut file = read_runs(self.folder(), id);
        let mut gone = file.runs.within(block);
        if let Some(protected) = protected {
            gone.remove_all(protected);
        }
        file.runs.remove_all(&gone);
        let blocks = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
        let before = blocks(&pack_path);
        let pack = self.here.known(id);
        if file.runs.is_empty() && pack.as_ref().is_none_or(|pack| !pack.is_dirty()) {
            // Processes that have it open must not keep its room.
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

    /// Removes what is in a sparse pack and not in its runs: a process was killed before it could list
    /// it. Returns the bytes that became free.
    fn remove_unlisted(&self, id: &Id, file: &RunsFile) -> u64 {
        let (path, _) = paths(self.folder(), id);
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

/// Returns the room of a range to the file system. If that cannot punch holes, the room is returned
/// only with the whole pack.
fn punch(path: &Path, range: &Range<u64>) {
    if let Ok(file) = File::options().write(true).open(path)
        && range.start < range.end
    {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&file, flags, range.start, range.end - range.start);
    }
}
