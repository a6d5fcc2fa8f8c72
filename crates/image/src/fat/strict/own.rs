//! The rules of freestone's own layout, beyond those of the readers: one way to write each
//! manifest.
//!
//! Files and directories come in manifest order. Their clusters are allocated again as the writer
//! does, and each directory's slots are made again from its names.

use super::rule::FatRule;
use super::slots::{Notes, SlotChild};
use super::table::Chain;
use super::volume::Volume;
use crate::fat::alias::Aliases;
use crate::fat::clusters::{ClusterRange, allocate, cluster_bytes, directory_bytes};
use crate::fat::directory::{ARCHIVE, DIRECTORY, ShortEntry, long};
use crate::fat::geometry::{CLUSTER_SIZES, Geometry, Needs, choose, choose_as_before};
use crate::fat::name::Name;
use crate::fat::{FatOptions, FatType, Profile};
use crate::violation::Violations;
use freestone_core::{path, tar1};

/// A check of the layout of an image whose head says that freestone wrote it.
pub(super) struct OwnLayout {
    options: FatOptions,
    geometry: Geometry,
    needs: Needs,
    /// The first cluster that is not allocated yet, counted from 0.
    cluster: u64,
    /// The number of allocated clusters.
    used: u64,
    last: Option<Vec<u8>>,
}

impl OwnLayout {
    pub(super) fn new(options: FatOptions, geometry: Geometry) -> Self {
        let (needs, last) = (Needs::default(), None);
        Self { options, geometry, needs, cluster: 0, used: 0, last }
    }

    pub(super) fn profile(&self) -> Profile {
        self.options.profile()
    }

    /// Checks the root directory, whose clusters FAT32 allocates first.
    pub(super) fn root(
        &mut self,
        children: &[SlotChild],
        chain: &Chain,
        violations: &mut Violations,
    ) {
        self.needs.root_slots = self.slots(children);
        let bytes = directory_bytes(self.needs.root_slots);
        for (size, clusters) in self.needs.clusters[1].iter_mut().enumerate() {
            *clusters = bytes.div_ceil(cluster_bytes(size));
        }
        if self.geometry.fat_type == FatType::Fat32 {
            self.cluster = bytes.div_ceil(self.geometry.cluster.into());
            self.used = self.cluster;
            if !chain.is(2, self.cluster) {
                let what = format!("its clusters are not 2 to {}", self.cluster + 1);
                violations.add(FatRule::Placement, 0, Some(b""), what);
            }
        }
    }

    /// Returns the slots that the names of these children take.
    fn slots(&self, children: &[SlotChild]) -> u64 {
        let names = children.iter().filter_map(|child| Name::of(&child.name, self.profile()).ok());
        names.map(|name| u64::from(name.slots(self.profile()))).sum()
    }

    /// Checks the next file or directory, which has these `children` if it is a directory. Returns
    /// the clusters that it should have.
    pub(super) fn entry(
        &mut self,
        full: &[u8],
        child: &SlotChild,
        children: Option<&[SlotChild]>,
        chain: &Chain,
        offset: u64,
        violations: &mut Violations,
    ) -> ClusterRange {
        let (bytes, is_aligned) = match children {
            Some(children) => (directory_bytes(2 + self.slots(children)), false),
            None => (child.size, tar1::is_aligned(Some(child.size))),
        };
        let clusters = self.needs.clusters.as_flattened_mut().iter_mut();
        for (size, clusters) in (0..CLUSTER_SIZES).cycle().zip(clusters) {
            *clusters = allocate(*clusters, bytes, is_aligned, cluster_bytes(size)).end;
        }
        let wanted = allocate(self.cluster, bytes, is_aligned, self.geometry.cluster.into());
        self.cluster = wanted.end;
        self.used += wanted.end - wanted.first;
        if child.cluster != wanted.number()
            || !chain.is(wanted.first + 2, wanted.end - wanted.first)
        {
            let what = format!(
                "its clusters are not the {} from {} on",
                wanted.end - wanted.first,
                wanted.first + 2
            );
            violations.add(FatRule::Placement, offset, Some(full), what);
        }
        if self.last.as_ref().is_some_and(|last| path::compare(last, full).is_ge()) {
            violations.add(FatRule::Slots, offset, Some(full), "it is not in manifest order");
        }
        self.last = Some(full.to_vec());
        wanted
    }

    /// Checks the bytes of a directory against those that freestone makes for its children. `own`
    /// is the directory's own entry and the first cluster of its parent.
    pub(super) fn directory(
        &self,
        bytes: &[u8],
        children: &[SlotChild],
        own: Option<(&SlotChild, u64)>,
        notes: &mut Notes<'_>,
    ) {
        let mut wanted = Vec::new();
        if let Some((child, above)) = own {
            for (name, cluster) in [(b".          ", child.cluster), (b"..         ", above)] {
                let (attributes, mtime) = (DIRECTORY, child.mtime);
                let entry = ShortEntry { name: *name, attributes, mtime, cluster, size: 0 };
                wanted.extend(entry.encode());
            }
        }
        let names: Vec<_> =
            children.iter().filter_map(|c| Name::of(&c.name, self.profile()).ok()).collect();
        let mut aliases = Aliases::new(names.iter());
        for (child, name) in children.iter().zip(&names) {
            let short = aliases.next(name);
            if let Some(units) = &name.long {
                wanted.extend(long(units, &short, self.profile()));
            }
            let entry = ShortEntry {
                name: short,
                attributes: if child.is_directory { DIRECTORY } else { ARCHIVE },
                mtime: child.mtime,
                cluster: child.cluster,
                size: child.size,
            };
            wanted.extend(entry.encode());
        }
        wanted.resize(bytes.len().max(wanted.len()), 0);
        if let Some(at) = wanted.iter().zip(bytes).position(|(a, b)| a != b) {
            let owner = children.iter().find(|child| child.at + 32 > at);
            let name = owner.map_or(&b""[..], |child| &child.name);
            notes.add(FatRule::Slots, at, name, "the bytes of the slot are different");
        } else if wanted.len() != bytes.len() {
            notes.add(FatRule::Slots, bytes.len(), b"", "slots are missing");
        }
    }

    /// Returns the number of free clusters and the number of the last used one, for FSInfo.
    pub(super) fn info(&self) -> (u64, u64) {
        (self.geometry.clusters - self.used.min(self.geometry.clusters), self.cluster + 1)
    }

    /// Checks the sizes at the end. Returns the length that the image should have.
    pub(super) fn end(
        &self,
        volume: &Volume,
        length: u64,
        is_device: bool,
        violations: &mut Violations,
    ) -> u64 {
        // An image from before 4085 and 4086 clusters were left to FAT12 is still a good one.
        let before = choose_as_before(&self.needs, &self.options).ok();
        let before = before.filter(|(geometry, _)| *geometry == self.geometry);
        match before.map_or_else(|| choose(&self.needs, &self.options), Ok) {
            Err(error) => {
                violations.add(FatRule::Head, 0, None, error.to_string());
                volume.end()
            }
            Ok((geometry, wanted)) => {
                if geometry != self.geometry {
                    let what = format!("{:?} instead of {geometry:?}", self.geometry);
                    violations.add(FatRule::Head, 11, None, what);
                }
                if length < wanted || (length > wanted && !is_device) {
                    let what = format!("{length} bytes instead of {wanted}");
                    violations.add(FatRule::Size, 0, None, what);
                }
                wanted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fat::geometry::FAT16_CLUSTERS_MIN;
    use crate::fat::head::Head;
    use crate::fat::strict::check;
    use crate::format::FormatOptions;
    use crate::report::Container;
    use freestone_core::Id;
    use freestone_core::wire::to_usize;

    /// An image of nothing from the time when a FAT16 could have 4085 clusters: it is whole, and
    /// what some readers take it for is said.
    #[test]
    fn an_image_of_4085_clusters_from_before_is_taken_with_a_note() {
        let options = FatOptions::for_mirage().with_block_bytes(4096).unwrap();
        for size in [None, Some(16_380 << 10)] {
            let options = options.with_length(None, size).unwrap();
            let (geometry, length) = choose_as_before(&Needs::default(), &options).unwrap();
            assert!(geometry.clusters < 4087, "{geometry:?}");
            let name = options.image_name(&Id([7; 32]));
            let mut image = Head { geometry, free: 0, last: 0 }.encode(&name);
            image.resize(to_usize(length), 0);
            for copy in 0..2 {
                let start = to_usize(geometry.table_offset(copy));
                image[start..start + 4].copy_from_slice(&[0xf8, 0xff, 0xff, 0xff]);
            }
            let report = check(&image, Container::File, &mut |_| Ok(())).unwrap();
            let kept: Vec<_> = report.violations.kept().iter().map(ToString::to_string).collect();
            assert_eq!(kept, Vec::<String>::new());
            assert_eq!(report.name, Some(name));
            assert!(report.notes[0].contains("GRUB"), "{:?}", report.notes);
            // Such an image is not made any more.
            if let Ok((now, _)) = choose(&Needs::default(), &options) {
                assert!(now.clusters >= FAT16_CLUSTERS_MIN);
            }
        }
    }
}
