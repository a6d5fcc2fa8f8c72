//! The sizes of an image's parts: type, cluster size, tables, and number of clusters.
//!
//! Clusters of 4096 bytes are tried first. If the type was requested and allows fewer clusters,
//! they become larger; if it requires more, they become smaller, down to a sector, and if that is
//! not enough, free clusters are added. If no type was requested, it is the widest type whose
//! clusters fill the image's length.

use super::{FatOptions, FatType, Profile};
use crate::length::{IMAGE_BYTES_MAX, does_not_fit, too_long};
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, Result};

/// The cluster sizes, in bytes: 2^9 to 2^15. Not all readers take larger ones.
pub(super) const CLUSTER_SHIFT_MIN: u32 = 9;
pub(super) const CLUSTER_SIZES: usize = 7;
/// The largest cluster: the last of these sizes.
const CLUSTER_BYTES_MAX: u32 = 32_768;
/// The least slots of a root directory with a place of its own.
const ROOT_SLOTS_MIN: u64 = 512;
/// The most slots of such a directory that its 16-bit number allows.
const ROOT_SLOTS_MAX: u64 = 65_408;
/// The slots of such a directory that are free where free space was requested: it cannot grow, and
/// without a slot a guest cannot use the space.
const ROOT_SLOTS_FREE: u64 = 128;
/// The bytes of a directory slot, in memory and in an image.
pub(super) const SLOT: usize = 32;
pub(super) const SLOT_BYTES: u64 = SLOT as u64;

/// The least clusters of a FAT16. The specification says 4085, but GRUB and Windows take 4085 and 4086
/// clusters for FAT12, so mkfs.fat makes at least 4087; and mtools' minfo ends by an assertion on
/// fewer than 4096 (docs/readers.md).
pub(super) const FAT16_CLUSTERS_MIN: u64 = 4096;
/// The least clusters of a FAT16 in images that freestone wrote before it knew of these readers.
const FAT16_CLUSTERS_MIN_BEFORE: u64 = 4085;

/// Returns the least and the most clusters of a type. MirageOS's reader does not follow a chain to
/// clusters above 0xFFEF.
pub(super) fn cluster_counts(fat_type: FatType, profile: Profile) -> (u64, u64) {
    match (fat_type, profile) {
        (FatType::Fat12, _) => (1, 4084),
        (FatType::Fat16, Profile::Any) => (FAT16_CLUSTERS_MIN, 65_524),
        (FatType::Fat16, Profile::Mirage) => (FAT16_CLUSTERS_MIN, 0xffef - 1),
        (FatType::Fat32, _) => (65_525, 0x0fff_fff4),
    }
}

/// The sizes that determine where the parts of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) fat_type: FatType,
    /// Bytes of a sector.
    pub(super) sector: u32,
    /// Bytes of a cluster.
    pub(super) cluster: u32,
    /// Slots of the root directory's own place; 0 for FAT32.
    pub(super) root_slots: u64,
    /// The number of clusters.
    pub(super) clusters: u64,
}

impl Geometry {
    /// Returns the bytes before the first table.
    pub(super) fn reserved(&self) -> u64 {
        match self.fat_type {
            FatType::Fat32 => 8 * u64::from(self.sector),
            _ => BLOCK_BYTES,
        }
    }

    /// Returns the bytes of one table.
    pub(super) fn table(&self) -> u64 {
        let bits = (self.clusters + 2) * u64::from(self.fat_type.bits());
        bits.div_ceil(8).next_multiple_of(BLOCK_BYTES)
    }

    /// Returns the offset of table 0 or 1.
    pub(super) fn table_offset(&self, copy: u64) -> u64 {
        self.reserved() + copy * self.table()
    }

    /// Returns the offset of the root directory's own place.
    pub(super) fn root_offset(&self) -> u64 {
        self.table_offset(2)
    }

    /// Returns the offset of the first cluster.
    pub(super) fn data_offset(&self) -> u64 {
        self.root_offset() + self.root_slots * SLOT_BYTES
    }

    /// Returns the offset of the cluster that has `index` others before it. Its number is two more.
    pub(super) fn cluster_offset(&self, index: u64) -> u64 {
        self.data_offset() + index * u64::from(self.cluster)
    }

    /// Returns the number of sectors of the file system.
    pub(super) fn sectors(&self) -> u64 {
        self.cluster_offset(self.clusters) / u64::from(self.sector)
    }

    /// Returns the most clusters that an image of `length` bytes can have.
    fn most_clusters(mut self, length: u64) -> u64 {
        let (mut fits, mut beyond) = (0, length / u64::from(self.cluster) + 1);
        while fits + 1 < beyond {
            self.clusters = fits + (beyond - fits) / 2;
            if self.cluster_offset(self.clusters) <= length {
                fits = self.clusters;
            } else {
                beyond = self.clusters;
            }
        }
        fits
    }
}

/// The space that the content needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Clusters for each size: without the root directory, and with it.
    pub(super) clusters: [[u64; CLUSTER_SIZES]; 2],
    /// Slots of the root directory.
    pub(super) root_slots: u64,
}

/// A type and a cluster size that may be chosen.
struct Choice<'a> {
    needs: &'a Needs,
    options: &'a FatOptions,
    fat_type: FatType,
    cluster: u32,
    fat16_min: u64,
}

impl Choice<'_> {
    /// Returns the number of clusters that are needed, at least one, with the free space that was
    /// requested.
    fn needed(&self) -> u64 {
        let with_root = usize::from(self.fat_type == FatType::Fat32);
        let size = (self.cluster.trailing_zeros() - CLUSTER_SHIFT_MIN) as usize;
        let free = self.options.free().div_ceil(u64::from(self.cluster));
        self.needs.clusters[with_root][size].saturating_add(free).max(1)
    }

    /// Returns the least and the most clusters of the type.
    fn counts(&self) -> (u64, u64) {
        let (least, most) = cluster_counts(self.fat_type, self.options.profile());
        (if self.fat_type == FatType::Fat16 { self.fat16_min } else { least }, most)
    }

    /// Returns the geometry with this number of clusters.
    fn geometry(&self, clusters: u64) -> Geometry {
        let root_slots = match self.fat_type {
            FatType::Fat32 => 0,
            _ => {
                let free = if self.options.free() > 0 { ROOT_SLOTS_FREE } else { 0 };
                let slots = (self.needs.root_slots + free).clamp(ROOT_SLOTS_MIN, ROOT_SLOTS_MAX);
                slots.max(self.needs.root_slots).next_multiple_of(128)
            }
        };
        let sector = self.options.block_bytes();
        Geometry { fat_type: self.fat_type, sector, cluster: self.cluster, root_slots, clusters }
    }

    /// Returns the length of an image with at least this number of clusters, and its length with
    /// the requested size, if there is one.
    fn length(&self, clusters: u64) -> Option<(u64, u64)> {
        if clusters > IMAGE_BYTES_MAX / u64::from(CLUSTER_BYTES_MAX) / 2 {
            return None;
        }
        let end = self.geometry(clusters).cluster_offset(clusters);
        let shortest = self.options.length().shortest(end)?;
        Some((shortest, self.options.size().unwrap_or(shortest)))
    }

    /// Returns the number of clusters that there would be if every type could have them.
    fn wanted(&self) -> u64 {
        let needed = self.needed();
        let length = self.length(needed).map_or(0, |(_, length)| length);
        self.geometry(0).most_clusters(length).max(needed)
    }

    /// Returns the geometry of an image of `length` bytes; `None` if this type cannot have that
    /// length.
    fn fill(&self, length: u64) -> Option<Geometry> {
        let (least, most) = self.counts();
        let clusters = self.geometry(0).most_clusters(length).min(most);
        (clusters >= least.max(self.needed())).then(|| self.geometry(clusters))
    }
}

/// Chooses the geometry of the image. Returns the image's length in bytes, too.
///
/// # Errors
/// [`Refused`](freestone_core::ErrorKind::Refused) if the content does not fit the type, the size,
/// or FAT at all.
pub(super) fn choose(needs: &Needs, options: &FatOptions) -> Result<(Geometry, u64)> {
    choose_with(needs, options, FAT16_CLUSTERS_MIN)
}

/// Chooses the geometry as [`choose`] did when a FAT16 was allowed 4085 and 4086 clusters. Images
/// that were written then are still recognised.
///
/// # Errors
/// Those of [`choose`].
pub(super) fn choose_as_before(needs: &Needs, options: &FatOptions) -> Result<(Geometry, u64)> {
    choose_with(needs, options, FAT16_CLUSTERS_MIN_BEFORE)
}

fn choose_with(needs: &Needs, options: &FatOptions, fat16_min: u64) -> Result<(Geometry, u64)> {
    let start = options.block_bytes().max(4096);
    let choice = |fat_type, cluster| Choice { needs, options, fat_type, cluster, fat16_min };
    let forced = match options.fat_type() {
        Some(fat_type) => Some(fat_type),
        None => {
            let first = FatType::ALL
                .into_iter()
                .map(|fat_type| choice(fat_type, start))
                .find(|choice| choice.needed() <= choice.counts().1 && fits_root(choice).is_ok());
            let widest = first.as_ref().and_then(|first| {
                let (_, length) = first.length(first.needed())?;
                let filling = |fat_type: &FatType| {
                    let choice = choice(*fat_type, start);
                    fits_root(&choice).is_ok() && choice.fill(length).is_some()
                };
                FatType::ALL.into_iter().rev().find(filling)
            });
            match (widest, first) {
                (Some(fat_type), _) => Some(fat_type),
                (None, Some(first)) => Some(first.fat_type),
                (None, None) => None,
            }
        }
    };
    let fat_type = forced.unwrap_or(FatType::Fat32);
    let mut choice = choice(fat_type, start);
    let (least, most) = choice.counts();
    fits_root(&choice)?;
    if options.fat_type().is_some() || fat_type == FatType::Fat32 {
        while choice.wanted() > most && choice.cluster < CLUSTER_BYTES_MAX {
            choice.cluster *= 2;
        }
        while choice.wanted() < least && choice.cluster > options.block_bytes() {
            choice.cluster /= 2;
        }
    }
    let needed = choice.needed().max(least);
    if needed > most {
        let bytes = most * u64::from(choice.cluster);
        return Err(Error::refused(format!(
            "the content needs {needed} clusters of {} bytes, and FAT{fat_type} has at most {most}, \
             {bytes} bytes",
            choice.cluster
        ))
        .hint(if fat_type == FatType::Fat32 {
            "make an image of a part of the content, or make a tar image"
        } else {
            "leave the type out, make an image of a part of the content, or make a tar image"
        }));
    }
    let (shortest, length) = choice.length(needed).ok_or_else(too_long)?;
    let geometry = choice.fill(length).ok_or_else(|| does_not_fit(shortest, length))?;
    if geometry.sectors() > u64::from(u32::MAX) {
        let what =
            format!("FAT has at most 2^32 sectors, and this image needs {}", geometry.sectors());
        return Err(Error::refused(what).hint(if geometry.sector == 512 {
            "--block-size 4096 holds eight times as much, for devices with such sectors"
        } else {
            "make an image of a part of the content, or make a tar image"
        }));
    }
    Ok((geometry, length))
}

/// Checks that the root directory fits into its own place, where the type has one.
fn fits_root(choice: &Choice<'_>) -> Result<()> {
    let slots = choice.needs.root_slots;
    if choice.fat_type != FatType::Fat32 && slots > ROOT_SLOTS_MAX {
        return Err(Error::refused(format!(
            "the top directory needs {slots} slots, and FAT{} has at most {ROOT_SLOTS_MAX}",
            choice.fat_type
        ))
        .hint("move files into directories, or take FAT32"));
    }
    Ok(())
}
