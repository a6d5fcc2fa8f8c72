//! Runs: which bytes of a pack are kept here, and the file that remembers it.
//!
//! ```text
//! file:  magic "FSRUNS01" | pack id 32 | pack length varint | extensions
//!        run count | (gap since the run before, length)…
//!        stamp count | (milliseconds since 1970 of the last use of each MiB)…
//!        check 32: plain BLAKE3 of all before
//! ```
//! A run is made of ranges that were proven, and is in the file only after its bytes were synced.
//! The file is a hint all the same: every read of a range proves it again, so one that says too
//! much costs a request, and one that is lost costs the fetching of what it listed.

use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result, digest};
use std::collections::BTreeMap;
use std::ops::Range;

const MAGIC: [u8; 8] = *b"FSRUNS01";
const CHECK_BYTES: usize = 32;
/// Bytes whose last use is remembered together.
pub const STAMPED_BYTES: u64 = 1 << 20;

/// A set of byte ranges, none of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// Returns true if all of the range is in the set.
    pub fn contains(&self, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        let before = self.0.range(..=range.start).next_back();
        before.is_some_and(|(_, end)| *end >= range.end)
    }

    /// Adds a range.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((first, last)) = self.0.range(..start).next_back()
            && *last >= start
        {
            (start, end) = (*first, end.max(*last));
        }
        while let Some((first, last)) = self.0.range(start..=end).next().map(|(a, b)| (*a, *b)) {
            end = end.max(last);
            self.0.remove(&first);
        }
        self.0.insert(start, end);
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        let touched: Vec<(u64, u64)> = self
            .0
            .range(..range.end)
            .rev()
            .map(|(a, b)| (*a, *b))
            .take_while(|(_, end)| *end > range.start)
            .collect();
        for (start, end) in touched {
            self.0.remove(&start);
            if start < range.start {
                self.0.insert(start, range.start);
            }
            if end > range.end {
                self.0.insert(range.end, end);
            }
        }
    }

    /// Adds all ranges of another set.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|range| self.add(range));
    }

    /// Takes out all ranges of another set.
    pub fn remove_all(&mut self, other: &Self) {
        other.iter().for_each(|range| self.remove(&range));
    }

    /// Returns what of `range` is in the set.
    pub fn within(&self, range: &Range<u64>) -> Self {
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        if range.is_empty() {
            return Self(found);
        }
        for (start, end) in self.0.range(..range.end).rev() {
            if *end <= range.start {
                break;
            }
            found.insert((*start).max(range.start), (*end).min(range.end));
        }
        Self(found)
    }

    /// Returns the ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// Returns the number of bytes that are in the set.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns the end of the last range.
    pub fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, end)| *end)
    }

    /// Returns true if nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the file beside a sparse pack says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsFile {
    /// The length of the pack, 0 where it is not known.
    pub length: u64,
    /// What of it is here.
    pub runs: Runs,
    /// When each MiB of it was last used: milliseconds since 1970, 0 for never.
    pub stamps: Vec<u64>,
}

impl RunsFile {
    /// Notes the use of a range at `now`.
    pub fn stamp(&mut self, range: &Range<u64>, now: u64) {
        let (first, end) = (range.start / STAMPED_BYTES, range.end.div_ceil(STAMPED_BYTES));
        // A pack is far shorter than what does not fit.
        let (first, end) = (usize::try_from(first).unwrap_or(0), usize::try_from(end).unwrap_or(0));
        if self.stamps.len() < end {
            self.stamps.resize(end, 0);
        }
        self.stamps
            .get_mut(first..end)
            .into_iter()
            .flatten()
            .for_each(|stamp| *stamp = now.max(*stamp));
    }

    /// Returns the bytes of the file.
    pub fn encode(&self, pack: &Id) -> Vec<u8> {
        let mut out = Writer::default();
        out.raw(&MAGIC);
        out.id(pack);
        out.varint(self.length);
        out.string(&[]);
        out.varint(self.runs.0.len() as u64);
        let mut before = 0;
        for range in self.runs.iter() {
            out.varint(range.start - before);
            out.varint(range.end - range.start);
            before = range.end;
        }
        out.varint(self.stamps.len() as u64);
        self.stamps.iter().for_each(|stamp| out.varint(*stamp));
        let check = digest::plain(out.bytes());
        out.id(&check);
        out.into_bytes()
    }

    /// Reads what [`Self::encode`] writes.
    ///
    /// # Errors
    /// The bytes are damaged, or another pack's.
    pub fn decode(pack: &Id, bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("a file of runs is damaged");
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or_else(damaged)?;
        if digest::plain(body).0 != *check {
            return Err(damaged());
        }
        let mut input = Reader::new(body);
        if input.raw(MAGIC.len())? != MAGIC || input.id()? != *pack {
            return Err(damaged());
        }
        let mut file = Self { length: input.varint()?, ..Self::default() };
        input.extensions()?;
        let mut end = 0u64;
        for _ in 0..input.varint()? {
            let start = end.checked_add(input.varint()?).ok_or_else(damaged)?;
            end = start.checked_add(input.varint()?).ok_or_else(damaged)?;
            file.runs.add(start..end);
        }
        for _ in 0..input.varint()? {
            file.stamps.push(input.varint()?);
        }
        input.finish()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_a_set_of_bytes(
            steps in prop::collection::vec((any::<bool>(), 0..200u64, 0..40u64), 0..40),
            asked in (0..220u64, 0..40u64)
        ) {
            let (mut runs, mut model) = (Runs::default(), [false; 260]);
            for (add, start, length) in steps {
                let range = start..start + length;
                if add { runs.add(range.clone()) } else { runs.remove(&range) }
                range.for_each(|at| model[usize::try_from(at).unwrap()] = add);
            }
            let bytes = model.iter().filter(|here| **here).count();
            prop_assert_eq!(runs.bytes(), bytes as u64);
            let asked = asked.0..asked.0 + asked.1;
            let here = |at: u64| model[usize::try_from(at).unwrap()];
            prop_assert_eq!(runs.contains(&asked), asked.clone().all(here));
            let within = runs.within(&asked);
            prop_assert_eq!(within.bytes(), asked.clone().filter(|at| here(*at)).count() as u64);
            prop_assert!(within.iter().all(|range| range.start < range.end));
            let ranges: Vec<_> = runs.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));

            let pack = Id([3; 32]);
            let mut file = RunsFile { length: 7, runs, stamps: Vec::new() };
            file.stamp(&asked, 99);
            let bytes = file.encode(&pack);
            prop_assert_eq!(&RunsFile::decode(&pack, &bytes).unwrap(), &file);
            prop_assert!(RunsFile::decode(&Id([4; 32]), &bytes).is_err());
            let mut damaged = bytes.clone();
            let at = usize::try_from(asked.start).unwrap() % damaged.len();
            damaged[at] ^= 1;
            prop_assert!(RunsFile::decode(&pack, &damaged).is_err());
            prop_assert!(RunsFile::decode(&pack, &bytes[..at]).is_err());
        }
    }
}
