//! A cache of bounded weight, for what can always be made again.
//!
//! It forgets in the order of arrival, but what was asked for since its last turn gets another
//! one (*second chance*, F. J. Corbató, 1968). So a look-up changes nothing but a flag, and
//! reading an image once from end to end does not push out what is asked for again and again.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) struct Cache<K, V> {
    state: RwLock<CacheState<K, V>>,
    weight_max: u64,
}

struct CacheState<K, V> {
    kept: HashMap<K, CacheEntry<V>>,
    /// All keys of `kept`, the next to be looked at in front.
    turns: VecDeque<K>,
    weight: u64,
}

struct CacheEntry<V> {
    value: Arc<V>,
    weight: u64,
    was_used: AtomicBool,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    pub fn new(weight_max: u64) -> Self {
        let state = CacheState { kept: HashMap::new(), turns: VecDeque::new(), weight: 0 };
        Self { state: RwLock::new(state), weight_max }
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let kept = state.kept.get(key)?;
        if !kept.was_used.load(Ordering::Relaxed) {
            kept.was_used.store(true, Ordering::Relaxed);
        }
        Some(kept.value.clone())
    }

    /// Keeps `value`, unless it alone is heavier than all may be together.
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

    /// The weight of what is kept.
    pub fn weight(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_outlives_what_only_passes_through() {
        let cache = Cache::new(10);
        cache.insert(0, Arc::new(0), 1);
        for passing in 1..100 {
            assert_eq!(cache.get(&0).as_deref(), Some(&0));
            cache.insert(passing, Arc::new(passing), 3);
        }
        assert!(cache.get(&1).is_none());
        cache.insert(200, Arc::new(200), 11);
        assert!(cache.get(&200).is_none(), "it is heavier than all may be");
    }

    proptest! {
        #[test]
        fn the_weight_is_that_of_what_is_kept_and_bounded(
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
