//! A disk that stops at a step, and what is left of it then.
//!
//! The store writes to a real directory. A watcher sees every sync, rename, removal and directory
//! made; at the chosen step it refuses it and all that follow, and keeps a copy of the directory
//! as it was at that moment, what lies in `tmp/` too: what the dying process cleans up afterwards
//! did not happen. From the copy is made what a kill or a power cut can leave: bytes that were
//! not synced and names whose directory was not synced may be there or not.
//!
//! That something was synced is not taken from what the store says that it does, but from the
//! calls of `fsync` that it makes: the test binary has to hold [`watch_syncs`](crate::watch_syncs).

use freestone_backend::directory::{Directory, Step, Watcher};
use freestone_core::{Id, digest};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All of it was written after all, or will be: a killed process.
    All,
    /// Names that were not synced are gone, bytes that were not synced are cut off; what was
    /// removed stays removed.
    OnlySynced,
    /// Names are there, but their bytes are cut off unless they were synced.
    NamesOnly,
    /// As [`Self::OnlySynced`], but what was removed is back unless that was synced.
    RemovedReturn,
    /// Each name, each file's bytes, each removal is lost or not, as the bits of a hash of this
    /// number fall.
    Some(u64),
}

impl Survival {
    /// Returns all that are worth trying at a step; the last ones by chance.
    pub fn all(chances: u64) -> Vec<Self> {
        let mut all = vec![Self::All, Self::OnlySynced, Self::NamesOnly, Self::RemovedReturn];
        all.extend((0..chances).map(Self::Some));
        all
    }

    fn loses(self, what: Loss, path: &Path) -> bool {
        match (self, what) {
            (Self::All, _) => false,
            (Self::OnlySynced, loss) => loss != Loss::Removal,
            (Self::NamesOnly, loss) => loss == Loss::Bytes,
            (Self::RemovedReturn, _) => true,
            (Self::Some(seed), what) => {
                let text = format!("{seed} {what:?} {}", path.display());
                digest::plain(text.as_bytes()).0[0].is_multiple_of(2)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Name,
    Bytes,
    Removal,
}

/// All paths are relative to the disk's directory.
#[derive(Clone, Default)]
struct State {
    steps: u64,
    stop_at: u64,
    stopped: bool,
    /// Files whose bytes were synced, with the hash of the bytes that were.
    synced: HashMap<PathBuf, Id>,
    /// Names made and not yet made durable by a sync of their directory.
    new_names: Vec<PathBuf>,
    /// Named files whose bytes were not synced before they got their name.
    unsynced: HashSet<PathBuf>,
    /// Names removed and not yet gone durably, with where the file is kept.
    removed: Vec<(PathBuf, PathBuf)>,
    /// Files kept so far.
    kept: u64,
}

impl State {
    /// Takes note of a call of `fsync`.
    fn sync(&mut self, root: &Path, path: &Path) {
        if root.join(path).is_dir() {
            self.new_names.retain(|name| name.parent() != Some(path));
            self.removed.retain(|(name, _)| name.parent() != Some(path));
        } else if let Ok(bytes) = fs::read(root.join(path)) {
            self.unsynced.remove(path);
            self.synced.insert(path.into(), digest::plain(&bytes));
        }
    }
}

type Shared = Arc<Mutex<State>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static DISKS: Mutex<Vec<(PathBuf, Weak<Mutex<State>>)>> = Mutex::new(Vec::new());

/// Tells the disk that holds `path`, if there is one, that it was synced; says whether there is.
/// Called by what [`watch_syncs`](crate::watch_syncs) puts in the place of `fsync`.
pub fn synced(path: &Path) -> bool {
    let mut disks = lock(&DISKS);
    disks.retain(|(_, state)| state.strong_count() > 0);
    for (root, state) in disks.iter() {
        if let (Ok(path), Some(state)) = (path.strip_prefix(root), state.upgrade()) {
            lock(&state).sync(root, path);
            return true;
        }
    }
    false
}

/// Puts functions in the place of the C library's `fsync` and `fdatasync` that tell every
/// [`CrashingDisk`] what is synced, in the test binary that this stands in. What lies on such a
/// disk is not really synced, which makes these tests fast.
#[macro_export]
macro_rules! watch_syncs {
    () => {
        // SAFETY: the name and the type are those of POSIX; the standard library calls it with a
        // descriptor that is open.
        #[unsafe(no_mangle)]
        extern "C" fn fsync(descriptor: std::ffi::c_int) -> std::ffi::c_int {
            $crate::fsync(descriptor)
        }

        // SAFETY: as above.
        #[unsafe(no_mangle)]
        extern "C" fn fdatasync(descriptor: std::ffi::c_int) -> std::ffi::c_int {
            $crate::fsync(descriptor)
        }
    };
}

/// Returns what [`watch_syncs`](crate::watch_syncs) calls.
pub fn fsync(descriptor: std::ffi::c_int) -> std::ffi::c_int {
    match fs::read_link(format!("/proc/self/fd/{descriptor}")) {
        Ok(path) if synced(&path) => return 0,
        _ => {}
    }
    // SAFETY: the caller of `fsync` holds the descriptor open meanwhile.
    let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    if rustix::fs::fsync(file).is_ok() { 0 } else { -1 }
}

/// A disk that stops at a step.
#[derive(Clone)]
pub struct CrashingDisk {
    root: PathBuf,
    /// Beside the disk: what it was when it stopped, and the files that were removed.
    side: PathBuf,
    state: Shared,
}

struct DiskWatcher(CrashingDisk);

impl Watcher for DiskWatcher {
    fn before(&self, step: &Step<'_>) -> io::Result<()> {
        self.0.before(step)
    }
}

impl CrashingDisk {
    /// Returns a disk over the directory `root`, which is made, that does not stop until told.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(root: &Path) -> io::Result<Self> {
        Self::with_state(root, State::default())
    }

    fn with_state(root: &Path, state: State) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let side = root.with_extension("crash");
        fs::create_dir_all(&side)?;
        let state = Arc::new(Mutex::new(state));
        let mut disks = lock(&DISKS);
        // A disk that was there before is gone with its directory.
        disks.retain(|(other, _)| *other != root);
        disks.push((root.clone(), Arc::downgrade(&state)));
        drop(disks);
        Ok(Self { root, side, state })
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the backend over it.
    pub fn backend(&self) -> Arc<Directory> {
        Arc::new(Directory::watched(&self.root, Arc::new(DiskWatcher(self.clone()))))
    }

    /// Steps taken since the last call of [`Self::stop_at`].
    pub fn steps(&self) -> u64 {
        lock(&self.state).steps
    }

    /// Begins to count steps anew, and stops at step `step`, the first being 1; 0 for never. A
    /// disk that had stopped goes on.
    pub fn stop_at(&self, step: u64) {
        let mut state = lock(&self.state);
        state.steps = 0;
        state.stop_at = step;
        state.stopped = false;
    }

    /// Returns true if the disk has stopped.
    pub fn has_stopped(&self) -> bool {
        lock(&self.state).stopped
    }

    fn before(&self, step: &Step<'_>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.steps += 1;
        let stops = state.stop_at != 0 && state.steps == state.stop_at;
        if stops {
            // Whatever becomes of the copy: it does not go on.
            state.stopped = true;
            let image = self.image();
            remove(&image)?;
            copy_store(&self.root, &image)?;
        }
        if state.stopped {
            return Err(io::Error::other("the disk has stopped"));
        }
        let inside = |path: &Path| path.strip_prefix(&self.root).map(Path::to_path_buf);
        match step {
            Step::Rename(from, to) => {
                let (Ok(from), Ok(name)) = (inside(from), inside(to)) else { return Ok(()) };
                // A name that another process made durable before stays.
                if !to.exists() {
                    let bytes = fs::read(self.root.join(&from))?;
                    if state.synced.remove(&from) != Some(digest::plain(&bytes)) {
                        state.unsynced.insert(name.clone());
                    }
                    state.new_names.push(name);
                }
            }
            Step::MakeDirectory(path) => {
                if let (Ok(name), false) = (inside(path), path.exists()) {
                    state.new_names.push(name);
                }
            }
            Step::Remove(path) => {
                if let (Ok(name), true) = (inside(path), path.exists()) {
                    state.kept += 1;
                    let kept = self.side.join(format!("removed-{}", state.kept));
                    remove(&kept)?;
                    fs::hard_link(path, &kept)?;
                    state.removed.push((name, kept));
                }
            }
            // What counts is the call of `fsync` that follows.
            Step::SyncFile(_) | Step::SyncDirectory(_) => {}
        }
        Ok(())
    }

    fn image(&self) -> PathBuf {
        self.side.join("image")
    }

    /// Returns a copy of the disk as it is now, at `root`; nothing is synced that is not synced
    /// here.
    ///
    /// # Errors
    /// The copy cannot be made.
    pub fn fork(&self, root: &Path) -> io::Result<Self> {
        remove(root)?;
        copy_store(&self.root, root)?;
        // The lock is let go: who syncs takes that of all disks first.
        let state = lock(&self.state).clone();
        Self::with_state(root, State { steps: 0, stop_at: 0, stopped: false, ..state })
    }

    /// Makes at `root` what a crash leaves: at the step where the disk stopped, or now if it did
    /// not. After a mere kill, what was not synced is still not synced.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn left_by(&self, survival: Survival, root: &Path) -> io::Result<Self> {
        let state = lock(&self.state);
        remove(root)?;
        copy_store(&if state.stopped { self.image() } else { self.root.clone() }, root)?;
        if survival == Survival::All {
            let left = State { steps: 0, stop_at: 0, stopped: false, ..state.clone() };
            drop(state);
            return Self::with_state(root, left);
        }
        for name in state.unsynced.iter().filter(|name| survival.loses(Loss::Bytes, name)) {
            let path = root.join(name);
            if let Ok(bytes) = fs::read(&path) {
                // The copy is a hard link: the file is not to be cut where it stands.
                fs::remove_file(&path)?;
                fs::write(&path, &bytes[..survival.cut(bytes.len())])?;
            }
        }
        for (name, kept) in &state.removed {
            let path = root.join(name);
            let was_durable = !state.new_names.contains(name);
            if was_durable && survival.loses(Loss::Removal, name) && !path.exists() {
                fs::hard_link(kept, &path)?;
            }
        }
        for name in state.new_names.iter().rev() {
            if survival.loses(Loss::Name, name) {
                remove(&root.join(name))?;
            }
        }
        drop(state);
        Self::new(root)
    }
}

impl Survival {
    /// Returns how many of a file's bytes are left when they were not synced.
    fn cut(self, length: usize) -> usize {
        if matches!(self, Self::Some(seed) if seed % 2 == 1) { length / 2 } else { 0 }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let outcome = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes `to` what the store `from` is, but for `db/` and `cache/`: they are nobody's loss, and
/// what opens the working index renames and removes its files meanwhile.
fn copy_store(from: &Path, to: &Path) -> io::Result<()> {
    copy_tree(from, to, &["db", "cache"])
}

/// Makes `to` what `from` is, without the directories `but` right in it. Objects are never written
/// again, so they are linked; what lies in `tmp/` is copied, since it is being written and locked.
fn copy_tree(from: &Path, to: &Path, but: &[&str]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if !entry.file_type()?.is_dir() {
            fs::hard_link(source, target)?;
        } else if entry.file_name() == "tmp" {
            copy_spools(&source, &target)?;
        } else if !but.iter().any(|name| entry.file_name() == *name) {
            copy_tree(&source, &target, &[])?;
        }
    }
    Ok(())
}

fn copy_spools(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match fs::copy(entry.path(), to.join(entry.file_name())) {
            // Another thread has published or dropped it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}
