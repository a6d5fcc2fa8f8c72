//! What the cache remembers: the files of runs.
//!
//! The file of a pack's runs is replaced only after the pack's bytes were synced. What processes
//! add at the same time comes together: each adds what it has kept, under the cache's lock, to what
//! the file says then.

use super::Cache;
use super::sparse::{Changes, SparsePack, paths, read_runs};
use crate::durable::write_beside;
use freestone_core::{Error, Id, Result};
use freestone_format::runs::RunsFile;
use rustix::fs::FlockOperation;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Packs from which on one sync of the file system replaces one for each.
const SYNCED_ONE_BY_ONE: usize = 16;

/// Returns the error for a failed change of the cache.
pub(crate) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("the cache: cannot {what} {}", path.display()), error)
        .hint("the cache can be deleted at any time; what was in it is fetched again")
}

/// Takes the lock of a cache, which is held while files of runs are changed.
pub(crate) fn lock_cache(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let take = || {
        fs::create_dir_all(cache)?;
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    take().map_err(|error| failed("lock", &path, error))
}

fn sync_file_system(cache: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(cache)?)?)
}

impl Cache {
    /// Makes the names in `folders`, directories of the cache, durable, and the directories above them
    /// from the store's own down.
    pub(crate) fn sync_folders(&self, folders: impl Iterator<Item = PathBuf>) -> Result<()> {
        let mut all = BTreeSet::new();
        for folder in folders {
            let above = folder.ancestors().take_while(|folder| folder.starts_with(&self.root));
            all.extend(above.map(Path::to_path_buf));
        }
        all.iter().try_for_each(|folder| {
            let sync = || File::open(folder)?.sync_all();
            sync().map_err(|error| failed("sync", folder, error))
        })
    }

    /// Writes what was kept since the last call to the files of runs, and makes all of it durable. If
    /// something was kept, or with `every_use`, it also writes what was used when.
    ///
    /// # Errors
    /// The cache cannot be written.
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
        let mut added = changed.iter().filter(|(_, changes)| !changes.added.is_empty());
        let one_by_one = added.clone().count() <= SYNCED_ONE_BY_ONE;
        let mut gone: HashSet<Id> = HashSet::new();
        let mut sync = || -> io::Result<()> {
            if !one_by_one {
                return sync_file_system(self.folder());
            }
            for (pack, _) in added.clone() {
                match File::open(paths(self.folder(), &pack.id).0) {
                    Ok(file) => file.sync_data()?,
                    // Another process has evicted it, which could not know of what was added.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        gone.insert(pack.id);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        // The cache can be deleted at any time.
        fs::create_dir_all(self.folder())
            .and_then(|()| sync())
            .map_err(|error| failed("sync", self.folder(), error))?;
        let _lock = lock_cache(self.folder())?;
        let mut renames = Vec::new();
        for (pack, changes) in &changed {
            let (_, path) = paths(self.folder(), &pack.id);
            if gone.contains(&pack.id) || !path.parent().is_some_and(Path::exists) {
                pack.replace(RunsFile::default());
                continue;
            }
            let mut file = read_runs(self.folder(), &pack.id);
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
            sync_file_system(self.folder())
                .map_err(|error| failed("sync", self.folder(), error))?;
        }
        renames.iter().try_for_each(|(from, to)| {
            fs::rename(from, to).map_err(|error| failed("replace", to, error))
        })?;
        // Bytes and runs are durable; now their names. A use alone is not worth a sync.
        match added.next() {
            None => Ok(()),
            Some(_) => self.sync_parents(renames.iter().map(|(_, path)| path)),
        }
    }

    /// Makes durable the names of all packs that this process knows, and of their runs. Their bytes
    /// are durable since the runs list them.
    ///
    /// # Errors
    /// The cache cannot be synced.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let known = self.here.all_known();
        let paths: Vec<PathBuf> = known
            .iter()
            .map(|pack| paths(self.folder(), &pack.id).1)
            .filter(|p| p.exists())
            .collect();
        self.sync_parents(paths.iter())
    }

    /// Makes the names of files durable, with the directories above them.
    fn sync_parents<'a>(&self, files: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
        let folders: BTreeSet<&Path> = files.filter_map(|path| path.parent()).collect();
        match folders.len() <= SYNCED_ONE_BY_ONE {
            true => self.sync_folders(folders.into_iter().map(Path::to_path_buf)),
            false => sync_file_system(self.folder())
                .map_err(|error| failed("sync", self.folder(), error)),
        }
    }
}
