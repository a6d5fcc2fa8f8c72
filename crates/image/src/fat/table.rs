//! Making the allocation table, a part at a time.
//!
//! Entries 0 and 1 hold the medium and an end mark. Entry n + 2 belongs to the cluster that has n
//! others before it. It holds the number of the next cluster of its chain, or an end mark.

use super::FatType;
use super::layout::Layout;
use freestone_core::wire::to_usize;
use freestone_core::{NodeSource, Result};
use freestone_manifest::Tree;
use std::ops::Range;

/// How many entries a part has. Its bytes are a multiple of 4096 in every type.
const PIECE: usize = 8192;
pub(super) const PIECE_ENTRIES: u64 = PIECE as u64;

/// The end mark of a chain. A type takes as many of its bits as an entry has.
const END: u32 = 0x0fff_ffff;
const MEDIUM: u32 = 0x0fff_fff8;

/// Returns the bytes of a whole part.
pub(super) fn piece_bytes(fat_type: FatType) -> u64 {
    PIECE_ENTRIES * u64::from(fat_type.bits()) / 8
}

/// Returns the bytes of one part.
///
/// # Errors
/// A node cannot be read.
pub(super) fn piece<S: NodeSource>(layout: &Layout, tree: &Tree<S>, piece: u64) -> Result<Vec<u8>> {
    let first = piece * PIECE_ENTRIES;
    let mut entries = [0; PIECE];
    // Writes the chain of `clusters`, as far as it is in this part.
    let mut chain = |clusters: Range<u64>| {
        let (start, end) = (clusters.start + 2, clusters.end + 2);
        for number in start.max(first)..end.min(first + PIECE_ENTRIES) {
            let next =
                if number + 1 == end { END } else { u32::try_from(number + 1).unwrap_or(END) };
            entries[to_usize(number - first)] = next;
        }
    };
    chain(0..layout.root);
    let mut walk = layout.walk(tree, first.saturating_sub(2))?;
    while walk.cluster + 2 < first + PIECE_ENTRIES {
        let Some(laid) = walk.next()? else { break };
        chain(laid.clusters.first..laid.clusters.end);
    }
    if first == 0 {
        entries[..2].copy_from_slice(&[MEDIUM, END]);
    }
    Ok(encode(layout.geometry.fat_type, &entries))
}

/// Encodes entries in the width of the type.
fn encode(fat_type: FatType, entries: &[u32]) -> Vec<u8> {
    match fat_type {
        FatType::Fat12 => entries
            .chunks_exact(2)
            .flat_map(|pair| {
                let [a, b, c, _] = (pair[0] & 0xfff | (pair[1] & 0xfff) << 12).to_le_bytes();
                [a, b, c]
            })
            .collect(),
        FatType::Fat16 => entries
            .iter()
            .flat_map(|entry| {
                let [a, b, ..] = entry.to_le_bytes();
                [a, b]
            })
            .collect(),
        FatType::Fat32 => entries.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
    }
}
