//! Eviction: the cache removes what was used longest ago, a MiB of a pack at a time, and never what
//! is protected.

use super::sparse::{PackRanges, names, now, read_runs};
use super::{Cache, Protected};
use freestone_backend::Backend;
use freestone_core::wire::to_usize;
use freestone_core::{Id, Result};
use freestone_format::pack;
use freestone_format::runs::{Runs, RunsFile, STAMPED_BYTES};
use std::collections::BTreeMap;

/// After this number of seconds no process is about to say what is in a sparse pack.
const ABANDONED_AFTER: u64 = 3600;

/// A MiB of a pack that may be removed. What was used longest ago comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    stamp: u64,
    id: Id,
    start: u64,
    /// The bytes of it that are here and not protected.
    bytes: u64,
}

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
        let mut candidates: Vec<Candidate> = Vec::new();
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
                    candidates.push(Candidate { stamp, id: *id, start, bytes: here.bytes() });
                }
            }
            used = used.saturating_sub(self.remove_unlisted(id, &file)?);
        }
        candidates.sort_unstable();
        let mut candidates = candidates.into_iter();
        let mut removed = false;
        while used > target {
            // What a block gives back is known only afterwards.
            let mut chosen: BTreeMap<Id, Runs> = BTreeMap::new();
            let mut expected = 0;
            while expected < used - target
                && let Some(Candidate { id, start, bytes, .. }) = candidates.next()
            {
                chosen.entry(id).or_default().add(start..start + STAMPED_BYTES);
                expected += bytes;
            }
            if chosen.is_empty() {
                break;
            }
            used = used.saturating_sub(self.remove_blocks(&chosen, &protected)?);
            removed = true;
        }
        if removed {
            self.client.reach.forget_complete(&pinned);
        }
        Ok(())
    }

    /// Removes what is in blocks of packs, except what is protected. Returns the bytes that became
    /// free.
    fn remove_blocks(&self, blocks: &BTreeMap<Id, Runs>, protected: &PackRanges) -> Result<u64> {
        let folder = &self.here.folder;
        let (mut files, mut removed) = (Vec::new(), Vec::new());
        for (id, blocks) in blocks {
            let mut file = read_runs(folder, id)?;
            let mut gone = Runs::default();
            blocks.iter().for_each(|block| gone.add_all(&file.runs.within(&block)));
            if let Some(protected) = protected.get(id) {
                gone.remove_all(protected);
            }
            file.runs.remove_all(&gone);
            let pack = self.here.known(id);
            let is_dirty = pack.as_ref().is_some_and(|pack| pack.is_dirty());
            let is_whole = file.runs.is_empty() && !is_dirty;
            if let Some(pack) = pack {
                pack.replace(file.clone());
            }
            if !is_whole {
                files.push((*id, file));
            }
            removed.push((*id, gone, is_whole));
        }
        // Nothing is removed that the files still list.
        self.replace_runs(&folder.make_objects()?, &files)?;
        let mut free = 0;
        for (id, gone, is_whole) in removed {
            let (name, runs) = names(&id);
            let before = self.on_disk(&name)?;
            if is_whole {
                folder.remove(&runs)?;
                folder.empty(&name);
                folder.remove(&name)?;
            } else {
                gone.iter().for_each(|range| folder.punch(&name, &range));
            }
            free += before.saturating_sub(self.on_disk(&name)?);
        }
        Ok(free)
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
