//! A disk that stops at a step, and what is left of it then.
//!
//! The store writes to a real directory; a watcher sees every sync, rename, removal and directory
//! made, and at the chosen step refuses it and all that follow. What a power cut could leave is
//! then made of the directory: bytes that were not synced and names whose directory was not
//! synced may be there or not.

use freestone_store::backend::directory::{Directory, Step, Watcher};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All of it was written after all: a killed process.
    All,
    /// Names that were not synced are gone, bytes that were not synced are cut off.
    OnlySynced,
    /// Names are there, but their bytes are cut off unless they were synced.
    NamesOnly,
}

#[derive(Default)]
struct State {
    steps: u64,
    stop_at: u64,
    synced_files: HashSet<PathBuf>,
    /// Names made and not yet made durable by a sync of their directory.
    new_names: Vec<PathBuf>,
    /// Files whose bytes were never synced under the name that they have now.
    unsynced: HashSet<PathBuf>,
}

/// A disk that stops at a step.
#[derive(Clone)]
pub struct CrashingDisk {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

struct DiskWatcher(Arc<Mutex<State>>);

impl Watcher for DiskWatcher {
    fn before(&self, step: &Step<'_>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.steps += 1;
        if state.stop_at != 0 && state.steps >= state.stop_at {
            return Err(io::Error::other("the disk has stopped"));
        }
        match step {
            Step::SyncFile(path) => {
                state.synced_files.insert(path.to_path_buf());
            }
            Step::Rename(from, to) => {
                if !state.synced_files.remove(*from) {
                    state.unsynced.insert(to.to_path_buf());
                }
                // A name that another process made durable before stays.
                if !to.exists() {
                    state.new_names.push(to.to_path_buf());
                }
            }
            Step::MakeDirectory(path) => state.new_names.push(path.to_path_buf()),
            Step::SyncDirectory(path) => {
                state.new_names.retain(|name| name.parent() != Some(*path));
            }
            Step::Remove(_) => {}
        }
        Ok(())
    }
}

impl CrashingDisk {
    /// A disk over the directory `root` that does not stop until told.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into(), state: Arc::default() }
    }

    /// The backend over it.
    pub fn backend(&self) -> Arc<Directory> {
        Arc::new(Directory::watched(&self.root, Arc::new(DiskWatcher(self.state.clone()))))
    }

    /// Steps taken since the last call of [`Self::stop_at`].
    pub fn steps(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).steps
    }

    /// Begins to count steps anew, and stops at step `step`, the first being 1; 0 for never.
    pub fn stop_at(&self, step: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.steps = 0;
        state.stop_at = step;
    }

    /// Makes of the directory what the stop left, and lets the disk go on.
    ///
    /// # Errors
    /// The directory cannot be changed.
    pub fn crash(&self, survival: Survival) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = std::mem::take(&mut *state);
        if survival == Survival::All {
            return Ok(());
        }
        for path in state.unsynced {
            if path.exists() {
                fs::File::options().write(true).open(&path)?.set_len(0)?;
            }
        }
        if survival == Survival::OnlySynced {
            for path in state.new_names.iter().rev() {
                if path.is_dir() {
                    fs::remove_dir_all(path)?;
                } else if path.exists() {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}
