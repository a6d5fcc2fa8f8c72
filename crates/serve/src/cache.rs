//! A cache of bounded weight, for values that can always be computed again.
//!
//! It evicts in the order of insertion, but a value that was looked up since its last turn gets
//! another one (*second chance*, F. J. Corbató, 1968). So a look-up changes only a flag, and one
//! sequential read of an image does not evict values that are used repeatedly.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A cache of values whose weights together stay at most `weight_max`.
pub(crate) struct Cache<K, V> {
    state: RwLock<CacheState<K, V>>,
    weight_max: u64,
}

struct CacheState<K, V> {
    kept: HashMap<K, CacheEntry<V>>,
    /// All keys of `kept`; the front one is considered next for eviction.
    turns: VecDeque<K>,
    /// The weights of all values together.
    weight: u64,
}

struct CacheEntry<V> {
    value: Arc<V>,
    weight: u64,
    /// Whether the value was looked up since its last turn.
    was_used: AtomicBool,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// Creates an empty cache.
    pub fn new(weight_max: u64) -> Self {
        let state = CacheState { kept: HashMap::new(), turns: VecDeque::new(), weight: 0 };
        Self { state: RwLock::new(state), weight_max }
    }

    /// Returns the value of `key`, if it is cached.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let kept = state.kept.get(key)?;
        if !kept.was_used.load(Ordering::Relaxed) {
            kept.was_used.store(true, Ordering::Relaxed);
        }
        Some(kept.value.clone())
    }

    /// Caches `value`, and evicts others if they are too heavy together. A value that is heavier
    /// than the whole cache may be is not cached.
    pub fn insert(&self, key: K, value: Arc<V>, weight: u64) {
        if weight > self.weight_max {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let kept = CacheEntry { value, weight, was_used: AtomicBool::new(false) };
        match state.kept.insert(key, kept) {
            Some(before) => state.weight -= before.weight,
            None => state.turns.push_back(key),
        }
        state.weight += weight;
        while state.weight > self.weight_max {
            let Some(oldest) = state.turns.pop_front() else { break };
            let Some(kept) = state.kept.get_mut(&oldest) else { continue };
            if std::mem::take(kept.was_used.get_mut()) {
                state.turns.push_back(oldest);
            } else {
                state.weight -= kept.weight;
                state.kept.remove(&oldest);
            }
        }
    }

    /// Returns the weight that all values together may have.
    pub fn weight_max(&self) -> u64 {
        self.weight_max
    }

    /// Returns the weights of all cached values together.
    pub fn weight(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_that_is_used_outlives_those_that_are_used_once() {
        let cache = Cache::new(10);
        cache.insert(0, Arc::new(0), 1);
        for passing in 1..100 {
            assert_eq!(cache.get(&0).as_deref(), Some(&0));
            cache.insert(passing, Arc::new(passing), 3);
        }
        assert!(cache.get(&1).is_none());
        cache.insert(200, Arc::new(200), 11);
        assert!(cache.get(&200).is_none(), "it is heavier than the whole cache may be");
    }

    proptest! {
        #[test]
        fn the_weight_is_the_sum_of_the_values_and_bounded(
            acts in prop::collection::vec((0..20u32, 0..30u64, any::<bool>()), 0..200),
        ) {
            let cache = Cache::new(100);
            for (key, weight, asks) in acts {
                if asks {
                    cache.get(&key);
                } else {
                    cache.insert(key, Arc::new(key), weight);
                }
                let state = cache.state.read().unwrap();
                let sum: u64 = state.kept.values().map(|kept| kept.weight).sum();
                prop_assert_eq!(sum, state.weight);
                prop_assert!(sum <= 100);
                prop_assert_eq!(state.kept.len(), state.turns.len());
            }
        }
    }
}
