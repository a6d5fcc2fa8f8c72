//! The working index in RocksDB.

use freestone_core::item::{Content, FileStamp};
use freestone_core::wire::{Reader, Writer};
use freestone_core::working::{KnownFile, WorkingIndex};
use freestone_core::{Error, Result, digest, threads};
use freestone_format::header::StoreId;
use rocksdb::{BlockBasedOptions, Cache, DB, Options, WriteBatch, WriteOptions};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

const STORE_KEY: &[u8] = b"meta/store";
const VALUE_VERSION: u8 = 1;
/// Entries that are read or written at once.
const BATCH: usize = 2048;
/// More new entries than this are written to a table when the push ends, since replaying them at
/// the next start would take longer.
const REPLAYED_MAX: usize = 512;
/// Two of these are in memory at most: one that is filled, and one that is being written.
const MEMTABLE_BYTES: usize = 8 << 20;
const CACHE_BYTES: usize = 8 << 20;
/// Where less than this is free, the index is not used: what it writes takes up to twice the
/// memory table, and what is pushed comes first.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Where less than this is free, the index is removed, to give its room to what is pushed.
const FREE_BYTES_KEPT: u64 = 32 << 20;

/// The database, if this process has it, and what is to be written to it.
struct Database {
    /// Opens it meanwhile: a walk need not wait for that.
    opening: Option<JoinHandle<Option<DB>>>,
    db: Option<DB>,
    batch: WriteBatch,
    written: usize,
}

/// A position among the entries of one source, which are asked for in order.
struct StatCursor {
    prefix: [u8; 17],
    read: VecDeque<(Vec<u8>, KnownFile)>,
    /// The key to continue at; `None` at the end.
    next: Option<Vec<u8>>,
}

/// The working index in RocksDB.
struct RocksIndex {
    database: Database,
    /// Where the walk is, if the source has a name and this process has the index.
    cursor: Option<StatCursor>,
    closing: Option<JoinHandle<()>>,
}

fn prefix(source: &[u8]) -> [u8; 17] {
    let mut prefix = [b's'; 17];
    prefix[1..].copy_from_slice(&digest::plain(source).0[..16]);
    prefix
}

fn key(prefix: &[u8; 17], path: &[u8]) -> Vec<u8> {
    let path = path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte });
    prefix.iter().copied().chain(path).collect()
}

fn encode(known: &KnownFile) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VALUE_VERSION);
    out.u64(known.stamp.device);
    out.u64(known.stamp.inode);
    out.u64(known.stamp.size);
    out.i64(known.stamp.mtime_ns);
    out.i64(known.stamp.ctime_ns);
    out.sha1(&known.sha1);
    out.id(&known.content);
    out.into_bytes()
}

fn decode(value: &[u8]) -> Result<KnownFile> {
    let mut input = Reader::new(value);
    if input.u8()? != VALUE_VERSION {
        return Err(Error::corrupt("an entry of another version"));
    }
    let stamp = FileStamp {
        device: input.u64()?,
        inode: input.u64()?,
        size: input.u64()?,
        mtime_ns: input.i64()?,
        ctime_ns: input.i64()?,
    };
    let known = KnownFile { stamp, sha1: input.sha1()?, content: input.id()? };
    input.finish()?;
    Ok(known)
}

fn named_key(name: &[u8]) -> Vec<u8> {
    [b"n", name].concat()
}

fn decode_named(value: &[u8]) -> Result<Content> {
    let mut input = Reader::new(value);
    if input.u8()? != VALUE_VERSION {
        return Err(Error::corrupt("an entry of another version"));
    }
    let content = Content { size: input.u64()?, sha1: input.sha1()?, id: input.id()? };
    input.finish()?;
    Ok(content)
}

/// The threads that RocksDB starts when a database is opened with [`options`]: for flushes, for
/// compactions, and a timer. It starts no others later.
const LIBRARY_THREADS: usize = 3;

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(64);
    options.set_keep_log_file_num(1);
    options.set_max_log_file_size(64 << 10);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_file_opening_threads(1);
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// Opens the index in the folder `caches`, if no other process has it. What is damaged or belongs
/// to another store is made again, empty. Where the disk is nearly full the index is not used: the
/// files are hashed again instead, and the room is left to what is pushed.
pub fn open(caches: &Path, store: &StoreId) -> Box<dyn WorkingIndex> {
    open_with(caches, store, free_bytes(caches))
}

/// Returns how many bytes are free where the folder `caches` is.
fn free_bytes(caches: &Path) -> u64 {
    // A file system that does not say it has no bound.
    rustix::fs::statvfs(caches).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn open_with(caches: &Path, store: &StoreId, free: u64) -> Box<dyn WorkingIndex> {
    if free < FREE_BYTES_KEPT && caches.join("db").exists() {
        destroy(caches);
    }
    if free < FREE_BYTES_MIN {
        return Box::new(RocksIndex { database: Database::none(), cursor: None, closing: None });
    }
    let (path, store) = (caches.join("db"), *store);
    let mut database = Database::none();
    // RocksDB ends the process where it gets no thread; without the index everything works, too.
    if threads::are_available(LIBRARY_THREADS + 1) {
        let open = move || Database::open_now(&path, &store);
        database.opening = thread::Builder::new().spawn(open).ok();
    }
    Box::new(RocksIndex { database, cursor: None, closing: None })
}

/// Removes the index in the folder `caches`, unless another process has it, or the system provides
/// too few threads for RocksDB.
pub fn destroy(caches: &Path) {
    if threads::are_available(LIBRARY_THREADS + 1) {
        let _ = DB::destroy(&options(), caches.join("db"));
    }
}

impl Database {
    fn none() -> Self {
        Self { opening: None, db: None, batch: WriteBatch::default(), written: 0 }
    }

    fn open_now(path: &PathBuf, store: &StoreId) -> Option<DB> {
        let options = options();
        let db = match DB::open(&options, path) {
            Ok(db) => Some(db),
            Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
                DB::destroy(&options, path).ok().and_then(|()| DB::open(&options, path).ok())
            }
            Err(_) => None,
        };
        db.and_then(|db| match db.get(STORE_KEY) {
            Ok(Some(id)) if id == store.0 => Some(db),
            Ok(None) => db.put(STORE_KEY, store.0).is_ok().then_some(db),
            _ => {
                drop(db);
                DB::destroy(&options, path).ok()?;
                let db = DB::open(&options, path).ok()?;
                db.put(STORE_KEY, store.0).is_ok().then_some(db)
            }
        })
    }

    fn db(&mut self) -> Option<&DB> {
        if let Some(opening) = self.opening.take() {
            self.db = opening.join().ok().flatten();
        }
        self.db.as_ref()
    }

    fn refill(&mut self, cursor: &mut StatCursor) {
        let (Some(db), Some(next)) = (self.db(), cursor.next.take()) else { return };
        let mut entries = db.raw_iterator();
        entries.seek(&next);
        while let Some((key, value)) = entries.item() {
            if !key.starts_with(&cursor.prefix) {
                return;
            }
            if cursor.read.len() >= BATCH {
                cursor.next = Some(key.to_vec());
                return;
            }
            // What does not decode is not known.
            if let Ok(known) = decode(value) {
                cursor.read.push_back((key.to_vec(), known));
            }
            entries.next();
        }
    }

    fn known(&mut self, cursor: &mut StatCursor, path: &[u8]) -> Result<Option<KnownFile>> {
        let wanted = key(&cursor.prefix, path);
        loop {
            if cursor.read.is_empty() {
                self.refill(cursor);
            }
            let Some((found, _)) = cursor.read.front() else { return Ok(None) };
            match (**found).cmp(&wanted[..]) {
                std::cmp::Ordering::Greater => return Ok(None),
                std::cmp::Ordering::Equal => {
                    return Ok(cursor.read.pop_front().map(|(_, known)| known));
                }
                std::cmp::Ordering::Less => {
                    if let Some((gone, _)) = cursor.read.pop_front() {
                        self.batch.delete(gone);
                        self.write_if_full()?;
                    }
                }
            }
        }
    }

    fn remove_gone(&mut self, cursor: &mut StatCursor) -> Result<()> {
        loop {
            if cursor.read.is_empty() {
                self.refill(cursor);
            }
            let Some((gone, _)) = cursor.read.pop_front() else { return Ok(()) };
            self.batch.delete(gone);
            self.write_if_full()?;
        }
    }

    fn write_if_full(&mut self) -> Result<()> {
        if self.batch.len() < BATCH { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let disable_log = self.written + batch.len() > REPLAYED_MAX;
        let Some(db) = self.db() else { return Ok(()) };
        let count = batch.len();
        let mut options = WriteOptions::default();
        // What a crash loses is hashed again.
        options.disable_wal(disable_log);
        // A cache must not fail a push: without it, the next one hashes every file.
        if db.write_opt(batch, &options).is_err() {
            self.db = None;
        }
        self.written += count;
        Ok(())
    }

    /// Writes what is left.
    fn finish(mut self) {
        if !self.batch.is_empty() && self.write().is_err() {
            return;
        }
        let is_much = self.written > REPLAYED_MAX;
        if let Some(db) = self.db().filter(|_| is_much) {
            let _ = db.flush();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The next process that opens it must find it free.
        let _ = self.db();
    }
}

impl WorkingIndex for RocksIndex {
    fn is_open(&mut self) -> bool {
        self.database.db().is_some()
    }

    fn begin(&mut self, source: &[u8]) {
        let prefix = prefix(source);
        let cursor = StatCursor { prefix, read: VecDeque::new(), next: Some(prefix.to_vec()) };
        self.cursor = self.is_open().then_some(cursor);
    }

    fn known(&mut self, path: &[u8]) -> Result<Option<KnownFile>> {
        match &mut self.cursor {
            Some(cursor) => self.database.known(cursor, path),
            None => Ok(None),
        }
    }

    fn remember(&mut self, path: &[u8], known: &KnownFile) -> Result<()> {
        let Some(cursor) = &self.cursor else { return Ok(()) };
        self.database.batch.put(key(&cursor.prefix, path), encode(known));
        self.database.write_if_full()
    }

    fn remove_gone(&mut self) -> Result<()> {
        match &mut self.cursor {
            Some(cursor) => self.database.remove_gone(cursor),
            None => Ok(()),
        }
    }

    fn named(&mut self, name: &[u8]) -> Option<Content> {
        let value = self.database.db()?.get(named_key(name)).ok()??;
        decode_named(&value).ok()
    }

    fn remember_named(&mut self, name: &[u8], content: &Content) -> Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        let mut out = Writer::default();
        out.u8(VALUE_VERSION);
        out.u64(content.size);
        out.sha1(&content.sha1);
        out.id(&content.id);
        self.database.batch.put(named_key(name), out.into_bytes());
        self.database.write_if_full()
    }

    fn close(&mut self) {
        self.cursor = None;
        let database = std::mem::replace(&mut self.database, Database::none());
        // Without a thread for it the database is closed here and now, and what is left is lost.
        self.closing = thread::Builder::new().spawn(move || database.finish()).ok();
    }
}

impl Drop for RocksIndex {
    fn drop(&mut self) {
        if let Some(thread) = self.closing.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::digest::{plain, sha1};

    fn known(seed: u64) -> KnownFile {
        let stamp = FileStamp { device: 1, inode: seed, size: 3, mtime_ns: -4, ctime_ns: 5 };
        KnownFile { stamp, sha1: sha1(&seed.to_le_bytes()), content: plain(&seed.to_le_bytes()) }
    }

    #[test]
    fn what_is_remembered_is_known_and_what_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let id = StoreId([1; 16]);
        let mut paths: Vec<Vec<u8>> =
            (0..5000u64).map(|n| format!("d{}/{n}", n % 7).into_bytes()).collect();
        paths.extend([b"a".to_vec(), b"a/b".to_vec(), b"a!".to_vec()]);
        paths.sort_by(|a, b| freestone_core::path::compare(a, b));
        let mut index = open(folder.path(), &id);
        index.begin(b"x");
        assert!(index.is_open());
        assert!(!open(folder.path(), &id).is_open(), "one process at a time");
        for (seed, path) in paths.iter().enumerate() {
            index.remember(path, &known(seed as u64)).unwrap();
        }
        index.close();
        drop(index);
        // All are asked for; then every second one of the first half; the others are gone then.
        let is_asked = |round, at| round != 1 || (at % 2 == 0 && at < paths.len() / 2);
        let is_there = |round, at| round < 2 || is_asked(1, at);
        for round in 0..3 {
            let mut index = open(folder.path(), &id);
            index.begin(b"y");
            assert_eq!(index.known(b"a").unwrap(), None);
            index.begin(b"x");
            for (at, path) in paths.iter().enumerate().filter(|(at, _)| is_asked(round, *at)) {
                let expected = is_there(round, at).then(|| known(at as u64));
                assert_eq!(index.known(path).unwrap(), expected, "round {round}, {at}");
            }
            index.remove_gone().unwrap();
            index.close();
        }
        // On a disk that is nearly full it is not used; on a fuller one it makes room.
        let mut none = open_with(folder.path(), &id, FREE_BYTES_MIN - 1);
        none.begin(b"x");
        assert!(!none.is_open() && none.known(&paths[0]).unwrap().is_none());
        none.remember(&paths[0], &known(0)).unwrap();
        none.close();
        assert!(folder.path().join("db/CURRENT").exists());
        assert!(!open_with(folder.path(), &id, FREE_BYTES_KEPT - 1).is_open());
        assert!(!folder.path().join("db/CURRENT").exists());
        let mut other = open(folder.path(), &StoreId([2; 16]));
        assert!(other.is_open());
        other.begin(b"x");
        assert_eq!(other.known(&paths[0]).unwrap(), None, "another store's");
    }
}
