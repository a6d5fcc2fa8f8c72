//! A cache of chunks that were read in part, so that a reader whose reads are shorter than the
//! chunks fetches and proves each chunk once.

use freestone_core::{ChunkSource, Id, Result, lock};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// A chunk, or room for one. The thread that finds it empty fetches the chunk while it holds the
/// lock, and other threads that want the same chunk wait.
type ChunkSlot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

/// A cache of chunks that evicts the least recently used one first.
pub(crate) struct ChunkCache {
    bytes_max: u64,
    state: Mutex<CacheState>,
    /// Held by the thread that proves a chunk; several chunks share one lock.
    proving: [Mutex<()>; PROVING_LOCKS],
}

/// The number of locks for proving: more than there are threads.
const PROVING_LOCKS: usize = 64;

#[derive(Default)]
struct CacheState {
    /// Each with the number of its last use, and the chunk's length in bytes.
    slots: HashMap<Id, (u64, u64, ChunkSlot)>,
    by_use: BTreeMap<u64, Id>,
    /// The number of uses so far.
    uses: u64,
    /// The length of all chunks together.
    bytes: u64,
}

impl ChunkCache {
    /// Creates an empty cache of at most `bytes_max`. Chunks in use are not counted: at most one
    /// for each thread.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
            proving: [const { Mutex::new(()) }; PROVING_LOCKS],
        }
    }

    /// Returns what `find` returns for chunk `id`. It is first called with false, to return what it
    /// knows; then, if that is nothing, with true, to find out. Only one thread at a time finds
    /// out: others that want the same chunk wait.
    ///
    /// # Errors
    /// The errors of `find`.
    pub(crate) fn one_at_a_time<T>(
        &self,
        id: &Id,
        find: impl Fn(bool) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        if let Some(found) = find(false)? {
            return Ok(Some(found));
        }
        let _proving = lock(&self.proving[usize::from(id.0[0]) % PROVING_LOCKS]);
        find(true)
    }

    /// Returns chunk `id` of `length` bytes from the cache, or else from `chunks`.
    ///
    /// # Errors
    /// The chunk cannot be read, or is not what its id says.
    pub(crate) fn chunk(
        &self,
        chunks: &dyn ChunkSource,
        id: &Id,
        length: u64,
    ) -> Result<Arc<Vec<u8>>> {
        let slot = lock(&self.state).slot(*id, length, self.bytes_max);
        let mut held = lock(&slot);
        if let Some(bytes) = held.as_ref().filter(|bytes| bytes.len() as u64 == length) {
            return Ok(bytes.clone());
        }
        let mut bytes = Vec::new();
        if let Err(error) = chunks.chunk_in(id, length, &mut bytes) {
            lock(&self.state).forget(id, &slot);
            return Err(error);
        }
        let bytes = Arc::new(bytes);
        *held = Some(bytes.clone());
        Ok(bytes)
    }
}

impl CacheState {
    /// Returns the slot of chunk `id`, and evicts others if there is no room for a new one.
    fn slot(&mut self, id: Id, length: u64, bytes_max: u64) -> ChunkSlot {
        self.uses += 1;
        let uses = self.uses;
        if let Some((used, _, slot)) = self.slots.get_mut(&id) {
            self.by_use.remove(used);
            *used = uses;
            self.by_use.insert(uses, id);
            return slot.clone();
        }
        let slot = ChunkSlot::default();
        self.slots.insert(id, (uses, length, slot.clone()));
        self.by_use.insert(uses, id);
        self.bytes += length;
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some((_, length, _)) = self.slots.remove(&oldest) {
                self.bytes -= length;
            }
        }
        slot
    }

    /// Removes a slot whose chunk could not be fetched, so that the next reader tries again.
    fn forget(&mut self, id: &Id, slot: &ChunkSlot) {
        if self.slots.get(id).is_some_and(|(_, _, held)| Arc::ptr_eq(held, slot))
            && let Some((used, length, _)) = self.slots.remove(id)
        {
            self.by_use.remove(&used);
            self.bytes -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::{Error, digest};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counting {
        fetched: AtomicUsize,
        fails: bool,
    }

    impl ChunkSource for Counting {
        fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            if self.fails {
                return Err(Error::corrupt("made to fail"));
            }
            out.fill(id.0[0]);
            Ok(())
        }
    }

    fn id(n: u8) -> Id {
        digest::plain(&[n])
    }

    #[test]
    fn the_cache_is_bounded_and_evicts_the_least_recently_used() {
        let (cache, chunks) = (ChunkCache::new(30), Counting::default());
        for n in [1, 2, 3, 1, 4, 1, 2] {
            assert_eq!(*cache.chunk(&chunks, &id(n), 10).unwrap(), [id(n).0[0]; 10]);
            assert!(lock(&cache.state).bytes <= 30);
        }
        // 2 was evicted for 4, since 1 had been used again.
        assert_eq!(chunks.fetched.load(Ordering::SeqCst), 5);
        // A chunk that is longer than the cache is returned, but not kept.
        assert_eq!(cache.chunk(&chunks, &id(9), 31).unwrap().len(), 31);
        assert_eq!(lock(&cache.state).bytes, 0);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let (cache, fails) = (ChunkCache::new(30), Counting { fails: true, ..Counting::default() });
        assert!(cache.chunk(&fails, &id(1), 10).is_err());
        assert_eq!(lock(&cache.state).bytes, 0);
        assert!(cache.chunk(&Counting::default(), &id(1), 10).is_ok());
    }

    #[test]
    fn many_that_want_one_chunk_fetch_it_once() {
        let (cache, chunks) = (ChunkCache::new(1 << 20), Counting::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| cache.chunk(&chunks, &id(7), 1000).unwrap());
            }
        });
        assert_eq!(chunks.fetched.load(Ordering::SeqCst), 1);
    }
}
