//! The first walk over a manifest: it counts the slots of each directory and the clusters of the
//! image, and finds the paths that FAT cannot hold.
//!
//! It visits every entry twice: in manifest order, and among the children of its directory, one
//! directory at a time. It holds only the hashes of the names of one directory (65,536 at most) and
//! the list of large directories.

use super::Profile;
use super::clusters::{LargeDirectories, allocate, cluster_bytes, directory_bytes, is_aligned};
use super::geometry::{CLUSTER_SIZES, Needs};
use super::name::Name;
use super::refusal::Refusals;
use super::reserved::ReservedNames;
use crate::hash::short_hash;
use freestone_core::{NodeSource, Result, path};
use freestone_manifest::{Cursor, Tree};
use std::collections::HashMap;

/// The most slots of a directory: 2 MiB.
const DIRECTORY_SLOTS_MAX: u64 = 65_536;
/// The length of the longest file. The size field holds up to 2^32 − 1, but fsck.fat 4.2 computes the length of the
/// clusters of a file in 32 bits, and would cut a file whose clusters have 4 GiB to nothing. The
/// bound leaves out the largest cluster.
pub(super) const FILE_BYTES_MAX: u64 = (1 << 32) - (32 << 10);
/// How many entries below a subdirectory are skipped one by one. The rest is skipped by a search.
const PASSED_MAX: u32 = 32;

/// An entry of a directory.
pub(super) struct DirectoryChild {
    /// The number of entries of the manifest before it.
    pub(super) index: u64,
    /// Its name, without the directory's path.
    pub(super) name: Vec<u8>,
    /// Its size; `None` for a directory.
    pub(super) size: Option<u64>,
    pub(super) mtime: i64,
}

/// A walk over the entries that are directly in a directory.
pub(super) struct Children<'a, S> {
    tree: &'a Tree<S>,
    cursor: Cursor<'a, S>,
    top: &'a [u8],
    /// The index of the next entry.
    index: u64,
}

impl<'a, S: NodeSource> Children<'a, S> {
    /// Starts the walk over the directory `top`. `index` is that of its first entry, if it has one.
    pub(super) fn new(tree: &'a Tree<S>, top: &'a [u8], index: u64) -> Result<Self> {
        Ok(Self { tree, cursor: tree.seek_index(index)?, top, index })
    }

    /// Returns the next entry.
    pub(super) fn next(&mut self) -> Result<Option<DirectoryChild>> {
        let skipped = if self.top.is_empty() { 0 } else { self.top.len() + 1 };
        let mut passed = 0;
        loop {
            let Some(entry) = self.cursor.next()? else { return Ok(None) };
            if !path::is_below(&entry.path, self.top) {
                return Ok(None);
            }
            let name = &entry.path[skipped..];
            let Some(slash) = name.iter().position(|byte| *byte == b'/') else {
                let child = DirectoryChild {
                    index: self.index,
                    name: name.to_vec(),
                    size: entry.size(),
                    mtime: entry.mtime,
                };
                self.index += 1;
                return Ok(Some(child));
            };
            self.index += 1;
            passed += 1;
            if passed == PASSED_MAX {
                // The paths below it continue with a `/`, which is ordered as 0.
                let after = [&entry.path[..skipped + slash], &[1]].concat();
                self.index = self.tree.index_of(&after)?;
                self.cursor = self.tree.seek_index(self.index)?;
            }
        }
    }
}

/// The result of the walk.
pub(super) struct Scan {
    pub(super) needs: Needs,
    pub(super) large: LargeDirectories,
    /// The names that Windows takes for devices.
    pub(super) reserved: ReservedNames,
}

/// Walks over a manifest.
///
/// # Errors
/// A node cannot be read; [`Refused`](freestone_core::ErrorKind::Refused) with a list of all paths
/// that FAT cannot hold.
pub(super) fn scan<S: NodeSource>(tree: &Tree<S>, profile: Profile) -> Result<Scan> {
    let mut refusals = Refusals::default();
    let mut large = LargeDirectories::default();
    let root_slots = slots(tree, b"", 0, profile, &mut refusals)?;
    let mut needs = Needs { root_slots, ..Needs::default() };
    for (size, clusters) in needs.clusters[1].iter_mut().enumerate() {
        *clusters = directory_bytes(root_slots).div_ceil(cluster_bytes(size));
    }
    let mut cursor = tree.cursor();
    let mut index = 0;
    let mut reserved = ReservedNames::default();
    while let Some(entry) = cursor.next()? {
        reserved.look_at(&entry.path, profile);
        let bytes = match entry.size() {
            Some(bytes) => {
                if bytes > FILE_BYTES_MAX {
                    refusals.add(&entry.path, "is longer than 4 GiB less 32 KiB");
                }
                bytes
            }
            None => {
                let slots = 2 + slots(tree, &entry.path, index + 1, profile, &mut refusals)?;
                large.push(index, slots);
                directory_bytes(slots)
            }
        };
        for (size, clusters) in (0..CLUSTER_SIZES).cycle().zip(needs.clusters.as_flattened_mut()) {
            *clusters = allocate(*clusters, bytes, is_aligned(entry), cluster_bytes(size)).end;
        }
        index += 1;
    }
    refusals.check()?;
    Ok(Scan { needs, large, reserved })
}

/// Returns the slots that the names in the directory `top` take. `index` is that of its first
/// entry, if it has one.
fn slots<S: NodeSource>(
    tree: &Tree<S>,
    top: &[u8],
    index: u64,
    profile: Profile,
    refusals: &mut Refusals,
) -> Result<u64> {
    let limit = if top.is_empty() { DIRECTORY_SLOTS_MAX } else { DIRECTORY_SLOTS_MAX - 2 };
    let full = |name: &[u8]| match top {
        b"" => name.to_vec(),
        top => [top, b"/", name].concat(),
    };
    let mut slots = 0;
    // The hash of each name as readers compare it, and the index of its entry.
    let mut names: HashMap<[u8; 16], u64> = HashMap::new();
    let mut children = Children::new(tree, top, index)?;
    while let Some(child) = children.next()? {
        let name = match Name::of(&child.name, profile) {
            Ok(name) => name,
            Err(why) => {
                refusals.add(&full(&child.name), why);
                continue;
            }
        };
        slots += u64::from(name.slots(profile));
        if slots > limit {
            // The error is the same for any further name, so it is skipped to bound memory.
            continue;
        }
        if let Some(first) = names.insert(short_hash(name.folded.as_bytes()), child.index) {
            let why = if refusals.is_full() {
                String::new()
            } else {
                let other = tree.seek_index(first)?.next()?.map(|entry| path::display(&entry.path));
                format!("differs from {} by case alone", other.unwrap_or_default())
            };
            refusals.add(&full(&child.name), &why);
        }
    }
    if slots > limit {
        let why = format!("holds names for {slots} slots; a FAT directory has at most {limit}");
        refusals.add(top, &why);
    }
    Ok(slots)
}
