//! The clusters of each entry.
//!
//! Clusters are allocated in manifest order, so those of an entry depend on all entries before it.
//! A walk over all entries keeps a bounded number of marks. An entry, or the entry that has a
//! cluster, is found by walking on from the last mark before it.

use super::FatType;
use super::clusters::{ClusterRange, LargeDirectories, allocate, directory_bytes, is_aligned};
use super::geometry::Geometry;
use crate::marks::{MARKS_MAX, Marks};
use freestone_core::{NodeSource, Result};
use freestone_manifest::{Cursor, Entry, Tree};

/// An entry, and the first cluster that is free before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClusterMark {
    index: u64,
    cluster: u64,
}

/// The layout of an image.
pub(super) struct Layout {
    pub(super) geometry: Geometry,
    large: LargeDirectories,
    marks: Marks<ClusterMark>,
    /// The number of clusters of FAT32's root directory, which come first.
    pub(super) root: u64,
    /// The first cluster after all that are allocated.
    pub(super) end: u64,
    /// The number of allocated clusters. Other clusters before `end` are gaps before aligned
    /// contents.
    pub(super) used: u64,
}

impl Layout {
    /// Allocates the clusters.
    ///
    /// # Errors
    /// A node cannot be read.
    pub(super) fn new<S: NodeSource>(
        tree: &Tree<S>,
        geometry: Geometry,
        large: LargeDirectories,
        root_slots: u64,
    ) -> Result<Self> {
        let root = match geometry.fat_type {
            FatType::Fat32 => directory_bytes(root_slots).div_ceil(geometry.cluster.into()),
            _ => 0,
        };
        let first = ClusterMark { index: 0, cluster: root };
        let marks = Marks::new(first, MARKS_MAX);
        let mut layout = Self { geometry, large, marks, root, end: root, used: root };
        let mut marks = Marks::new(first, MARKS_MAX);
        let mut used = root;
        let mut walk = layout.walk_from(tree, first)?;
        loop {
            let (index, cluster) = (walk.index, walk.cluster);
            let Some(laid) = walk.next()? else { break };
            used += laid.clusters.end - laid.clusters.first;
            marks.offer(index, ClusterMark { index, cluster });
        }
        let end = walk.cluster;
        (layout.marks, layout.end, layout.used) = (marks, end, used);
        Ok(layout)
    }

    /// Starts a walk at a mark.
    fn walk_from<'a, S: NodeSource>(
        &'a self,
        tree: &'a Tree<S>,
        mark: ClusterMark,
    ) -> Result<LayoutWalk<'a, S>> {
        let cursor = tree.seek_index(mark.index)?;
        Ok(LayoutWalk { layout: self, cursor, index: mark.index, cluster: mark.cluster })
    }

    /// Starts a walk that passes the entry that has `cluster`.
    pub(super) fn walk<'a, S: NodeSource>(
        &'a self,
        tree: &'a Tree<S>,
        cluster: u64,
    ) -> Result<LayoutWalk<'a, S>> {
        // Entries without clusters may share a mark's cluster, so the mark must be before it.
        self.walk_from(tree, self.marks.last(|mark| mark.cluster < cluster))
    }

    /// Starts a walk at the entry that has `index` others before it.
    pub(super) fn walk_to<'a, S: NodeSource>(
        &'a self,
        tree: &'a Tree<S>,
        index: u64,
    ) -> Result<LayoutWalk<'a, S>> {
        let mut walk = self.walk_from(tree, self.marks.last(|mark| mark.index <= index))?;
        while walk.index < index && walk.next()?.is_some() {}
        Ok(walk)
    }
}

/// An entry with its clusters.
pub(super) struct Laid<'a> {
    pub(super) entry: &'a Entry,
    /// The number of entries before it.
    pub(super) index: u64,
    pub(super) clusters: ClusterRange,
}

/// A walk over entries and their clusters.
pub(super) struct LayoutWalk<'a, S> {
    layout: &'a Layout,
    cursor: Cursor<'a, S>,
    /// The index of the next entry.
    pub(super) index: u64,
    /// The first cluster that no entry before it has.
    pub(super) cluster: u64,
}

impl<S: NodeSource> LayoutWalk<'_, S> {
    /// Returns the next entry.
    #[allow(clippy::should_implement_trait, reason = "the item borrows from self")]
    pub(super) fn next(&mut self) -> Result<Option<Laid<'_>>> {
        let Some(entry) = self.cursor.next()? else { return Ok(None) };
        let index = self.index;
        let bytes = entry.size().unwrap_or_else(|| self.layout.large.bytes(index));
        let cluster = self.layout.geometry.cluster.into();
        let clusters = allocate(self.cluster, bytes, is_aligned(entry), cluster);
        self.index += 1;
        self.cluster = clusters.end;
        Ok(Some(Laid { entry, index, clusters }))
    }
}
