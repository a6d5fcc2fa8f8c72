//! How clusters are given out.

use super::geometry::{CLUSTER_SHIFT_MIN, SLOT_BYTES};
use freestone_core::limits::BLOCK_BYTES;
use freestone_manifest::Entry;

/// Directories of no more slots take one cluster, whatever its size.
const SMALL_SLOTS: u64 = 512 / SLOT_BYTES;

/// Clusters of an entry, counted from 0: those from `first` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClusterRange {
    pub(super) first: u64,
    pub(super) end: u64,
}

impl ClusterRange {
    /// The number of the first cluster; 0 if there is none.
    pub(super) fn number(&self) -> u64 {
        if self.first == self.end { 0 } else { self.first + 2 }
    }
}

/// Where `bytes` go if `at` is the first cluster that is not given out yet.
pub(super) fn allocate(at: u64, bytes: u64, is_aligned: bool, cluster: u64) -> ClusterRange {
    let first = match BLOCK_BYTES / cluster {
        in_block @ 2.. if is_aligned => at.next_multiple_of(in_block),
        _ => at,
    };
    ClusterRange { first, end: first.saturating_add(bytes.div_ceil(cluster)) }
}

/// The directories whose slots do not fit 512 bytes: the index of the entry, and the slots.
#[derive(Default)]
pub(super) struct LargeDirectories(Vec<(u64, u64)>);

impl LargeDirectories {
    /// Notes a directory, which comes behind all before.
    pub(super) fn push(&mut self, index: u64, slots: u64) {
        if slots > SMALL_SLOTS {
            self.0.push((index, slots));
        }
    }

    /// The bytes of the directory, or as many as take just as many clusters.
    pub(super) fn bytes(&self, index: u64) -> u64 {
        let found = self.0.binary_search_by_key(&index, |(index, _)| *index);
        directory_bytes(found.map_or(SMALL_SLOTS, |at| self.0[at].1))
    }
}

/// Whether the entry's content starts at a multiple of 4096.
pub(super) fn is_aligned(entry: &Entry) -> bool {
    freestone_core::tar1::is_aligned(entry.size())
}

/// The bytes of a directory of so many slots: one cluster at least.
pub(super) fn directory_bytes(slots: u64) -> u64 {
    slots.max(1) * SLOT_BYTES
}

/// The bytes of a cluster of size number `size`.
pub(super) fn cluster_bytes(size: usize) -> u64 {
    1 << (CLUSTER_SHIFT_MIN as usize + size)
}
