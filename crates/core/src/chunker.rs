//! Cutting a content above [`CONTENT_WHOLE_BYTES_MAX`](crate::limits::CONTENT_WHOLE_BYTES_MAX)
//! into chunks, where its own bytes say so.
//!
//! The cuts are those of FastCDC (W. Xia et al., *The Design of Fast Content-Defined Chunking for
//! Data Deduplication Based Storage Systems*, 2020) with normalisation level 1, as the `fastcdc`
//! crate's `v2020` module makes them; `docs/format.md` lists the parameters and a golden vector
//! freezes them. Maximal runs of at least 16 all-zero units of 4096 bytes, at multiples of 4096,
//! are not cut but counted, and what lies between two such runs is cut by itself.

use crate::limits::{
    BLOCK_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MEAN, CHUNK_BYTES_MIN, ZERO_RUN_UNITS_MIN,
};
use fastcdc::v2020::{FastCDC, Normalization};

#[allow(clippy::cast_possible_truncation, reason = "it is 4096")]
const UNIT: usize = BLOCK_BYTES as usize;
const ZERO_UNIT: [u8; UNIT] = [0; UNIT];

/// A part of a content, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum ContentPiece<'a> {
    /// A chunk: at most [`CHUNK_BYTES_MAX`] bytes.
    Chunk(&'a [u8]),
    /// So many zero bytes, a multiple of 4096.
    Zeros(u64),
}

/// Cuts one content, fed in any portions. Holds at most one chunk and one portion.
#[derive(Default)]
pub struct Chunker {
    /// A unit that is not full yet.
    partial: Vec<u8>,
    /// Zero units seen and not yet given to the stretch or emitted.
    zero_units: u64,
    /// What was not cut yet; its bytes before `start` are cut.
    stretch: Vec<u8>,
    start: usize,
}

impl Chunker {
    /// Takes the next bytes of the content, and gives `each` the pieces that are complete.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn push<E>(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(ContentPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(UNIT - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < UNIT {
                return Ok(());
            }
            let unit = std::mem::take(&mut self.partial);
            self.unit(&unit, each)?;
        }
        let units = bytes.chunks_exact(UNIT);
        self.partial.extend_from_slice(units.remainder());
        for unit in units {
            self.unit(unit, each)?;
        }
        Ok(())
    }

    /// Gives `each` the pieces that are left.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn finish<E>(
        mut self,
        each: &mut impl FnMut(ContentPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // A last part of a unit is never a zero unit, whatever it holds.
        let last = std::mem::take(&mut self.partial);
        if last.is_empty() && self.zero_units >= ZERO_RUN_UNITS_MIN {
            self.cut_all(each)?;
            return each(ContentPiece::Zeros(self.zero_units * BLOCK_BYTES));
        }
        self.settle_zeros(each)?;
        self.stretch.extend_from_slice(&last);
        self.cut_all(each)
    }

    fn unit<E>(
        &mut self,
        unit: &[u8],
        each: &mut impl FnMut(ContentPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if unit == ZERO_UNIT {
            self.zero_units += 1;
            return Ok(());
        }
        self.settle_zeros(each)?;
        self.stretch.extend_from_slice(unit);
        while self.stretch.len() - self.start >= CHUNK_BYTES_MAX {
            self.cut_one(each)?;
        }
        Ok(())
    }

    /// Zero units are over: emits them if they are enough, else they are part of the stretch.
    fn settle_zeros<E>(
        &mut self,
        each: &mut impl FnMut(ContentPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let units = std::mem::take(&mut self.zero_units);
        if units >= ZERO_RUN_UNITS_MIN {
            self.cut_all(each)?;
            return each(ContentPiece::Zeros(units * BLOCK_BYTES));
        }
        for _ in 0..units {
            self.stretch.extend_from_slice(&ZERO_UNIT);
        }
        Ok(())
    }

    fn cut_all<E>(
        &mut self,
        each: &mut impl FnMut(ContentPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.start < self.stretch.len() {
            self.cut_one(each)?;
        }
        self.stretch.clear();
        self.start = 0;
        Ok(())
    }

    fn cut_one<E>(
        &mut self,
        each: &mut impl FnMut(ContentPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let rest = &self.stretch[self.start..];
        let rest = &rest[..rest.len().min(CHUNK_BYTES_MAX)];
        let cutter = FastCDC::with_level(
            rest,
            CHUNK_BYTES_MIN,
            CHUNK_BYTES_MEAN,
            CHUNK_BYTES_MAX,
            Normalization::Level1,
        );
        let (_, end) = cutter.cut(0, rest.len());
        each(ContentPiece::Chunk(&rest[..end]))?;
        self.start += end;
        // Moving the rest to the front now and then costs less than a ring.
        if self.start >= CHUNK_BYTES_MAX {
            self.stretch.drain(..self.start);
            self.start = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn cut(content: &[u8], portion: usize) -> Vec<(bool, Vec<u8>)> {
        let mut pieces = Vec::new();
        let mut each = |piece: ContentPiece<'_>| -> Result<(), Infallible> {
            pieces.push(match piece {
                ContentPiece::Chunk(bytes) => (true, bytes.to_vec()),
                ContentPiece::Zeros(length) => (false, vec![0; usize::try_from(length).unwrap()]),
            });
            Ok(())
        };
        let mut chunker = Chunker::default();
        for portion in content.chunks(portion) {
            chunker.push(portion, &mut each).unwrap();
        }
        chunker.finish(&mut each).unwrap();
        pieces
    }

    /// Evenly spread bytes, the same every time.
    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 56) as u8
        })
        .take(length)
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pieces_join_to_the_content_whatever_the_portions(
            parts in prop::collection::vec((any::<bool>(), 0..2_000_000usize), 0..6),
            portion in 1..300_000usize,
        ) {
            let mut content = Vec::new();
            for (index, (zeros, length)) in parts.into_iter().enumerate() {
                if zeros {
                    content.resize(content.len() + length, 0);
                } else {
                    content.extend(noise(length, index as u64 + 1));
                }
            }
            let pieces = cut(&content, portion.max(content.len() / 500));
            prop_assert_eq!(&pieces, &cut(&content, 1 << 20));
            let joined: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            prop_assert!(joined == content);
            let mut offset = 0;
            for (is_chunk, bytes) in &pieces {
                prop_assert!(!bytes.is_empty() && (!is_chunk || bytes.len() <= CHUNK_BYTES_MAX));
                if !is_chunk {
                    prop_assert!(offset % UNIT == 0 && bytes.len() >= 16 * UNIT);
                }
                offset += bytes.len();
            }
        }
    }

    #[test]
    fn zero_runs_are_found_at_their_exact_bounds() {
        let units = |runs: &[(u8, usize)], tail: usize| -> Vec<u8> {
            let mut content: Vec<u8> =
                runs.iter().flat_map(|(byte, count)| vec![*byte; count * UNIT]).collect();
            content.resize(content.len() + tail, 0);
            content
        };
        let kinds = |content: &[u8]| -> Vec<(bool, usize)> {
            cut(content, 10_000).iter().map(|(chunk, bytes)| (*chunk, bytes.len())).collect()
        };
        assert_eq!(kinds(&units(&[(1, 1), (0, 15), (1, 1)], 0)), [(true, 17 * UNIT)]);
        assert_eq!(
            kinds(&units(&[(1, 1), (0, 16), (1, 1)], 0)),
            [(true, UNIT), (false, 16 * UNIT), (true, UNIT)]
        );
        assert_eq!(kinds(&units(&[(0, 16)], 0)), [(false, 16 * UNIT)]);
        assert_eq!(kinds(&units(&[(0, 16)], 5)), [(false, 16 * UNIT), (true, 5)]);
        assert_eq!(kinds(&units(&[(0, 15)], 5)), [(true, 15 * UNIT + 5)]);
        assert_eq!(kinds(&[]), []);
    }

    #[test]
    fn cuts_of_version_1_are_frozen() {
        let lengths: Vec<usize> =
            cut(&noise(12_000_000, 42), 1 << 20).iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths.iter().sum::<usize>(), 12_000_000);
        assert_eq!(lengths, GOLDEN_CUTS);
    }

    const GOLDEN_CUTS: [usize; 10] =
        [1145546, 1212213, 2480870, 745535, 2383434, 1143804, 1176538, 505950, 1162145, 43965];
}
