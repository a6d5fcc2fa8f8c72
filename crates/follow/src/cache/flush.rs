//! What the cache remembers: the files of runs.
//!
//! The file of a pack's runs is replaced only after the pack's bytes were synced. What processes
//! add at the same time comes together: each adds what it has kept, under the cache's lock, to what
//! the file says then.

use super::Cache;
use super::folder::is_unreadable;
use super::sparse::{Changes, SparsePack, names, read_runs};
use freestone_backend::Spool;
use freestone_backend::directory::Directory;
use freestone_core::Result;
use freestone_format::runs::RunsFile;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Packs from which on one sync of the file system replaces one for each.
const SYNCED_ONE_BY_ONE: usize = 16;
/// Files of runs that are written before the first of them is renamed. Each takes a descriptor.
const WRITTEN_AT_ONCE: usize = 128;

impl Cache {
    /// Writes what was kept since the last call to the files of runs, and makes all of it durable. If
    /// something was kept, or with `every_use`, it also writes what was used when.
    ///
    /// # Errors
    /// The cache cannot be written. A later call tries again.
    pub(crate) fn flush(&self, every_use: bool) -> Result<()> {
        self.unflushed.store(0, Ordering::Relaxed);
        let packs: Vec<Arc<SparsePack>> = self.here.all_known();
        let every_use = every_use || packs.iter().any(|pack| pack.has_added());
        let changed: Vec<(Arc<SparsePack>, Changes)> = packs
            .into_iter()
            .filter_map(|pack| pack.take_changes(every_use).map(|changes| (pack, changes)))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.write_all(&changed).inspect_err(|_| {
            changed.iter().for_each(|(pack, changes)| pack.put_back(changes));
        })
    }

    fn write_all(&self, changed: &[(Arc<SparsePack>, Changes)]) -> Result<()> {
        let folder = &self.here.folder;
        let added = || changed.iter().filter(|(_, changes)| !changes.added.is_empty());
        let one_by_one = added().count() <= SYNCED_ONE_BY_ONE;
        // The cache can be deleted at any time.
        let objects = folder.make_objects()?;
        if one_by_one {
            for (pack, _) in added() {
                let (name, _) = names(&pack.id);
                // Another process may have evicted it, which could not know of what was added.
                if let Some(file) = folder.file(&name)? {
                    file.sync_data().map_err(|error| folder.failed("sync", &name, error))?;
                }
            }
        } else {
            folder.sync_files()?;
        }
        let _lock = folder.lock()?;
        objects.clear_left_over();
        let mut replaced = Vec::new();
        for part in changed.chunks(WRITTEN_AT_ONCE) {
            let mut written = Vec::new();
            for (pack, changes) in part {
                // A use alone is not worth a sync.
                let sync = one_by_one && !changes.added.is_empty();
                if let Some(spool) = self.write_runs(&objects, pack, changes, sync)? {
                    written.push((spool, names(&pack.id).1));
                }
            }
            if !one_by_one {
                folder.sync_files()?;
            }
            for (spool, name) in written {
                objects.replace(spool, &name)?;
                replaced.push(name);
            }
        }
        // Bytes and runs are durable; now their names. A use alone is not worth a sync.
        match added().next() {
            None => Ok(()),
            Some(_) => self.sync_parents(&replaced),
        }
    }

    /// Writes what the file of a pack's runs is to say. Returns `None` if the pack was evicted, or if
    /// its runs cannot be read; that is remembered.
    fn write_runs(
        &self,
        objects: &Directory,
        pack: &SparsePack,
        changes: &Changes,
        sync: bool,
    ) -> Result<Option<Spool>> {
        let folder = &self.here.folder;
        let (name, runs) = names(&pack.id);
        if folder.sizes(&name)?.is_none() {
            pack.replace(RunsFile::default());
            return Ok(None);
        }
        let mut file = match read_runs(folder, &pack.id) {
            Ok(file) => file,
            // It is replaced.
            Err(error) if is_unreadable(&error) => RunsFile::default(),
            Err(error) => {
                self.could_not_keep(error);
                pack.put_back(changes);
                return Ok(None);
            }
        };
        file.runs.remove_all(&changes.removed);
        file.runs.add_all(&changes.added);
        file.length = file.length.max(changes.length);
        let stamps = file.stamps.len().max(changes.stamps.len());
        file.stamps.resize(stamps, 0);
        for (stamp, used) in file.stamps.iter_mut().zip(&changes.stamps) {
            *stamp = (*stamp).max(*used);
        }
        let spool = objects.spool_of(&file.encode(&pack.id))?;
        if sync {
            spool.file().sync_data().map_err(|error| folder.failed("sync", &runs, error))?;
        }
        pack.replace(file);
        Ok(Some(spool))
    }

    /// Makes durable the names of all packs that this process knows, and of their runs. Their bytes
    /// are durable since the runs list them.
    ///
    /// # Errors
    /// The cache cannot be synced.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let mut present = Vec::new();
        for pack in self.here.all_known() {
            let (_, runs) = names(&pack.id);
            if self.here.folder.sizes(&runs)?.is_some() {
                present.push(runs);
            }
        }
        self.sync_parents(&present)
    }

    /// Makes the names of files durable, with the folders above them.
    fn sync_parents(&self, files: &[String]) -> Result<()> {
        let folders: BTreeSet<&str> =
            files.iter().filter_map(|name| Some(name.rsplit_once('/')?.0)).collect();
        match folders.len() <= SYNCED_ONE_BY_ONE {
            true => self.here.folder.sync_names(folders.into_iter()),
            false => self.here.folder.sync_files(),
        }
    }
}
