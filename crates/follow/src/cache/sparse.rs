//! A pack of the upstream as it is kept here: a sparse file with its bytes at their own offsets,
//! and the runs that say which of them are there.
//!
//! Only proven bytes are written, so two processes that keep the same range write the same. What
//! is read goes through the reader's proof like everything else: a file that was punched, cut or
//! damaged meanwhile is found out, its range forgotten, and fetched again.

use super::{Inner, lock};
use freestone_backend::Object;
use freestone_core::wire::Bytes;
use freestone_core::{Error, Id, Result};
use freestone_format::pack;
use freestone_format::runs::{Runs, RunsFile};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Milliseconds between two uses of which only the first is worth a file's writing.
const STAMP_STEP: u64 = 600_000;

/// What this process knows of one pack.
pub(super) struct SparsePack {
    pub(super) id: Id,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is here, as far as this process knows.
    file: RunsFile,
    /// What was added to the runs and is not in their file yet.
    added: Runs,
    /// What was taken from them and still is in their file.
    removed: Runs,
    /// Whether it was used, and whether that is long after the last use that the file tells of.
    touched: bool,
    stamped: bool,
}

/// What is to be put into the file of runs.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) added: Runs,
    pub(super) removed: Runs,
    pub(super) stamps: Vec<u64>,
    pub(super) length: u64,
}

impl SparsePack {
    pub(super) fn new(id: Id, file: RunsFile) -> Self {
        Self { id, state: Mutex::new(State { file, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a range is here.
    pub(super) fn contains(&self, range: &Range<u64>) -> bool {
        self.state().file.runs.contains(range)
    }

    /// How much of a range is here.
    pub(super) fn bytes_within(&self, range: &Range<u64>) -> u64 {
        self.state().file.runs.within(range).bytes()
    }

    fn add(&self, range: Range<u64>) {
        let mut state = self.state();
        state.removed.remove(&range);
        state.added.add(range.clone());
        state.file.stamp(&range, now());
        state.file.runs.add(range);
    }

    fn forget(&self, range: &Range<u64>) {
        let mut state = self.state();
        state.file.runs.remove(range);
        state.added.remove(range);
        state.removed.add(range.clone());
    }

    /// Notes the use of a range.
    pub(super) fn touch(&self, range: &Range<u64>) {
        let mut state = self.state();
        let first =
            usize::try_from(range.start / freestone_format::runs::STAMPED_BYTES).unwrap_or(0);
        let now = now();
        let before = state.file.stamps.get(first).copied().unwrap_or(0);
        state.stamped |= before + STAMP_STEP < now;
        state.touched = true;
        state.file.stamp(range, now);
    }

    pub(super) fn set_length(&self, length: u64) {
        self.state().file.length = length;
    }

    /// Whether something has changed that its file does not say.
    pub(super) fn is_dirty(&self) -> bool {
        let state = self.state();
        state.stamped || !state.added.is_empty() || !state.removed.is_empty()
    }

    /// Whether something was added that its file does not say.
    pub(super) fn has_added(&self) -> bool {
        !self.state().added.is_empty()
    }

    /// What has changed since the last call, if something has that is worth it; with `every_use`,
    /// any use is.
    pub(super) fn take_changes(&self, every_use: bool) -> Option<Changes> {
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

    /// Takes over what the file says now.
    pub(super) fn replace(&self, file: RunsFile) {
        let mut state = self.state();
        let added = state.added.clone();
        let removed = state.removed.clone();
        state.file = file;
        state.file.runs.remove_all(&removed);
        state.file.runs.add_all(&added);
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    freestone_backend::clock::now_ns() / 1_000_000
}

/// Where the file of a pack and that of its runs lie.
pub(super) fn paths(cache: &std::path::Path, id: &Id) -> (PathBuf, PathBuf) {
    let name = pack::object_name(id);
    let pack = cache.join(name);
    let runs = pack.with_extension("runs");
    (pack, runs)
}

/// Reads the runs of a pack, as far as the pack's file can hold them.
pub(super) fn read_runs(cache: &std::path::Path, id: &Id) -> RunsFile {
    let (pack, runs) = paths(cache, id);
    let (Ok(bytes), Ok(metadata)) = (fs::read(runs), fs::metadata(pack)) else {
        return RunsFile::default();
    };
    // Damaged, it is as good as lost.
    let mut file = RunsFile::decode(id, &bytes).unwrap_or_default();
    file.runs.remove(&(metadata.len()..u64::MAX));
    file
}

/// A pack that is read through the cache.
pub(super) struct SparseObject {
    follower: Arc<Inner>,
    pack: Arc<SparsePack>,
    /// The sparse file, from when it was last written to or first read.
    file: Mutex<Option<Arc<File>>>,
    length: OnceLock<u64>,
}

fn range(offset: u64, length: u64) -> Range<u64> {
    offset..offset.saturating_add(length)
}

impl SparseObject {
    pub(super) fn new(follower: Arc<Inner>, pack: Arc<SparsePack>) -> Self {
        Self { follower, pack, file: Mutex::default(), length: OnceLock::new() }
    }

    fn read_here(&self, offset: u64, out: &mut [u8]) -> bool {
        let known = lock(&self.file).clone();
        let file = match known {
            Some(file) => file,
            None => match File::open(paths(&self.follower.cache, &self.pack.id).0) {
                Ok(file) => lock(&self.file).insert(Arc::new(file)).clone(),
                Err(_) => return false,
            },
        };
        file.read_exact_at(out, offset).is_ok()
    }

    /// Writes what the stash has of a range to the sparse file.
    fn keep(&self, range: &Range<u64>) -> Result<()> {
        let found = self.follower.stash().find(&self.pack.id, range);
        // Crowded out of the stash, or never in it: it is fetched again when it is asked for again.
        let Some((at, bytes)) = found else { return Ok(()) };
        let index = |offset: u64| usize::try_from(offset - at).unwrap_or(usize::MAX);
        let part = &bytes[index(range.start)..index(range.end)];
        let (path, _) = paths(&self.follower.cache, &self.pack.id);
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path)?;
            file.write_all_at(part, range.start)?;
            // The one before may have been given up, and be no part of the cache any more.
            *lock(&self.file) = Some(Arc::new(file));
            Ok(())
        };
        write().map_err(|error| {
            Error::io(format!("cannot keep what was fetched in {}", path.display()), error).hint(
                "if the disk is full, make room, or give the cache less with `cache-size` in the \
                 store's file `upstream`",
            )
        })?;
        self.pack.add(range.clone());
        self.follower.added(range.end - range.start);
        if at == range.start && bytes.len() as u64 == range.end - range.start {
            self.follower.stash().drop_at(&self.pack.id, at);
        }
        Ok(())
    }
}

impl Object for SparseObject {
    fn length(&self) -> u64 {
        let known = self.pack.state().file.length;
        if known != 0 {
            return known;
        }
        // Not known, and nobody can be asked: then reading at the end tells why.
        let name = pack::object_name(&self.pack.id);
        *self.length.get_or_init(|| match self.follower.client.length(&name) {
            Ok(length) => {
                self.pack.set_length(length);
                length
            }
            Err(_) => u64::MAX,
        })
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let range = range(offset, out.len() as u64);
        if self.pack.contains(&range) {
            if self.read_here(offset, out) {
                self.pack.touch(&range);
                return Ok(());
            }
            self.pack.forget(&range);
        }
        if let Some((at, bytes)) = self.follower.stash().find(&self.pack.id, &range) {
            let start = usize::try_from(offset - at).unwrap_or(usize::MAX);
            out.copy_from_slice(&bytes[start..start + out.len()]);
            return Ok(());
        }
        let name = pack::object_name(&self.pack.id);
        self.follower.client.read(&name, offset, out)?;
        self.follower.stash().put(&self.pack.id, offset, out.to_vec());
        Ok(())
    }

    fn map(&self) -> Result<Bytes> {
        // Only index segments are mapped, and those are kept whole.
        let length = usize::try_from(self.length()).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|error| {
            Error::new(freestone_core::ErrorKind::Storage, "a pack cannot be read whole")
                .because(error)
        })?;
        bytes.resize(length, 0);
        self.read_at(0, &mut bytes)?;
        Ok(Arc::new(bytes))
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.pack.contains(&range(offset, length))
    }

    fn confirm(&self, offset: u64, length: u64) {
        let range = range(offset, length);
        if !range.is_empty()
            && !self.pack.contains(&range)
            && let Err(error) = self.keep(&range)
        {
            self.follower.could_not_keep(error);
        }
    }

    fn refute(&self, offset: u64, length: u64) -> bool {
        let range = range(offset, length);
        if self.pack.bytes_within(&range) > 0 {
            self.pack.forget(&range);
            self.follower.client.reach.forget_complete(&[]);
            *lock(&self.file) = None;
        }
        self.follower.stash().drop_touching(&self.pack.id, &range);
        !self.follower.client.offline
    }
}
