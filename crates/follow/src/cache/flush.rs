//! What the cache remembers: the files of runs.
//!
//! The file of a pack's runs is replaced only after the pack's bytes were synced, and by a file that
//! was synced. What processes add at the same time comes together: each adds what it has kept, under the cache's lock, to what
//! the file says then.

use super::Cache;
use super::folder::is_unreadable;
use super::sparse::{Changes, SparsePack, names, read_runs};
use freestone_backend::directory::Directory;
use freestone_core::{Id, Result};
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
        // The cache can be deleted at any time.
        let objects = folder.make_objects()?;
        if added().count() <= SYNCED_ONE_BY_ONE {
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
        let mut files = Vec::new();
        for (pack, changes) in changed {
            if let Some(file) = self.changed_runs(pack, changes)? {
                files.push((pack.id, file.clone()));
                pack.replace(file);
            }
        }
        self.replace_runs(&objects, &files)?;
        // Bytes and runs are durable; now their names. A use alone is not worth that.
        match added().next() {
            None => Ok(()),
            Some(_) => self.sync_parents(files.iter().map(|(id, _)| names(id).1)),
        }
    }

    /// Returns what the file of a pack's runs is to say. Returns `None` if the pack was evicted, or if
    /// its runs cannot be read; that is remembered.
    fn changed_runs(&self, pack: &SparsePack, changes: &Changes) -> Result<Option<RunsFile>> {
        let folder = &self.here.folder;
        if folder.sizes(&names(&pack.id).0)?.is_none() {
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
        Ok(Some(file))
    }

    /// Replaces files of runs, under the cache's lock. Each is durable before it takes the place of
    /// one that was: otherwise a power cut would leave neither.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(super) fn replace_runs(&self, objects: &Directory, files: &[(Id, RunsFile)]) -> Result<()> {
        for part in files.chunks(WRITTEN_AT_ONCE) {
            let mut written = Vec::new();
            for (id, file) in part {
                written.push((objects.spool_of(&file.encode(id))?, names(id).1));
            }
            if part.len() > SYNCED_ONE_BY_ONE {
                self.here.folder.sync_files()?;
            } else {
                for (spool, name) in &written {
                    let synced = spool.file().sync_data();
                    synced.map_err(|error| self.here.folder.failed("sync", name, error))?;
                }
            }
            for (spool, name) in written {
                objects.replace(spool, &name)?;
            }
        }
        Ok(())
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
        self.sync_parents(present.into_iter())
    }

    /// Makes the names of files durable, with the folders above them.
    fn sync_parents(&self, files: impl Iterator<Item = String>) -> Result<()> {
        let above = |name: String| name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let folders: BTreeSet<String> = files.filter_map(above).collect();
        match folders.len() <= SYNCED_ONE_BY_ONE {
            true => self.here.folder.sync_names(folders.iter().map(String::as_str)),
            false => self.here.folder.sync_files(),
        }
    }
}
