//! The length of a run of entries in a tar image, in a form that can be added up (a monoid).
//!
//! The length of an entry depends on where it starts, since large contents are aligned to 4096
//! bytes. But two numbers, in units of 512 bytes, describe this dependency for a run of any number
//! of entries, and the numbers of two neighbouring runs can be combined. So every node of the rope
//! carries the measure of the entries below it, and an image offset is found by descending.

use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// Units in a 4096-byte block.
const ALIGN: u64 = 8;

/// The length of a run of entries as a function of where it starts; units of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The same length wherever the run starts.
    Rigid(u64),
    /// `Reset(p, q)`: from start s, p units, then filler up to a multiple of 8, then q units.
    Reset(u64, u64),
    /// An entry of the run cannot be expressed in tar.
    Inexpressible,
}

/// Returns the number of units from `at` to the next multiple of 8.
pub fn filler(at: u64) -> u64 {
    (ALIGN - at % ALIGN) % ALIGN
}

impl Measure {
    /// The measure of nothing.
    pub const EMPTY: Self = Self::Rigid(0);

    /// Returns the measure of this run followed by `next`. Sums of 2^64 or more are inexpressible.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        use Measure::{Inexpressible, Reset, Rigid};
        let combined = match (self, next) {
            (Inexpressible, _) | (_, Inexpressible) => None,
            (Rigid(a), Rigid(b)) => a.checked_add(b).map(Rigid),
            (Rigid(n), Reset(p, q)) => n.checked_add(p).map(|p| Reset(p, q)),
            (Reset(p, q), Rigid(n)) => q.checked_add(n).map(|q| Reset(p, q)),
            (Reset(p, q), Reset(p2, q2)) => q
                .checked_add(p2)
                .and_then(|at| at.checked_add(filler(at)))
                .and_then(|at| at.checked_add(q2))
                .map(|q| Reset(p, q)),
        };
        combined.unwrap_or(Inexpressible)
    }

    /// Returns the unit at which the run ends if it starts at `start`; `None` if the run is
    /// inexpressible or the end is 2^64 or more.
    pub fn end(self, start: u64) -> Option<u64> {
        match self {
            Self::Rigid(n) => start.checked_add(n),
            Self::Reset(p, q) => {
                let at = start.checked_add(p)?;
                at.checked_add(filler(at))?.checked_add(q)
            }
            Self::Inexpressible => None,
        }
    }

    /// Writes a kind byte (0 rigid, 1 reset, 2 inexpressible) and the numbers as varints.
    pub fn encode(self, out: &mut Writer) {
        match self {
            Self::Rigid(n) => {
                out.u8(0);
                out.varint(n);
            }
            Self::Reset(p, q) => {
                out.u8(1);
                out.varint(p);
                out.varint(q);
            }
            Self::Inexpressible => out.u8(2),
        }
    }

    /// Reads a measure in the encoding of [`Self::encode`].
    ///
    /// # Errors
    /// The input ends too early, or is not a measure.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self> {
        match input.u8()? {
            0 => Ok(Self::Rigid(input.varint()?)),
            1 => Ok(Self::Reset(input.varint()?, input.varint()?)),
            2 => Ok(Self::Inexpressible),
            kind => Err(Error::corrupt(format!("measure of unknown kind {kind}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measure() -> impl Strategy<Value = Measure> {
        prop_oneof![
            (0..100u64).prop_map(Measure::Rigid),
            (0..100u64, 0..100u64).prop_map(|(p, q)| Measure::Reset(p, q)),
            Just(Measure::Inexpressible),
            Just(Measure::Rigid(u64::MAX)),
        ]
    }

    proptest! {
        #[test]
        fn combining_equals_laying_out_one_after_the_other(
            a in measure(), b in measure(), start in 0..64u64
        ) {
            let one_by_one = a.end(start).and_then(|at| b.end(at));
            if let Some(end) = one_by_one {
                prop_assert_eq!(a.then(b).end(start), Some(end));
            }
        }

        #[test]
        fn combining_is_associative(a in measure(), b in measure(), c in measure()) {
            prop_assert_eq!(a.then(b).then(c), a.then(b.then(c)));
            prop_assert_eq!(Measure::EMPTY.then(a), a);
            prop_assert_eq!(a.then(Measure::EMPTY), a);
        }

        #[test]
        fn encoding_round_trips(a in measure()) {
            let mut out = Writer::default();
            a.encode(&mut out);
            let mut input = Reader::new(out.bytes());
            prop_assert_eq!(Measure::decode(&mut input).unwrap(), a);
            prop_assert!(input.is_empty());
        }
    }
}
