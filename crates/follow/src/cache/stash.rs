//! The stash: bytes that came from the upstream and are not proven yet. In memory, bounded; what
//! is crowded out is fetched again if it is asked for.

use freestone_core::Id;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are held at most; more than a window of a fetch and what else is read meanwhile.
const BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct Stash {
    packs: HashMap<Id, BTreeMap<u64, Arc<Vec<u8>>>>,
    /// What came first is first; may name what is gone.
    order: VecDeque<(Id, u64)>,
    bytes: usize,
}

impl Stash {
    /// Holds `bytes`, which stand at `offset` of `pack`.
    pub(crate) fn put(&mut self, pack: &Id, offset: u64, bytes: Vec<u8>) {
        self.drop_at(pack, offset);
        self.bytes += bytes.len();
        self.packs.entry(*pack).or_default().insert(offset, Arc::new(bytes));
        self.order.push_back((*pack, offset));
        while self.bytes > BYTES_MAX
            && let Some((pack, offset)) = self.order.pop_front()
        {
            self.drop_at(&pack, offset);
        }
        // What was dropped by name is still in the order.
        if self.order.len() > 1 << 16 {
            let packs = &self.packs;
            self.order
                .retain(|(pack, at)| packs.get(pack).is_some_and(|held| held.contains_key(at)));
        }
    }

    /// Returns the bytes that hold all of `range`, and where they start.
    pub(crate) fn find(&self, pack: &Id, range: &Range<u64>) -> Option<(u64, Arc<Vec<u8>>)> {
        // Ranges that are asked for one by one may lie in one another; few do.
        let held = self.packs.get(pack)?.range(..=range.start).rev().take(8);
        held.map(|(at, bytes)| (*at, bytes.clone()))
            .find(|(at, bytes)| at.saturating_add(bytes.len() as u64) >= range.end)
    }

    /// Lets go what was put at `offset`.
    pub(crate) fn drop_at(&mut self, pack: &Id, offset: u64) {
        if let Some(held) = self.packs.get_mut(pack) {
            if let Some(bytes) = held.remove(&offset) {
                self.bytes -= bytes.len();
            }
            if held.is_empty() {
                self.packs.remove(pack);
            }
        }
    }

    /// Lets go all that holds a part of `range`.
    pub(crate) fn drop_touching(&mut self, pack: &Id, range: &Range<u64>) {
        let Some(held) = self.packs.get(pack) else { return };
        let touching: Vec<u64> = held
            .range(..range.end)
            .filter(|(at, bytes)| **at + bytes.len() as u64 > range.start)
            .map(|(at, _)| *at)
            .collect();
        touching.iter().for_each(|at| self.drop_at(pack, *at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_goes_first_and_no_more_is_held_than_allowed() {
        let (mut stash, pack) = (Stash::default(), Id([1; 32]));
        for at in 0..10u64 {
            stash.put(&pack, at << 23, vec![u8::try_from(at).unwrap(); 8 << 20]);
        }
        assert!(stash.bytes <= BYTES_MAX);
        assert!(stash.find(&pack, &(0..1)).is_none());
        let inner = (9 << 23) + 5..(9 << 23) + 9;
        let (at, bytes) = stash.find(&pack, &inner).unwrap();
        assert_eq!((at, bytes[5]), (9 << 23, 9));
        assert!(stash.find(&pack, &(inner.start..10 << 23)).is_some());
        assert!(stash.find(&pack, &(inner.start..(10 << 23) + 1)).is_none());
        stash.drop_touching(&pack, &inner);
        assert!(stash.find(&pack, &inner).is_none());
        for at in 0..10 {
            stash.drop_at(&pack, at << 23);
        }
        assert_eq!((stash.bytes, stash.packs.len()), (0, 0));
    }
}
