//! Finding contents that have much in common, by minima of hashes over their shingles. A shingle is
//! a run of 16 bytes.
//!
//! The hash of a shingle says which of 32 bins it belongs to; the least hash of each bin counts.
//! The share of the bins in which two contents agree is about the share of the shingles that they
//! have in common (A. Broder, 1997; one permutation: P. Li, A. Owen, C.-H. Zhang, 2012).

use freestone_core::Id;
use std::collections::HashMap;

const SHINGLE_BYTES: usize = 16;
const BINS: usize = 32;
/// Bins that must agree.
const AGREEING_MIN: usize = 2;
/// Any odd number; the hash is a polynomial in it.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The minima of a content, without those of empty bins, and its first bytes.
pub struct Sketch([Option<u32>; BINS], [u8; 4]);

impl Sketch {
    /// Returns the sketch of `bytes`. Fewer than 16 bytes have no minima.
    pub fn of(bytes: &[u8]) -> Self {
        let mut minima = [None; BINS];
        let leaving = (1..SHINGLE_BYTES).fold(1u64, |power, _| power.wrapping_mul(FACTOR));
        let mut hash = 0u64;
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(gone) = at.checked_sub(SHINGLE_BYTES) {
                hash = hash.wrapping_sub((u64::from(bytes[gone]) + 1).wrapping_mul(leaving));
            }
            hash = hash.wrapping_mul(FACTOR).wrapping_add(u64::from(*byte) + 1);
            if at + 1 >= SHINGLE_BYTES {
                // The low bits of the polynomial depend on few bytes; those that are taken do not.
                let mixed = (hash ^ (hash >> 32)).wrapping_mul(FACTOR);
                let bin = usize::try_from(mixed >> 59).unwrap_or(0);
                let value = u32::try_from(mixed >> 27 & u64::from(u32::MAX)).unwrap_or(0);
                if minima[bin].is_none_or(|least| value < least) {
                    minima[bin] = Some(value);
                }
            }
        }
        Self(minima, bytes.first_chunk().copied().unwrap_or_default())
    }

    /// Returns the first bytes: files of a kind begin alike.
    pub fn beginning(&self) -> [u8; 4] {
        self.1
    }

    fn bins(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        (0u8..).zip(&self.0).filter_map(|(bin, least)| Some((bin, (*least)?)))
    }
}

/// Contents by their minima: about 600 bytes each.
#[derive(Default)]
pub struct Similar {
    /// The content that had this minimum last, by its number.
    by_minimum: HashMap<(u8, u32), u32>,
    /// The contents, in the order in which they were added.
    contents: Vec<Id>,
}

impl Similar {
    /// Returns how many contents were added.
    pub fn count(&self) -> usize {
        self.contents.len()
    }

    /// Adds a content.
    pub fn add(&mut self, id: Id, sketch: &Sketch) {
        let number = u32::try_from(self.contents.len()).unwrap_or(u32::MAX);
        self.by_minimum.extend(sketch.bins().map(|minimum| (minimum, number)));
        self.contents.push(id);
    }

    /// Returns up to `count` contents that have most in common with a content, the best first; of
    /// equal ones those that were added last.
    pub fn best(&self, sketch: &Sketch, count: usize) -> Vec<Id> {
        let mut votes: HashMap<u32, usize> = HashMap::new();
        for minimum in sketch.bins() {
            if let Some(number) = self.by_minimum.get(&minimum) {
                *votes.entry(*number).or_default() += 1;
            }
        }
        let mut found: Vec<(usize, u32)> = votes
            .into_iter()
            .filter(|(_, votes)| *votes >= AGREEING_MIN)
            .map(|(number, votes)| (votes, number))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        let ids = found.into_iter().filter_map(|(_, number)| self.contents.get(number as usize));
        ids.take(count).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::digest;

    #[test]
    fn the_content_with_most_in_common_is_found() {
        let page = |seed: u32| -> Vec<u8> {
            (0..200u32)
                .flat_map(|n| format!("{} ", (n * seed) ^ (seed << 7)).into_bytes())
                .collect()
        };
        let mut similar = Similar::default();
        for seed in 1..50 {
            similar.add(digest::plain(&page(seed)), &Sketch::of(&page(seed)));
        }
        let mut changed = page(17);
        changed.splice(300..310, *b"quite another");
        assert_eq!(similar.best(&Sketch::of(&changed), 1), [digest::plain(&page(17))]);
        assert!(similar.best(&Sketch::of(b"too short"), 1).is_empty());
        assert!(similar.best(&Sketch::of(&page(1_000_003)), 1).is_empty());
    }
}
