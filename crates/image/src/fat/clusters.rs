//! Allocating clusters.

use super::geometry::{CLUSTER_SHIFT_MIN, SLOT_BYTES};
use freestone_core::limits::BLOCK_BYTES;
use freestone_manifest::Entry;

/// A directory with this many slots or fewer takes one cluster, of any size.
const SMALL_SLOTS: u64 = 512 / SLOT_BYTES;

/// The clusters of an entry, counted from 0: those from `first` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClusterRange {
    pub(super) first: u64,
    pub(super) end: u64,
}

impl ClusterRange {
    /// Returns the number of the first cluster in the FAT; 0 if there is none.
    pub(super) fn number(&self) -> u64 {
        if self.first == self.end { 0 } else { self.first + 2 }
    }
}

/// Returns the clusters for `bytes` if `at` is the first free cluster.
pub(super) fn allocate(at: u64, bytes: u64, is_aligned: bool, cluster: u64) -> ClusterRange {
    let first = match BLOCK_BYTES / cluster {
        in_block @ 2.. if is_aligned => at.next_multiple_of(in_block),
        _ => at,
    };
    ClusterRange { first, end: first.saturating_add(bytes.div_ceil(cluster)) }
}

/// The directories whose slots do not fit in 512 bytes: the index of the entry, and the slots.
#[derive(Default)]
pub(super) struct LargeDirectories(Vec<(u64, u64)>);

impl LargeDirectories {
    /// Adds a directory, which comes after all others.
    pub(super) fn push(&mut self, index: u64, slots: u64) {
        if slots > SMALL_SLOTS {
            self.0.push((index, slots));
        }
    }

    /// Returns the bytes of a directory, or another number that takes the same number of clusters.
    pub(super) fn bytes(&self, index: u64) -> u64 {
        let found = self.0.binary_search_by_key(&index, |(index, _)| *index);
        directory_bytes(found.map_or(SMALL_SLOTS, |at| self.0[at].1))
    }
}

/// Returns true if the entry's content starts at a multiple of 4096.
pub(super) fn is_aligned(entry: &Entry) -> bool {
    freestone_core::tar1::is_aligned(entry.size())
}

/// Returns the bytes of a directory with this many slots, which has at least one.
pub(super) fn directory_bytes(slots: u64) -> u64 {
    slots.max(1) * SLOT_BYTES
}

/// Returns the bytes of a cluster of the size with this index.
pub(super) fn cluster_bytes(size: usize) -> u64 {
    1 << (CLUSTER_SHIFT_MIN as usize + size)
}
