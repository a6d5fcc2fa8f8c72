//! Following chains through the table, with a part of it in memory and a bit for each cluster.

use super::rule::FatRule;
use super::volume::Volume;
use crate::fat::FatType;
use crate::read::ReadAt;
use crate::violation::Violations;
use freestone_core::Result;
use freestone_core::wire::to_usize;

/// How many bytes of the table are in memory: a multiple of 3, for FAT12's pairs of entries.
const HELD_BYTES: u64 = 96 << 10;

/// The clusters of a file or directory, as runs of consecutive numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The first number and the length of each run. At most [`RUNS_MAX`] are kept.
    pub(super) runs: Vec<(u64, u64)>,
    /// The number of clusters.
    pub(super) count: u64,
}

/// How many runs are kept. Longer chains are followed to their end only for their length. A
/// directory, which has at most 2 MiB, does not need more.
const RUNS_MAX: usize = 4096;

impl Chain {
    /// Returns true if the clusters are `count` from `first` on.
    pub(super) fn is(&self, first: u64, count: u64) -> bool {
        match self.runs[..] {
            [] => count == 0,
            [run] => run == (first, count),
            _ => false,
        }
    }
}

/// The table of a file system.
pub(super) struct Table<'a, R: ?Sized> {
    image: &'a R,
    volume: Volume,
    held: Vec<u8>,
    held_offset: u64,
    used: Vec<u64>,
    /// The offset of an entry whose end mark is not all ones, or whose reserved bits are not 0.
    pub(super) odd: Option<u64>,
}

impl<'a, R: ReadAt + ?Sized> Table<'a, R> {
    /// Creates the table of `volume`, with no cluster taken.
    pub(super) fn new(image: &'a R, volume: Volume) -> Self {
        let words = usize::try_from((volume.clusters + 2).div_ceil(64)).unwrap_or(0);
        Self { image, volume, held: Vec::new(), held_offset: 0, used: vec![0; words], odd: None }
    }

    /// Returns the entry of cluster `number`: of 32 bits, the 28 that count.
    pub(super) fn entry(&mut self, number: u64) -> Result<u64> {
        let bits = u64::from(self.volume.fat_type.bits());
        let offset = number * bits / 8;
        let length = if bits == 32 { 4 } else { 2 };
        let held = self.held_offset..self.held_offset + self.held.len() as u64;
        if !held.contains(&offset) || offset + length > held.end {
            self.held_offset = offset / HELD_BYTES * HELD_BYTES;
            // One more byte, for an entry of FAT12 that crosses the end.
            let left = self.volume.table - self.held_offset;
            let length = to_usize(left.min(HELD_BYTES + 1));
            self.held.resize(length, 0);
            self.image.read_at(self.volume.table_offset + self.held_offset, &mut self.held)?;
        }
        let at = to_usize(offset - self.held_offset);
        let byte = |index: usize| u64::from(self.held.get(at + index).copied().unwrap_or(0));
        let two = byte(0) | byte(1) << 8;
        let entry = match self.volume.fat_type {
            FatType::Fat12 if number % 2 == 1 => two >> 4,
            FatType::Fat12 => two & 0xfff,
            FatType::Fat16 => two,
            FatType::Fat32 => two | byte(2) << 16 | byte(3) << 24,
        };
        let counts = if bits == 32 { entry & 0x0fff_ffff } else { entry };
        if number >= 2 && (counts != entry || (counts > self.end() - 1 && counts != self.end() | 7))
        {
            self.odd.get_or_insert(self.volume.table_offset + offset);
        }
        Ok(counts)
    }

    /// Returns the least number that is an end mark.
    fn end(&self) -> u64 {
        match self.volume.fat_type {
            FatType::Fat12 => 0xff8,
            FatType::Fat16 => 0xfff8,
            FatType::Fat32 => 0x0fff_fff8,
        }
    }

    /// Checks the first two entries.
    pub(super) fn check_start(&mut self, violations: &mut Violations) -> Result<()> {
        let (medium, end) = (self.entry(0)?, self.entry(1)?);
        let wanted = self.end() & !0xff | u64::from(self.volume.medium);
        // Some systems use two high bits of the second to say that all is well.
        let (is_start, all) = (medium == wanted, self.end() | 7);
        if !is_start || end != all {
            let what = format!("{medium:#x} and {end:#x}");
            violations.add(FatRule::TableStart, self.volume.table_offset, None, what);
        }
        Ok(())
    }

    /// Takes cluster `number`. Returns false if it was taken already.
    fn take(&mut self, number: u64) -> bool {
        let word = &mut self.used[to_usize(number / 64)];
        let bit = 1 << (number % 64);
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    /// Follows the chain from cluster `first` on, and takes its clusters. Returns `None` if it is
    /// broken.
    pub(super) fn chain(
        &mut self,
        first: u64,
        offset: u64,
        path: &[u8],
        violations: &mut Violations,
    ) -> Result<Option<Chain>> {
        let mut chain = Chain::default();
        let mut number = first;
        loop {
            if number < 2 || number >= self.volume.clusters + 2 {
                let what = format!(
                    "after {} clusters, the number {number} is not one of a cluster",
                    chain.count
                );
                violations.add(FatRule::Chain, offset, Some(path), what);
                return Ok(None);
            }
            if !self.take(number) {
                let what = format!(
                    "cluster {number} belongs to another chain, or came before in this one"
                );
                violations.add(FatRule::Chain, offset, Some(path), what);
                return Ok(None);
            }
            chain.count += 1;
            let may_grow = chain.runs.len() < RUNS_MAX;
            match chain.runs.last_mut() {
                Some((start, count)) if *start + *count == number => *count += 1,
                _ if may_grow => chain.runs.push((number, 1)),
                _ => {}
            }
            number = self.entry(number)?;
            if number >= self.end() {
                return Ok(Some(chain));
            }
        }
    }

    /// Checks the entries of clusters that belong to nothing. Returns how many are free.
    pub(super) fn check_rest(&mut self, violations: &mut Violations) -> Result<u64> {
        let mut free = 0;
        for number in 2..self.volume.clusters + 2 {
            if self.used[to_usize(number / 64)] >> (number % 64) & 1 == 1 {
                continue;
            }
            let entry = self.entry(number)?;
            if entry == 0 {
                free += 1;
            } else if entry != self.end() - 1 {
                let what = format!("cluster {number} says {entry:#x} and belongs to nothing");
                violations.add(FatRule::Lost, self.volume.cluster_offset(number), None, what);
            }
        }
        Ok(free)
    }

    /// Returns true if cluster `number` is taken.
    pub(super) fn is_taken(&self, number: u64) -> bool {
        self.used[to_usize(number / 64)] >> (number % 64) & 1 == 1
    }
}
