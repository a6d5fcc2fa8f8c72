//! The layout of a FAT image, as a plan over its manifest.
//!
//! Opening walks over the manifest twice: to find what it needs, and to allocate it. After that the
//! plan holds marks, and makes heads, tables and directories when they are asked for. A directory
//! is made whole, since the short names depend on each other. The last ones are kept, 4 MiB at
//! most.

use super::directory::Directory;
use super::geometry::{self, SLOT_BYTES};
use super::head::Head;
use super::layout::{Laid, Layout};
use super::reserved::ReservedNames;
use super::table::{self, PIECE_ENTRIES};
use super::{FatOptions, FatType, scan};
use crate::extents::{file, intersects, zeros};
use crate::format::FormatOptions;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Extent, ExtentSource, Id, NodeSource, Plan, Result, lock, path};
use freestone_manifest::Tree;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// How many bytes of a directory are one extent.
const PIECE_BYTES: u64 = 64 << 10;
/// How many bytes of directories are kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The directories that were made last, by their entry's index, the latest at the end.
type Kept = Vec<(Option<u64>, Arc<Vec<u8>>)>;

/// The layout of the FAT image of a manifest.
pub struct FatPlan<S> {
    tree: Tree<S>,
    name: String,
    options: FatOptions,
    layout: Layout,
    root_slots: u64,
    reserved: ReservedNames,
    length: u64,
    kept: Mutex<Kept>,
}

impl<S: NodeSource> FatPlan<S> {
    /// Opens the manifest `root` and lays it out.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn open(nodes: S, root: &Id, options: FatOptions) -> Result<Self> {
        Self::new(Tree::open(nodes, root)?, options)
    }

    /// Lays out a manifest.
    ///
    /// # Errors
    /// The manifest cannot be read; [`Refused`](freestone_core::ErrorKind::Refused) if it holds
    /// paths that FAT cannot hold, with a list of them, or does not fit what the options ask for.
    pub fn new(tree: Tree<S>, options: FatOptions) -> Result<Self> {
        let scan = scan::scan(&tree, options.profile())?;
        let (geometry, length) = geometry::choose(&scan.needs, &options)?;
        let root_slots = scan.needs.root_slots;
        let layout = Layout::new(&tree, geometry, scan.large, root_slots)?;
        let name = options.image_name(&tree.id());
        let reserved = scan.reserved;
        let kept = Mutex::default();
        Ok(Self { tree, name, options, layout, root_slots, reserved, length, kept })
    }

    /// Returns the type: FAT12, 16 or 32. It was chosen if the options leave it open.
    pub fn fat_type(&self) -> FatType {
        self.layout.geometry.fat_type
    }

    /// Returns the bytes of a cluster.
    pub fn cluster_bytes(&self) -> u32 {
        self.layout.geometry.cluster
    }

    /// Returns the number of clusters.
    pub fn clusters(&self) -> u64 {
        self.layout.geometry.clusters
    }

    /// Makes the reserved bytes before the tables.
    fn head(&self) -> Vec<u8> {
        let Layout { geometry, end, used, .. } = self.layout;
        // The number of the last used cluster is one more than the number of clusters before its
        // end.
        Head { geometry, free: geometry.clusters - used, last: end + 1 }.encode(&self.name)
    }

    /// Emits the extents of the table at `start` that intersect `range`.
    fn table(
        &self,
        start: u64,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<()> {
        let geometry = &self.layout.geometry;
        let end = start + geometry.table();
        let whole = table::piece_bytes(geometry.fat_type);
        let pieces = (self.layout.end + 2).div_ceil(PIECE_ENTRIES);
        let first = range.start.saturating_sub(start) / whole;
        for piece in first..pieces {
            let offset = start + piece * whole;
            if offset >= range.end {
                return Ok(());
            }
            let length = whole.min(end - offset);
            let mut bytes = table::piece(&self.layout, &self.tree, piece)?;
            bytes.truncate(to_usize(length));
            each(Extent { offset, length, source: ExtentSource::Inline(bytes) })?;
        }
        zeros(range, (start + pieces * whole).min(end), end, each)
    }

    /// Emits the extents of a directory at `start` that intersect `range`, and zeros up to `end`.
    fn directory(
        &self,
        directory: &Directory<'_>,
        start: u64,
        end: u64,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<()> {
        let bytes = self.made(directory)?;
        let length = bytes.len() as u64;
        if length > end - start {
            return Err(Error::corrupt(format!(
                "manifest {}: directory \"{}\" is longer than when the manifest was opened",
                self.tree.id(),
                path::display(directory.path)
            )));
        }
        for (index, piece) in bytes.chunks(64 << 10).enumerate() {
            let offset = start + index as u64 * PIECE_BYTES;
            let length = piece.len() as u64;
            if intersects(range, offset, offset + length) {
                each(Extent { offset, length, source: ExtentSource::Inline(piece.to_vec()) })?;
            }
        }
        zeros(range, start + length, end, each)
    }

    /// Returns the bytes of a directory.
    fn made(&self, directory: &Directory<'_>) -> Result<Arc<Vec<u8>>> {
        let index = directory.own.map(|(index, ..)| index);
        {
            let mut kept = lock(&self.kept);
            if let Some(at) = kept.iter().position(|(kept, _)| *kept == index) {
                let found = kept.remove(at);
                let bytes = Arc::clone(&found.1);
                kept.push(found);
                return Ok(bytes);
            }
        }
        let bytes = directory.bytes(&self.layout, &self.tree, self.options.profile())?;
        let bytes = Arc::new(bytes);
        let mut kept = lock(&self.kept);
        kept.push((index, Arc::clone(&bytes)));
        let mut sum: usize = kept.iter().map(|(_, bytes)| bytes.capacity()).sum();
        while sum > KEPT_BYTES_MAX && kept.len() > 1 {
            sum -= kept.remove(0).1.capacity();
        }
        Ok(bytes)
    }

    /// Emits the extents of the root directory, which is at `start`, and zeros up to `end`.
    fn root(
        &self,
        start: u64,
        end: u64,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<()> {
        if !intersects(range, start, end) {
            return Ok(());
        }
        if !intersects(range, start, start + self.root_slots * SLOT_BYTES) {
            return zeros(range, start + self.root_slots * SLOT_BYTES, end, each);
        }
        self.directory(&Directory { path: b"", own: None }, start, end, range, each)
    }

    /// Emits the extents in clusters that intersect `range`.
    fn clusters_in(
        &self,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<()> {
        let geometry = self.layout.geometry;
        let data = geometry.data_offset();
        self.root(data, geometry.cluster_offset(self.layout.root), range, each)?;
        let first = range.start.saturating_sub(data) / u64::from(geometry.cluster);
        let mut walk = self.layout.walk(&self.tree, first)?;
        while geometry.cluster_offset(walk.cluster) < range.end {
            let before = geometry.cluster_offset(walk.cluster);
            let Some(laid) = walk.next()? else {
                if before == geometry.cluster_offset(self.layout.end) {
                    return Ok(());
                }
                return Err(Error::corrupt(format!(
                    "manifest {} ends at byte {before} of its image, but ended elsewhere when it was opened",
                    self.tree.id()
                )));
            };
            zeros(range, before, geometry.cluster_offset(laid.clusters.first), each)?;
            self.laid(&laid, range, each)?;
        }
        Ok(())
    }

    /// Emits the extents of one entry.
    fn laid(
        &self,
        laid: &Laid<'_>,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<()> {
        let geometry = &self.layout.geometry;
        let entry = laid.entry;
        let start = geometry.cluster_offset(laid.clusters.first);
        let end = geometry.cluster_offset(laid.clusters.end);
        if !intersects(range, start, end) {
            return Ok(());
        }
        if entry.is_directory() {
            let own = Some((laid.index, entry.mtime, laid.clusters.number()));
            let directory = Directory { path: &entry.path, own };
            return self.directory(&directory, start, end, range, each);
        }
        file(self.tree.source(), entry, start..end, range, each)
    }
}

impl<S: NodeSource> Plan for FatPlan<S> {
    fn length(&self) -> u64 {
        self.length
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let range = range.start..range.end.min(self.length);
        let geometry = &self.layout.geometry;
        let reserved = geometry.reserved();
        if intersects(&range, 0, reserved) {
            let source = ExtentSource::Inline(self.head());
            each(Extent { offset: 0, length: reserved, source })?;
        }
        for copy in 0..2 {
            let start = geometry.table_offset(copy);
            if intersects(&range, start, start + geometry.table()) {
                self.table(start, &range, each)?;
            }
        }
        if geometry.fat_type != FatType::Fat32 {
            self.root(geometry.root_offset(), geometry.data_offset(), &range, each)?;
        }
        let end = geometry.cluster_offset(self.layout.end);
        if intersects(&range, geometry.data_offset(), end) {
            let within = range.start.max(geometry.data_offset())..range.end.min(end);
            self.clusters_in(&within, each)?;
        }
        zeros(&range, end, self.length, each)
    }

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn sector_bytes(&self) -> Option<u32> {
        Some(self.options.block_bytes())
    }

    fn notes(&self) -> Vec<String> {
        self.reserved.note().into_iter().collect()
    }
}
