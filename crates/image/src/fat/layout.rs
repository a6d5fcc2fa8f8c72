//! Where the clusters of each entry are.
//!
//! Clusters are given out in manifest order, so where an entry's begin follows from all before it.
//! Of one walk over all entries a bounded number of marks is kept, and an entry, or a cluster, is
//! found by walking on from the last mark before it.

use super::FatType;
use super::clusters::{LargeDirectories, Place, directory_bytes, is_aligned, place};
use super::geometry::Geometry;
use freestone_core::{NodeSource, Result};
use freestone_manifest::{Cursor, Entry, Tree};

/// Marks that are kept: one megabyte. Beyond, every second one is dropped, and finding an entry
/// walks twice as far.
const MARKS_MAX: usize = 1 << 16;

/// Where an entry's clusters begin, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    index: u64,
    cluster: u64,
}

/// The layout of an image.
pub(super) struct Layout {
    pub(super) geometry: Geometry,
    large: LargeDirectories,
    marks: Vec<Mark>,
    /// Clusters of FAT32's root directory, which come first.
    pub(super) root: u64,
    /// Behind the last cluster that is given out.
    pub(super) end: u64,
    /// How many are given out; the others before `end` are gaps before aligned contents.
    pub(super) used: u64,
}

impl Layout {
    /// Gives the clusters out.
    ///
    /// # Errors
    /// A node cannot be read.
    pub(super) fn new<S: NodeSource>(
        tree: &Tree<S>,
        geometry: Geometry,
        large: LargeDirectories,
        root_slots: u64,
    ) -> Result<Self> {
        Self::bounded(tree, geometry, large, root_slots, MARKS_MAX)
    }

    fn bounded<S: NodeSource>(
        tree: &Tree<S>,
        geometry: Geometry,
        large: LargeDirectories,
        root_slots: u64,
        marks_max: usize,
    ) -> Result<Self> {
        let root = match geometry.fat_type {
            FatType::Fat32 => directory_bytes(root_slots).div_ceil(geometry.cluster.into()),
            _ => 0,
        };
        let first = Mark { index: 0, cluster: root };
        let mut layout = Self { geometry, large, marks: vec![first], root, end: root, used: root };
        let mut marks = vec![first];
        let mut stride = 1u64;
        let mut used = root;
        let mut walk = layout.walk_from(tree, first)?;
        loop {
            let (index, cluster) = (walk.index, walk.cluster);
            let Some(laid) = walk.next()? else { break };
            used += laid.place.end - laid.place.first;
            if index == 0 || !index.is_multiple_of(stride) {
                continue;
            }
            if marks.len() >= marks_max {
                let mut at = 0;
                marks.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                stride *= 2;
            }
            if index.is_multiple_of(stride) {
                marks.push(Mark { index, cluster });
            }
        }
        let end = walk.cluster;
        (layout.marks, layout.end, layout.used) = (marks, end, used);
        Ok(layout)
    }

    fn walk_from<'a, S: NodeSource>(
        &'a self,
        tree: &'a Tree<S>,
        mark: Mark,
    ) -> Result<Walk<'a, S>> {
        let cursor = tree.seek_index(mark.index)?;
        Ok(Walk { layout: self, cursor, index: mark.index, cluster: mark.cluster })
    }

    /// A walk that passes the entry that has `cluster`.
    pub(super) fn walk<'a, S: NodeSource>(
        &'a self,
        tree: &'a Tree<S>,
        cluster: u64,
    ) -> Result<Walk<'a, S>> {
        // Entries without clusters may begin at the same one, so the last mark before it.
        let after = self.marks.partition_point(|mark| mark.cluster < cluster);
        self.walk_from(tree, self.marks[after.saturating_sub(1)])
    }

    /// A walk that begins with the entry that has `index` others before it.
    pub(super) fn walk_to<'a, S: NodeSource>(
        &'a self,
        tree: &'a Tree<S>,
        index: u64,
    ) -> Result<Walk<'a, S>> {
        let after = self.marks.partition_point(|mark| mark.index <= index);
        let mut walk = self.walk_from(tree, self.marks[after.saturating_sub(1)])?;
        while walk.index < index && walk.next()?.is_some() {}
        Ok(walk)
    }
}

/// An entry with its clusters.
pub(super) struct Laid<'a> {
    pub(super) entry: &'a Entry,
    /// How many entries come before it.
    pub(super) index: u64,
    pub(super) place: Place,
}

/// A walk over entries and their clusters.
pub(super) struct Walk<'a, S> {
    layout: &'a Layout,
    cursor: Cursor<'a, S>,
    /// The index of the next entry.
    pub(super) index: u64,
    /// The first cluster that is given out to none before it.
    pub(super) cluster: u64,
}

impl<S: NodeSource> Walk<'_, S> {
    /// The next entry.
    #[allow(clippy::should_implement_trait)] // it lends
    pub(super) fn next(&mut self) -> Result<Option<Laid<'_>>> {
        let Some(entry) = self.cursor.next()? else { return Ok(None) };
        let index = self.index;
        let bytes = entry.size().unwrap_or_else(|| self.layout.large.bytes(index));
        let cluster = self.layout.geometry.cluster.into();
        let place = place(self.cluster, bytes, is_aligned(entry), cluster);
        self.index += 1;
        self.cluster = place.end;
        Ok(Some(Laid { entry, index, place }))
    }
}
