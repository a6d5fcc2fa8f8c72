//! What is known of a pack in the cache: the runs of its bytes that are in the sparse file, and when
//! they were used.

use super::folder::CacheFolder;
use freestone_core::wire::to_usize;
use freestone_core::{Id, Result, lock};
use freestone_format::pack;
use freestone_format::runs::{Runs, RunsFile, STAMPED_BYTES};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Ranges of packs.
pub(crate) type PackRanges = HashMap<Id, Runs>;

/// Milliseconds between two uses of which only the first is worth writing a file.
const STAMP_STEP: u64 = 600_000;

/// The longest file of runs: about eight bytes for each record of a pack and each MiB of it.
const RUNS_BYTES_MAX: u64 = 16 << 20;

/// What this process knows of one pack in the cache.
pub(crate) struct SparsePack {
    pub(crate) id: Id,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The bytes that are here, as far as this process knows.
    file: RunsFile,
    /// The bytes that were added to the runs and are not in their file yet.
    added: Runs,
    /// The bytes that were removed from the runs and still are in their file.
    removed: Runs,
    /// Set if it was used, and if that is long after the last use that the file records.
    touched: bool,
    stamped: bool,
}

/// The changes for the file of runs.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) added: Runs,
    pub(crate) removed: Runs,
    pub(crate) stamps: Vec<u64>,
    pub(crate) length: u64,
}

impl SparsePack {
    /// Creates what is known of the pack `id`, of which the file of runs says `file`.
    pub(crate) fn new(id: Id, file: RunsFile) -> Self {
        Self { id, state: Mutex::new(State { file, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns true if the whole range is here.
    pub(crate) fn contains(&self, range: &Range<u64>) -> bool {
        self.state().file.runs.contains(range)
    }

    /// Returns how many bytes of the range are here.
    pub(crate) fn bytes_within(&self, range: &Range<u64>) -> u64 {
        self.state().file.runs.within(range).bytes()
    }

    /// Adds bytes that were written to the sparse file.
    pub(crate) fn add(&self, range: Range<u64>) {
        let mut state = self.state();
        state.removed.remove(&range);
        state.added.add(range.clone());
        state.file.stamp(&range, now());
        state.file.runs.add(range);
    }

    /// Removes bytes that the sparse file does not have.
    pub(crate) fn forget(&self, range: &Range<u64>) {
        let mut state = self.state();
        state.file.runs.remove(range);
        state.added.remove(range);
        state.removed.add(range.clone());
    }

    /// Notes the use of a range.
    pub(crate) fn touch(&self, range: &Range<u64>) {
        let mut state = self.state();
        let first = to_usize(range.start / STAMPED_BYTES);
        let now = now();
        let before = state.file.stamps.get(first).copied().unwrap_or(0);
        state.stamped |= before + STAMP_STEP < now;
        state.touched = true;
        state.file.stamp(range, now);
    }

    /// Returns the length of the pack; 0 if it is not known.
    pub(crate) fn length(&self) -> u64 {
        self.state().file.length
    }

    /// Sets the length of the pack.
    pub(crate) fn set_length(&self, length: u64) {
        self.state().file.length = length;
    }

    /// Returns true if something changed that its file does not say.
    pub(crate) fn is_dirty(&self) -> bool {
        let state = self.state();
        state.stamped || !state.added.is_empty() || !state.removed.is_empty()
    }

    /// Returns true if something was added that its file does not say.
    pub(crate) fn has_added(&self) -> bool {
        !self.state().added.is_empty()
    }

    /// Takes what has changed since the last call, if that is worth writing; with `every_use`, any
    /// use is.
    pub(crate) fn take_changes(&self, every_use: bool) -> Option<Changes> {
        let mut state = self.state();
        let used = state.stamped || (every_use && state.touched);
        if !used && state.added.is_empty() && state.removed.is_empty() {
            return None;
        }
        (state.stamped, state.touched) = (false, false);
        Some(Changes {
            added: std::mem::take(&mut state.added),
            removed: std::mem::take(&mut state.removed),
            stamps: state.file.stamps.clone(),
            length: state.file.length,
        })
    }

    /// Takes back changes that could not be written, for the next call.
    pub(crate) fn put_back(&self, changes: &Changes) {
        let mut state = self.state();
        let State { added, removed, .. } = &mut *state;
        let mut again = changes.added.clone();
        again.remove_all(removed);
        let mut gone = changes.removed.clone();
        gone.remove_all(added);
        added.add_all(&again);
        removed.add_all(&gone);
    }

    /// Replaces what is known by what the file says now.
    pub(crate) fn replace(&self, file: RunsFile) {
        let mut state = self.state();
        let added = state.added.clone();
        let removed = state.removed.clone();
        state.file = file;
        state.file.runs.remove_all(&removed);
        state.file.runs.add_all(&added);
    }
}

/// Returns the current time in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    freestone_backend::clock::now_ns() / 1_000_000
}

/// Returns the names of a pack's sparse file and of the file of its runs.
pub(crate) fn names(id: &Id) -> (String, String) {
    let pack = pack::object_name(id);
    let runs = Path::new(&pack).with_extension("runs").display().to_string();
    (pack, runs)
}

/// Reads the runs of a pack, as far as its sparse file can hold them.
///
/// # Errors
/// They are there, and cannot be read.
pub(crate) fn read_runs(folder: &CacheFolder, id: &Id) -> Result<RunsFile> {
    let (pack, runs) = names(id);
    let Some(bytes) = folder.read(&runs, RUNS_BYTES_MAX)? else { return Ok(RunsFile::default()) };
    let Some(sizes) = folder.sizes(&pack)? else { return Ok(RunsFile::default()) };
    // A damaged file is as good as a lost one.
    let mut file = RunsFile::decode(id, &bytes).unwrap_or_default();
    file.runs.remove(&(sizes.length..u64::MAX));
    Ok(file)
}
