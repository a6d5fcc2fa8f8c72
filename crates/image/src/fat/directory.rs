//! The bytes of a directory.
//!
//! ```text
//! short:  0 name 11   11 attributes 1   12 0 1     13 0 1         14 created 4   18 read 2
//!        20 cluster, high half 2        22 written: time 2, date 2
//!        26 cluster, low half 2         28 size 4
//! long:   0 number 1, 0x40 in the last  1 units 10  11 0x0f 1     12 0 1
//!        13 sum of the short name 1     14 units 12 26 0 2        28 units 4
//! ```
//! A long name comes before its short one, with its last slot first. All times are the entry's
//! mtime.

use super::alias::Aliases;
use super::geometry::SLOT;
use super::layout::{Layout, LayoutWalk};
use super::name::{Name, SLOT_UNITS, Short, long_slots};
use super::scan::{Children, DirectoryChild};
use super::{Profile, time};
use freestone_core::{Error, NodeSource, Result, path};
use freestone_manifest::Tree;

pub(super) const DIRECTORY: u8 = 0x10;
pub(super) const ARCHIVE: u8 = 0x20;
pub(super) const LONG: u8 = 0x0f;
/// The offsets of the thirteen units of a long slot.
pub(super) const UNIT_OFFSETS: [usize; SLOT_UNITS] =
    [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Returns the checksum of a short name, which its long slots carry.
pub(super) fn sum(short: &Short) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// A slot with a short name.
pub(super) struct ShortEntry {
    pub(super) name: Short,
    pub(super) attributes: u8,
    pub(super) mtime: i64,
    /// The number of the first cluster, 0 if there is none.
    pub(super) cluster: u64,
    pub(super) size: u64,
}

impl ShortEntry {
    pub(super) fn encode(&self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        let mut put = |offset: usize, field: &[u8]| {
            slot[offset..offset + field.len()].copy_from_slice(field);
        };
        let (date, time) = time::encode(self.mtime);
        let cluster = u32::try_from(self.cluster).unwrap_or(0).to_le_bytes();
        put(0, &self.name);
        put(11, &[self.attributes]);
        put(14, &time.to_le_bytes());
        put(16, &date.to_le_bytes());
        put(18, &date.to_le_bytes());
        put(20, &cluster[2..]);
        put(22, &time.to_le_bytes());
        put(24, &date.to_le_bytes());
        put(26, &cluster[..2]);
        put(28, &u32::try_from(self.size).unwrap_or(0).to_le_bytes());
        slot
    }
}

/// Returns the slots of a long name.
pub(super) fn long(units: &[u16], short: &Short, profile: Profile) -> Vec<u8> {
    let count = long_slots(units.len(), profile);
    let mut bytes = Vec::with_capacity(count as usize * SLOT);
    for number in (0..count).rev() {
        let mut slot = [0; SLOT];
        let is_last = number + 1 == count;
        slot[0] = u8::try_from(number + 1).unwrap_or(0) | if is_last { 0x40 } else { 0 };
        slot[11] = LONG;
        slot[13] = sum(short);
        for (at, offset) in UNIT_OFFSETS.into_iter().enumerate() {
            let index = number as usize * SLOT_UNITS + at;
            let unit = match units.get(index) {
                Some(unit) => *unit,
                None if index == units.len() => 0,
                None => 0xffff,
            };
            slot[offset..offset + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes.extend(slot);
    }
    bytes
}

/// A directory whose bytes are to be made.
pub(super) struct Directory<'a> {
    /// Its path; empty for the root.
    pub(super) path: &'a [u8],
    /// The index, the time and the first cluster's number of its own entry; `None` for the root.
    pub(super) own: Option<(u64, i64, u64)>,
}

impl Directory<'_> {
    /// Makes its bytes, without the rest of the last cluster.
    ///
    /// # Errors
    /// A node cannot be read.
    pub(super) fn bytes<S: NodeSource>(
        &self,
        layout: &Layout,
        tree: &Tree<S>,
        profile: Profile,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some((_, mtime, cluster)) = self.own {
            let above = self.above(layout, tree)?;
            for (name, cluster) in [(b".          ", cluster), (b"..         ", above)] {
                let entry =
                    ShortEntry { name: *name, attributes: DIRECTORY, mtime, cluster, size: 0 };
                bytes.extend(entry.encode());
            }
        }
        let mut children = Vec::new();
        let mut walk = Children::new(tree, self.path, self.own.map_or(0, |(index, ..)| index + 1))?;
        while let Some(child) = walk.next()? {
            let name = Name::of(&child.name, profile).map_err(|why| self.changed(&child, why))?;
            children.push((child, name));
        }
        let mut aliases = Aliases::new(children.iter().map(|(_, name)| name));
        let mut at: Option<LayoutWalk<'_, S>> = None;
        for (child, name) in &children {
            // Consecutive files are found by continuing the same walk.
            let mut walk = match at.take() {
                Some(walk) if walk.index == child.index => walk,
                _ => layout.walk_to(tree, child.index)?,
            };
            let laid = walk.next()?.ok_or_else(|| self.changed(child, "is missing"))?;
            let short = aliases.next(name);
            if let Some(units) = &name.long {
                bytes.extend(long(units, &short, profile));
            }
            let entry = ShortEntry {
                name: short,
                attributes: if child.size.is_some() { ARCHIVE } else { DIRECTORY },
                mtime: child.mtime,
                cluster: laid.clusters.number(),
                size: child.size.unwrap_or(0),
            };
            bytes.extend(entry.encode());
            at = Some(walk);
        }
        Ok(bytes)
    }

    /// Returns the number of the first cluster of the parent directory; 0 for the root.
    fn above<S: NodeSource>(&self, layout: &Layout, tree: &Tree<S>) -> Result<u64> {
        let Some(above) = path::parent(self.path) else { return Ok(0) };
        let mut walk = layout.walk_to(tree, tree.index_of(above)?)?;
        Ok(walk.next()?.map_or(0, |laid| laid.clusters.number()))
    }

    fn changed(&self, child: &DirectoryChild, why: &str) -> Error {
        let (directory, name) = (path::display(self.path), path::display(&child.name));
        Error::corrupt(format!("manifest: {name} in \"{directory}\" {why}"))
    }
}
