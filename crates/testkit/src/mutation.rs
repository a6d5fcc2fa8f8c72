//! Bytes that damage and malice have changed.

use crate::noise;
use freestone_core::wire::Writer;

/// Numbers that follow from a seed.
pub struct Dice(pub u64);

impl Dice {
    /// Returns a number of 64 random bits.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        noise(8, self.0).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Returns a random byte.
    pub fn byte(&mut self) -> u8 {
        let [byte, ..] = self.any().to_le_bytes();
        byte
    }

    /// Returns a number below `bound`, or 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound.max(1)
    }

    /// Returns an index below `bound`, or 0 if that is 0.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// Returns a number of any magnitude.
    pub fn magnitude(&mut self) -> u64 {
        let shift = self.below(64);
        self.any() >> shift
    }
}

/// Changes bytes in a few of the ways that damage and malice do.
pub fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.index(bytes.len() + 1);
        let end = (at + dice.index(12)).min(bytes.len());
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                // A varint that claims more than there can be.
                let mut out = Writer::default();
                out.varint(dice.magnitude());
                bytes.splice(at..end, out.into_bytes());
            }
            4 => bytes.insert(at, dice.byte()),
            5 => {
                let number = dice.magnitude().to_le_bytes();
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
}
