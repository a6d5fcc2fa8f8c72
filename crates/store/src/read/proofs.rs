//! Remembering which stored bytes were proven, for that very file.

use freestone_core::Id;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

/// Runs that are remembered as proven, in all: about 16 bytes each. With chunks of a megabyte that
/// is half a terabyte. Forgetting them costs only time.
const PROVEN_MAX: usize = 1 << 19;

/// Nanoseconds after which the next change of a file changes its times.
const SETTLED_NS: u64 = 50_000_000;

/// The numbers that distinguish a file from every other one, and from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) length: u64,
    /// In seconds and nanoseconds, as the next field.
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
}

impl Stamp {
    /// Returns true if the file has not changed for so long that another change would change its
    /// times: a clock ticks at least a hundred times a second.
    fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = self.ctime;
        let changed = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000);
        let changed = changed.saturating_add(u64::try_from(nanoseconds).unwrap_or(0));
        freestone_backend::clock::now_ns() > changed.saturating_add(SETTLED_NS)
    }

    pub fn of(file: &File) -> Option<Self> {
        let data = file.metadata().ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            length: data.len(),
            mtime: (data.mtime(), data.mtime_nsec()),
            ctime: (data.ctime(), data.ctime_nsec()),
        })
    }
}

/// The runs of packs that were proven.
#[derive(Default)]
pub struct Proofs(Mutex<HashMap<Id, PackProofs>>);

struct PackProofs {
    stamp: Stamp,
    /// Where the proven records start.
    offsets: HashSet<u64>,
    /// All of them were proven when the file had not changed for a while.
    is_settled: bool,
    /// Some are not yet remembered beyond this process.
    is_new: bool,
}

impl PackProofs {
    fn new(stamp: Stamp) -> Self {
        let is_settled = stamp.is_settled();
        Self { stamp, offsets: HashSet::new(), is_settled, is_new: true }
    }
}

impl Proofs {
    pub(crate) fn has(&self, pack: &Id, stamp: Stamp, offset: u64) -> bool {
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proofs
            .get(pack)
            .is_some_and(|known| known.stamp == stamp && known.offsets.contains(&offset))
    }

    /// Returns what may be remembered after this process ends: packs in the order of their ids.
    pub(crate) fn settled(&self) -> Vec<(Id, Stamp, Vec<u64>)> {
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(Id, Stamp, Vec<u64>)> = proofs
            .iter()
            .filter(|(_, known)| known.is_settled)
            .map(|(id, known)| (*id, known.stamp, known.offsets.iter().copied().collect()))
            .collect();
        all.sort_unstable_by_key(|(id, _, _)| *id);
        all.iter_mut().for_each(|(_, _, offsets)| offsets.sort_unstable());
        all
    }

    /// Returns true if [`Self::settled`] has more than what was restored.
    pub(crate) fn is_changed(&self) -> bool {
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.values().any(|known| known.is_settled && known.is_new)
    }

    /// Restores what was remembered of a pack.
    pub(crate) fn restore(&self, pack: Id, stamp: Stamp, offsets: Vec<u64>) {
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = proofs.values().map(|known| known.offsets.len()).sum::<usize>();
        if sum + offsets.len() > PROVEN_MAX {
            return;
        }
        let fresh = || PackProofs { is_settled: true, is_new: false, ..PackProofs::new(stamp) };
        let known = proofs.entry(pack).or_insert_with(fresh);
        if known.stamp != stamp {
            *known = fresh();
        }
        known.offsets.extend(offsets);
    }

    /// Notes that a record was proven in a file with this stamp.
    pub fn remember(&self, pack: &Id, stamp: Stamp, offset: u64) {
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.values().map(|known| known.offsets.len()).sum::<usize>() >= PROVEN_MAX {
            proofs.clear();
        }
        let known = proofs.entry(*pack).or_insert_with(|| PackProofs::new(stamp));
        if known.stamp != stamp {
            *known = PackProofs::new(stamp);
        }
        known.is_new |= known.offsets.insert(offset);
    }
}
