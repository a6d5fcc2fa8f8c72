//! Chunks that were read in part: who reads a file in steps shorter than its chunks fetches and
//! proves each chunk once.

use freestone_core::{ChunkSource, Id, Result, lock};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// A chunk, or the place where it will be: who finds it empty fetches it, and others that want
/// the same chunk wait for him.
type ChunkSlot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

/// Chunks, those that were not used for longest given up first.
pub(crate) struct ChunkCache {
    bytes_max: u64,
    state: Mutex<CacheState>,
    /// Held by who proves a chunk: a few locks for all.
    proving: [Mutex<()>; PROVING_LOCKS],
}

/// More than there are threads.
const PROVING_LOCKS: usize = 64;

#[derive(Default)]
struct CacheState {
    /// With when it was last used, and how long it is.
    slots: HashMap<Id, (u64, u64, ChunkSlot)>,
    by_use: BTreeMap<u64, Id>,
    uses: u64,
    bytes: u64,
}

impl ChunkCache {
    /// An empty cache that keeps at most `bytes_max`. Chunks that are in use come on top: one for
    /// each thread.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
            proving: [const { Mutex::new(()) }; PROVING_LOCKS],
        }
    }

    /// What `find` says of chunk `id`. It is asked whether it knows at once, and only then to find
    /// out, by one thread at a time: others that want the same wait, and know then.
    ///
    /// # Errors
    /// What `find` returns.
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

    /// The chunk `id` of `length` bytes, from `chunks` unless it is here.
    ///
    /// # Errors
    /// What `chunks` returns; other bytes came than were to come.
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

    /// Takes out what could not be fetched, so that the next one tries anew.
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
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let (cache, chunks) = (ChunkCache::new(30), Counting::default());
        for n in [1, 2, 3, 1, 4, 1, 2] {
            assert_eq!(*cache.chunk(&chunks, &id(n), 10).unwrap(), [id(n).0[0]; 10]);
            assert!(lock(&cache.state).bytes <= 30);
        }
        // 2 went when 4 came, since 1 had been used again.
        assert_eq!(chunks.fetched.load(Ordering::SeqCst), 5);
        // One that is longer than the cache is given, not kept.
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
