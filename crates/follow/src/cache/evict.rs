//! Eviction: the cache removes what was used longest ago, a MiB of a pack at a time, and never what
//! is protected.

use super::sparse::{names, now, read_runs};
use super::{Cache, Protected};
use freestone_backend::Backend;
use freestone_core::wire::to_usize;
use freestone_core::{Id, Result};
use freestone_format::pack;
use freestone_format::runs::{Runs, RunsFile, STAMPED_BYTES};
use std::ops::Range;

/// After this number of seconds no process is about to say what is in a sparse pack.
const ABANDONED_AFTER: u64 = 3600;

impl Cache {
    /// Lists the sparse packs, each with the bytes that it takes on the disk.
    fn sizes(&self) -> Result<Vec<(Id, u64)>> {
        let Some(objects) = self.here.folder.objects()? else { return Ok(Vec::new()) };
        let mut sizes = Vec::new();
        for listed in objects.list("packs")? {
            if let Some(id) = pack::id_of_object(&listed.name)
                && let Some(found) = self.here.folder.sizes(&listed.name)?
            {
                sizes.push((id, found.on_disk));
            }
        }
        Ok(sizes)
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
        let _lock = self.here.folder.lock()?;
        // Another process may have removed enough meanwhile.
        let sizes = self.sizes()?;
        let mut used = sum(&sizes);
        // A little more than is needed, so that the next call has nothing to do.
        let target = (limit - limit / 16).saturating_sub(bytes);
        let mut candidates: Vec<(u64, Id, Range<u64>)> = Vec::new();
        for (id, _) in &sizes {
            let file = match read_runs(&self.here.folder, id) {
                Ok(file) => file,
                Err(error) => {
                    self.could_not_keep(error);
                    continue;
                }
            };
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
            used = used.saturating_sub(self.remove_unlisted(id, &file)?);
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
        let folder = &self.here.folder;
        let (name, runs) = names(id);
        let mut file = read_runs(folder, id)?;
        let mut gone = file.runs.within(block);
        if let Some(protected) = protected {
            gone.remove_all(protected);
        }
        file.runs.remove_all(&gone);
        let before = self.on_disk(&name)?;
        let pack = self.here.known(id);
        if file.runs.is_empty() && pack.as_ref().is_none_or(|pack| !pack.is_dirty()) {
            folder.empty(&name);
            folder.remove(&runs)?;
            folder.remove(&name)?;
        } else {
            let objects = folder.make_objects()?;
            objects.replace(objects.spool_of(&file.encode(id))?, &runs)?;
            gone.iter().for_each(|range| folder.punch(&name, &range));
        }
        if let Some(pack) = pack {
            pack.replace(file);
        }
        Ok(before.saturating_sub(self.on_disk(&name)?))
    }

    /// Returns the bytes that a file takes on the disk.
    fn on_disk(&self, name: &str) -> Result<u64> {
        Ok(self.here.folder.sizes(name)?.map_or(0, |sizes| sizes.on_disk))
    }

    /// Removes what is in a sparse pack and not in its runs: a process was killed before it could list
    /// it. Returns the bytes that became free.
    fn remove_unlisted(&self, id: &Id, file: &RunsFile) -> Result<u64> {
        let folder = &self.here.folder;
        let (name, _) = names(id);
        let Some(before) = folder.sizes(&name)? else { return Ok(0) };
        if before.written + ABANDONED_AFTER > now() / 1000
            || before.on_disk <= file.runs.bytes().saturating_add(1 << 16)
        {
            return Ok(0);
        }
        let mut at = 0;
        for run in file.runs.iter() {
            folder.punch(&name, &(at..run.start));
            at = run.end;
        }
        folder.punch(&name, &(at..before.length));
        Ok(before.on_disk.saturating_sub(self.on_disk(&name)?))
    }
}
