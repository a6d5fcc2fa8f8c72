//! Contents that were written, as possible bases of others.

use super::similar::{Similar, Sketch};
use freestone_core::Id;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Contents with the same key that are remembered.
const SAME_KEY_MAX: usize = 3;

/// Contents by what they have in common with others: shingles, and a key such as a file extension.
pub struct Likeness<K> {
    similar: Similar,
    /// The last contents with each key, oldest first.
    by_key: HashMap<K, VecDeque<Id>>,
    contents_max: usize,
}

impl<K: Eq + Hash> Likeness<K> {
    /// Returns an empty collection. When it has `contents_max` contents, about 600 bytes each, it
    /// forgets all of them.
    pub fn new(contents_max: usize) -> Self {
        Self { similar: Similar::default(), by_key: HashMap::new(), contents_max }
    }

    /// Returns up to `count` contents that have most shingles in common with a content, the best
    /// first.
    pub fn similar(&self, sketch: &Sketch, count: usize) -> Vec<Id> {
        self.similar.best(sketch, count)
    }

    /// Returns the last contents that were added with `key`, oldest first.
    pub fn with_key(&self, key: &K) -> impl Iterator<Item = &Id> {
        self.by_key.get(key).into_iter().flatten()
    }

    /// Adds a content that was written.
    pub fn add(&mut self, id: Id, sketch: &Sketch, key: K) {
        if self.similar.count() >= self.contents_max {
            self.similar = Similar::default();
            self.by_key.clear();
        }
        self.similar.add(id, sketch);
        let last = self.by_key.entry(key).or_default();
        last.push_back(id);
        if last.len() > SAME_KEY_MAX {
            last.pop_front();
        }
    }
}
