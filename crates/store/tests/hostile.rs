//! Stores made by hand to do harm: each is refused with an error of the right kind, at once, and
//! without an allocation that only a length field asked for.
//!
//! Beside them the other side of the same rules: what no push writes yet, chains of bases, is
//! read right up to the depth that is allowed.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::digest::{self, context};
use freestone_core::plan::{NodeKind, Source};
use freestone_core::wire::Writer;
use freestone_core::{ChunkSource, Error, ErrorKind, Id, NodeSource, Result, Sha1};
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord, pieces};
use freestone_manifest::{Child, Node};
use freestone_store::format::pack::{Base, HEADER, Row, encode_table, encode_trailer};
use freestone_store::format::record::{Codec, RecordKind};
use freestone_store::format::ref_entry::{self, RefAction};
use freestone_store::format::segment::SegmentParts;
use freestone_store::push::PushOptions;
use freestone_store::verify::{Finding, VerifyOptions};
use freestone_store::{Expect, RefEntry, Revision, Store};
use freestone_testkit::{
    Forge, MemorySource, Reading, compress, findings, noise, push_tree, write_pack, write_segment,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PEAK_MAX: usize = 32 << 20;
const TIME_MAX: Duration = Duration::from_secs(20);

/// One test at a time, so that what it allocates is its own. Dropped, it checks how much that was
/// at most, and how long it took; what takes for ever is ended.
struct Bounded {
    begun: Instant,
    start: usize,
    _done: mpsc::Sender<()>,
    _gate: MutexGuard<'static, ()>,
}

fn bounded() -> Bounded {
    static GATE: Mutex<()> = Mutex::new(());
    let gate = GATE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, is_done) = mpsc::channel();
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    std::thread::spawn(move || {
        if let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(4 * TIME_MAX) {
            eprintln!("{name} does not end");
            std::process::abort();
        }
    });
    let start = NOW.load(Relaxed);
    PEAK.store(start, Relaxed);
    Bounded { begun: Instant::now(), start, _done: done, _gate: gate }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let peak = PEAK.load(Relaxed).saturating_sub(self.start);
            assert!(peak <= PEAK_MAX, "{peak} bytes allocated at once");
            assert!(self.begun.elapsed() < TIME_MAX, "it took {:?}", self.begun.elapsed());
        }
    }
}

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn reopened(store: &Store) -> Store {
    Store::open(store.root().unwrap()).unwrap()
}

fn quick_findings(store: &Store) -> Vec<Finding> {
    let mut found = Vec::new();
    store.verify(VerifyOptions { data: false }, &mut |finding| found.push(finding)).unwrap();
    found
}

fn assert_corrupt<T>(outcome: Result<T>, what: &str) -> Error {
    match outcome {
        Ok(_) => panic!("{what}: no error"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            error
        }
    }
}

fn read_chunk(store: &Store, plain: &[u8]) -> Result<()> {
    let mut out = vec![0; plain.len()];
    store.records()?.chunk(&digest::plain(plain), &mut out)?;
    assert!(out == plain, "other bytes");
    Ok(())
}

// Bases.

/// Versions of a content, each a little different from the one before.
fn versions(count: usize) -> Vec<Vec<u8>> {
    let mut version = noise(4000, 42);
    (0..count)
        .map(|n| {
            version[n * 37 % 4000] ^= 0x55;
            version.clone()
        })
        .collect()
}

/// A chain: each version's base is the one before; the first has `first`, or none.
fn forge_chain(versions: &[Vec<u8>], first: Option<(Base, &[u8])>) -> Forge {
    let mut forge = Forge::default();
    let mut base = first.map(|(base, plain)| (base, plain.to_vec()));
    for version in versions {
        let at = match &base {
            None => forge.add(RecordKind::Chunk, Codec::Raw, version).unwrap(),
            Some((base, plain)) => forge.add_above(*base, plain, version).unwrap(),
        };
        base = Some((Base::Same(at), version.clone()));
    }
    forge
}

#[test]
fn chains_of_bases_are_read_up_to_the_allowed_depth() {
    let _bounded = bounded();
    // One content without a base and 32 above it; a 33rd is too much.
    let versions = versions(34);
    let (_folder, store) = new_store();
    let forge = forge_chain(&versions, None);
    assert!(forge.rows[9].stored < 200, "the base is used");
    forge.write(&**store.backend()).unwrap();
    store.reindex(&mut |_, _| {}).unwrap();
    for (depth, version) in versions.iter().enumerate() {
        let read = read_chunk(&store, version);
        if depth <= 32 {
            read.unwrap_or_else(|error| panic!("depth {depth}: {error}"));
        } else {
            let error = assert_corrupt(read, "depth 33");
            assert!(error.to_string().contains("more than 32 bases"), "{error}");
        }
    }
    let found = findings(&store).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].fault.contains(&digest::plain(&versions[33]).to_string()));
}

#[test]
fn a_base_in_another_pack_is_read_and_its_loss_is_found() {
    let _bounded = bounded();
    let versions = versions(33);
    let (_folder, store) = new_store();
    let backend = store.backend();
    let below = forge_chain(&versions[..1], None);
    let pack = below.write(&**backend).unwrap();
    let above = forge_chain(&versions[1..], Some((below.base(pack, 0), &versions[0])));
    above.write(&**backend).unwrap();
    store.reindex(&mut |_, _| {}).unwrap();
    versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
    assert_eq!(findings(&store).unwrap(), []);
    // A push takes them for known, and a revision stands on them.
    let tree =
        MemorySource::of(versions.iter().enumerate().map(|(n, v)| (format!("{n:02}"), &v[..])));
    let made = push_tree(&store, &tree, &PushOptions::default()).unwrap();
    // Their SHA-1s are listed anew, and nothing of the 132,000 bytes is stored again.
    assert!(made.bytes_stored < 16_000, "{}", made.bytes_stored);
    assert!(Reading::new(&store).revision(&made.id).unwrap() == tree);
    backend.remove(&freestone_testkit::pack_name(&pack)).unwrap();
    let store = reopened(&store);
    assert!(!quick_findings(&store).is_empty());
    let error = assert_corrupt(read_chunk(&store, &versions[5]), "the base is gone");
    assert!(error.to_string().contains(&pack.to_string()), "{error}");
}

#[test]
fn merging_keeps_bases_and_every_record_findable() {
    let _bounded = bounded();
    let versions = versions(3);
    let (_folder, store) = new_store();
    let backend = store.backend();
    let mut below = forge_chain(&versions[..1], None);
    // Long segments are merged last: what leans on it comes first.
    for n in 0..50u8 {
        below.add(RecordKind::Chunk, Codec::Raw, &[n; 10]).unwrap();
    }
    let pack = below.write(&**backend).unwrap();
    write_segment(&**backend, 1, below.listed(pack)).unwrap();
    let above = forge_chain(&versions[1..], Some((below.base(pack, 0), &versions[0])));
    let above_pack = above.write(&**backend).unwrap();
    // The base's place again, in the segment of what leans on it; its id is not known there.
    let mut parts = above.listed(above_pack);
    let base_row = parts.rows.len() as u64;
    parts.packs.push(below.listed(pack).packs[0]);
    let mut base = below.listed(pack).rows[0];
    (base.prefix, base.pack) = ([0; 5], 1);
    parts.rows.push(base);
    parts.rows[0].base = Some(base_row);
    write_segment(&**backend, 2, parts).unwrap();
    versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
    for n in 0..8u8 {
        push_tree(&store, &MemorySource::of([("a", [n])]), &PushOptions::default()).unwrap();
    }
    let store = reopened(&store);
    let tiers: Vec<u8> = store.index().unwrap().segments().iter().map(|s| s.tier).collect();
    assert!(tiers.contains(&1) && tiers.len() < 8, "{tiers:?}");
    versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
    assert_eq!(findings(&store).unwrap(), []);
}

#[test]
fn zeros_can_be_a_base_too() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let mut forge = Forge::default();
    let zeros = vec![0; 3000];
    let mut plain = zeros.clone();
    plain[1000..1100].copy_from_slice(&noise(100, 1));
    let at = forge.add(RecordKind::Chunk, Codec::Zeros, &zeros).unwrap();
    forge.add_above(Base::Same(at), &zeros, &plain).unwrap();
    forge.write(&**store.backend()).unwrap();
    store.reindex(&mut |_, _| {}).unwrap();
    read_chunk(&store, &plain).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
}

// Packs.

/// A table of these counts with this much behind it.
fn table_claiming(records: u64, packs: u64, rest: usize) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(1);
    out.string(&[]);
    out.varint(records);
    out.varint(packs);
    out.raw(&vec![1; rest]);
    out.into_bytes()
}

fn row(codec: Codec, offset: u64, stored: u64, plain: u64, base: Option<Base>) -> Row {
    let kind = RecordKind::Chunk;
    Row { kind, codec, id: Id([5; 32]), checksum: [0; 4], offset, stored, plain, base }
}

fn hostile_tables() -> Vec<(&'static str, Vec<u8>)> {
    let mut tables = Vec::new();
    for (records, packs) in
        [(u64::MAX, 0), (1 << 22, 0), (1 << 40, 7), (0, u64::MAX), (3, 1 << 16), (u64::MAX / 41, 1)]
    {
        tables.push(("counts", table_claiming(records, packs, 100)));
    }
    let mut add = |what, rows: &[Row]| tables.push((what, encode_table(rows)));
    add("a record behind the table", &[row(Codec::Raw, 1 << 40, 10, 10, None)]);
    add("a record over the table", &[row(Codec::Raw, 16, 1000, 1000, None)]);
    add("the end of a record beyond 64 bits", &[row(Codec::Raw, u64::MAX, 0, 0, None)]);
    add("raw bytes that grow", &[row(Codec::Raw, 16, 10, 1 << 30, None)]);
    add("zstd to a gigabyte", &[row(Codec::Zstd, 16, 10, 1 << 30, None)]);
    add("zstd to 2^64", &[row(Codec::Zstd, 16, 10, u64::MAX, None)]);
    add("zeros without end", &[row(Codec::Zeros, 16, 0, u64::MAX, None)]);
    add("zstd that saves nothing", &[row(Codec::Zstd, 16, 10, 10, None)]);
    add("a base of its own", &[row(Codec::ZstdBase, 16, 10, 20, Some(Base::Same(0)))]);
    add(
        "a base that comes later",
        &[row(Codec::ZstdBase, 16, 10, 20, Some(Base::Same(1))), row(Codec::Raw, 26, 10, 10, None)],
    );
    let other =
        |plain, codec| Base::Other { pack: Id([1; 32]), offset: 16, stored: 5, plain, codec };
    for (plain, codec) in [(1 << 40, Codec::Zstd), (10, Codec::ZstdBase), (6, Codec::Raw)] {
        let base = Some(other(plain, codec));
        add("a base that cannot be one", &[row(Codec::ZstdBase, 16, 10, 20, base)]);
    }
    // Bytes that no encoder writes.
    let good = encode_table(&[row(Codec::Raw, 16, 10, 10, None)]);
    let with = |at: usize, value| {
        let mut table = good.clone();
        table[at] = value;
        table
    };
    tables.push(("version 0", with(0, 0)));
    // The columns begin behind id, checksum and two lengths, the second of which says: as they are.
    assert_eq!(good[41], 0);
    tables.push(("kind 0", with(42, 0)));
    tables.push(("columns longer than they are", with(40, 70)));
    tables.push(("columns longer than they can be", with(40, 127)));
    tables.push(("a frame that is none", with(41, 5)));
    let bomb = compress(&vec![1; 1 << 20], &[]).unwrap();
    let frame = u8::try_from(bomb.len()).unwrap();
    tables.push(("a frame of a MiB", [&good[..41], &[frame], &bomb[..]].concat()));
    tables.push(("bytes behind the end", [&good[..], &[0]].concat()));
    tables.push(("nothing", Vec::new()));
    tables
}

#[test]
fn packs_whose_tables_claim_what_cannot_be_are_refused() {
    let _bounded = bounded();
    for (what, table) in hostile_tables() {
        let (_folder, store) = new_store();
        let bytes = [&HEADER[..], &[7; 40]].concat();
        let id = write_pack(&**store.backend(), &bytes, &table).unwrap();
        let error = assert_corrupt(store.reindex(&mut |_, _| {}), what);
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        let found = findings(&store).unwrap();
        assert!(found.iter().any(|f| f.object.contains(&id.to_string())), "{what}: {found:?}");
        assert_corrupt(store.stats(), what);
    }
}

#[test]
fn trailers_that_claim_more_than_there_is_are_refused() {
    let _bounded = bounded();
    for claimed in [41, 1 << 20, 1 << 40, u64::MAX] {
        let (_folder, store) = new_store();
        let id = Id([7; 32]);
        let pack = [&HEADER[..], &[0; 24], &encode_trailer(claimed)].concat();
        store.backend().create(&freestone_testkit::pack_name(&id), &pack).unwrap();
        let error = assert_corrupt(store.reindex(&mut |_, _| {}), "trailer");
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        assert!(!findings(&store).unwrap().is_empty());
    }
}

/// Makes a file of `length` bytes that takes no room, ending in `end`.
fn write_sparse(store: &Store, name: &str, length: u64, end: &[u8]) {
    let path = store.root().unwrap().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.set_len(length).unwrap();
    file.write_all_at(end, length - end.len() as u64).unwrap();
}

#[test]
fn files_that_are_far_too_long_are_refused_unread() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let made = push_tree(&store, &MemorySource::of([("a", "b")]), &PushOptions::default()).unwrap();
    let id = Id([0xab; 32]);
    write_sparse(&store, &freestone_testkit::pack_name(&id), 1 << 40, &encode_trailer(1 << 39));
    assert_corrupt(store.reindex(&mut |_, _| {}), "a pack of a terabyte");
    assert!(!findings(&store).unwrap().is_empty());
    std::fs::remove_file(store.root().unwrap().join(freestone_testkit::pack_name(&id))).unwrap();
    write_sparse(&store, &format!("revisions/{id}"), 1 << 40, b"");
    assert_corrupt(store.revision(&id), "a revision's file of a terabyte");
    assert!(!findings(&store).unwrap().is_empty());
    write_sparse(&store, &format!("refs/main/{}", ref_entry::key(2)), 1 << 40, b"");
    assert_corrupt(store.resolve("main"), "a ref's entry of a terabyte");
    assert_eq!(store.resolve("main@1").unwrap().id, made.id);
    // It is mapped, not read.
    let name = "index/00-0000000000000000-00000000000000000000000000000000.idx";
    write_sparse(&store, name, 1 << 40, b"");
    let error = assert_corrupt(reopened(&store).index(), "a segment of a terabyte");
    assert!(error.to_string().contains(name), "{error}");
    write_sparse(&store, "format", 1 << 40, b"");
    assert_corrupt(Store::open(store.root().unwrap()), "a header of a terabyte");
}

// zstd.

/// A store with one chunk of these stored bytes that is said to be `plain` long.
fn store_of_frame(stored: &[u8], plain: u64, id: Id) -> (tempfile::TempDir, Store) {
    let (folder, store) = new_store();
    let mut forge = Forge::default();
    forge.put(RecordKind::Chunk, id, Codec::Zstd, stored, plain, None);
    forge.write(&**store.backend()).unwrap();
    store.reindex(&mut |_, _| {}).unwrap();
    (folder, store)
}

#[test]
fn frames_that_decompress_to_other_than_claimed_are_refused() {
    let _bounded = bounded();
    let zeros = vec![0; 8 << 20];
    let bomb = compress(&zeros, &[]).unwrap();
    // Many frames in a row decompress to their sum.
    let many = bomb.repeat(2000);
    let one = compress(&zeros[..1 << 20], &[]).unwrap();
    for (what, stored, plain) in [
        ("8 MiB said to be 1000 bytes", &bomb[..], bomb.len() as u64 + 1000),
        ("16 GiB said to be 4 MiB", &many, 4 << 20),
        ("1 MiB said to be 4 MiB", &one, 4 << 20),
        ("1 MiB said to be a byte less", &one, (1 << 20) - 1),
        ("no frame", &noise(500, 3), 1000),
        ("half a frame", &one[..one.len() / 2], 1 << 20),
    ] {
        let id = digest::plain(&zeros[..usize::try_from(plain).unwrap()]);
        let (_folder, store) = store_of_frame(stored, plain, id);
        let mut out = Vec::new();
        let records = store.records().unwrap();
        let error = assert_corrupt(records.chunk_in(&id, plain, &mut out), what);
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        assert!(!findings(&store).unwrap().is_empty(), "{what}");
        // The decoder is as good as before.
        let id = digest::plain(&zeros[..1 << 20]);
        let (_folder, store) = store_of_frame(&one, 1 << 20, id);
        store.records().unwrap().chunk_in(&id, 1 << 20, &mut out).unwrap();
    }
}

// Segments.

/// A store whose only segment was changed by hand before it was written.
fn store_listing(change: impl Fn(&mut SegmentParts)) -> (tempfile::TempDir, Store, Vec<Vec<u8>>) {
    let (folder, store) = new_store();
    let versions = versions(4);
    let forge = forge_chain(&versions, None);
    let pack = forge.write(&**store.backend()).unwrap();
    let mut parts = forge.listed(pack);
    change(&mut parts);
    write_segment(&**store.backend(), 1, parts).unwrap();
    (folder, store, versions)
}

#[test]
fn segment_rows_that_point_where_nothing_is_give_errors() {
    let _bounded = bounded();
    type Change = fn(&mut SegmentParts);
    let changes: [(&str, Change); 12] = [
        ("outside the pack", |parts| parts.rows[1].offset = 1 << 40),
        ("the end beyond 64 bits", |parts| parts.rows[1].offset = u64::MAX),
        ("across the pack's end", |parts| parts.rows[1].stored = 100_000),
        ("elsewhere in the pack", |parts| parts.rows[1].offset += 1),
        ("shorter than it is", |parts| parts.rows[1].stored -= 1),
        ("longer than a chunk may be", |parts| parts.rows[1].plain = 1 << 40),
        ("a pack that is not listed", |parts| parts.rows[1].pack = 9),
        ("a pack that is not there", |parts| parts.packs[0].id = Id([3; 32])),
        ("a base above it", |parts| parts.rows[1].base = Some(2)),
        ("itself as base", |parts| parts.rows[1].base = Some(1)),
        ("a base but no codec for it", |parts| parts.rows[1].codec = Codec::Zstd),
        ("another codec", |parts| {
            parts.rows[1].codec = Codec::Zeros;
            (parts.rows[1].stored, parts.rows[1].base) = (0, None);
        }),
    ];
    for (what, change) in changes {
        let (_folder, store, versions) = store_listing(change);
        assert_corrupt(read_chunk(&store, &versions[1]), what);
        let _ = read_chunk(&store, &versions[2]);
        assert!(!findings(&store).unwrap().is_empty(), "{what}");
        store.reindex(&mut |_, _| {}).unwrap();
        versions.iter().for_each(|version| read_chunk(&store, version).unwrap());
        assert_eq!(findings(&store).unwrap(), [], "{what}");
    }
}

#[test]
fn bases_that_form_a_cycle_end() {
    let _bounded = bounded();
    // Two packs whose records are each other's bases: only a segment can say so.
    let (_folder, store) = new_store();
    let versions = versions(2);
    let backend = store.backend();
    let mut parts = SegmentParts::default();
    for (at, version) in versions.iter().enumerate() {
        let mut forge = Forge::default();
        let base =
            Base::Other { pack: Id([1; 32]), offset: 16, stored: 9, plain: 9, codec: Codec::Raw };
        forge.add_above(base, &versions[1 - at], version).unwrap();
        let pack = forge.write(&**backend).unwrap();
        let listed = forge.listed(pack);
        parts.packs.extend(listed.packs);
        let mut row = listed.rows[0];
        row.pack = u32::try_from(at).unwrap();
        row.base = Some(1 - at as u64);
        parts.rows.push(row);
    }
    write_segment(&**backend, 1, parts).unwrap();
    for version in &versions {
        let error = assert_corrupt(read_chunk(&store, version), "a cycle");
        assert!(error.to_string().contains("base"), "{error}");
    }
    assert!(!findings(&store).unwrap().is_empty());
}

#[test]
fn segments_whose_headers_claim_what_cannot_be_are_refused() {
    let _bounded = bounded();
    let (bytes, id) = SegmentParts::default().encode();
    let name = freestone_store::format::segment::file_name(0, 1, &id);
    // Widths from byte 12 on, counts from byte 24 on.
    let places = (12..22).map(|at| (at, 1)).chain((24..96).step_by(8).map(|at| (at, 8)));
    for (at, width) in places {
        for value in [1u64, 25, 200, 1 << 32, 1 << 60, u64::MAX] {
            let (_folder, store) = new_store();
            let mut bytes = bytes.clone();
            let value = &value.to_le_bytes()[..width];
            if bytes[at..at + width] == *value {
                continue;
            }
            bytes[at..at + width].copy_from_slice(value);
            store.backend().create(&format!("index/{name}"), &bytes).unwrap();
            if let Err(error) = store.index() {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains(&name), "{error}");
            } else {
                // Of an empty segment many widths do not matter; its check has changed.
                assert!(!findings(&store).unwrap().is_empty(), "byte {at}: {value:?}");
            }
            let _ = read_chunk(&store, b"x");
            let _ = store.resolve("commit:0123456789");
        }
    }
}

// Manifests.

fn node(level: u8, count: u64, items: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(1);
    out.u8(level);
    out.string(&[]);
    out.varint(count);
    items(&mut out);
    out.into_bytes()
}

/// An entry without a path shared with the one before.
fn file_entry(out: &mut Writer, shared: u64, rest: &[u8], size: u64, content: Id) {
    out.varint(shared);
    out.string(rest);
    out.varint(7);
    out.u8(1);
    out.varint(size);
    out.sha1(&Sha1([2; 20]));
    out.id(&content);
}

fn child_reference(out: &mut Writer, shared: u64, child: &Child) {
    out.varint(shared);
    out.string(&child.first[usize::try_from(shared).unwrap()..]);
    out.id(&child.id);
    out.id(&child.content_digest);
    out.varint(child.entries);
    out.varint(child.bytes);
    out.varint(1);
    out.varint(1);
    let mut measure = Writer::default();
    child.measure.encode(&mut measure);
    out.string(measure.bytes());
    out.string(&[]);
}

fn node_id(bytes: &[u8]) -> Id {
    digest::derived(context::MANIFEST_NODE, bytes)
}

fn child_of(bytes: &[u8]) -> Child {
    Node::decode(bytes).unwrap().child(node_id(bytes)).unwrap()
}

/// A store with these nodes, a revision whose root is the last, and `main` naming that.
fn store_of_nodes(nodes: &[(RecordKind, Vec<u8>)]) -> (tempfile::TempDir, Store, Id) {
    let (folder, store) = new_store();
    let mut forge = Forge::default();
    let mut root = Id([0; 32]);
    for (kind, bytes) in nodes {
        let at = forge.add(*kind, Codec::Raw, bytes).unwrap();
        root = forge.rows[at].id;
    }
    let summary =
        Node::decode(&nodes.last().unwrap().1).ok().and_then(|node| node.child(root).ok());
    let revision = Revision {
        root,
        content_digest: summary.as_ref().map_or(root, |child| child.content_digest),
        entries: summary.as_ref().map_or(0, |child| child.entries),
        bytes: summary.as_ref().map_or(0, |child| child.bytes),
        time: 1,
        parents: Vec::new(),
        message: String::new(),
        labels: std::collections::BTreeMap::new(),
    };
    forge.add(RecordKind::Revision, Codec::Raw, &revision.encode()).unwrap();
    let pack = forge.write(&**store.backend()).unwrap();
    write_segment(&**store.backend(), 1, forge.listed(pack)).unwrap();
    store.refs().set("main", revision.id(), Expect::Any, 1).unwrap();
    (folder, store, root)
}

/// Walks and seeks in a manifest in all ways.
fn walk(store: &Store, root: &Id) -> Result<u64> {
    let tree = store.tree(root)?;
    let mut cursor = tree.cursor();
    let mut entries = 0;
    while cursor.next()?.is_some() {
        entries += 1;
    }
    tree.get(b"a00")?;
    tree.seek(b"zzz")?.next()?;
    tree.seek_unit(1 << 40, 2)?.cursor.next()?;
    tree.seek_unit(u64::MAX, u64::MAX - 1)?.cursor.next()?;
    Ok(entries)
}

fn hostile_manifests() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let content = Id([4; 32]);
    let leaf = |path: &[u8]| node(1, 1, |out| file_entry(out, 0, path, 1, content));
    let inner = |level, children: &[Child]| {
        node(level, children.len() as u64, |out| {
            children.iter().for_each(|child| child_reference(out, 0, child));
        })
    };
    let a = leaf(b"a");
    let lying = |change: fn(&mut Child)| {
        let mut child = child_of(&leaf(b"a"));
        change(&mut child);
        vec![leaf(b"a"), inner(2, &[child])]
    };
    let mut deep = vec![a.clone()];
    for level in 2..=22 {
        deep.push(inner(level, &[child_of(&deep[deep.len() - 1])]));
    }
    let mut deeper = deep.clone();
    deeper.push(inner(23, &[child_of(&deep[21])]));
    vec![
        ("deeper than allowed", deeper),
        ("level 0", vec![node(0, 0, |_| {})]),
        ("level 255", vec![node(255, 1, |out| child_reference(out, 0, &child_of(&leaf(b"a"))))]),
        ("a child two levels below", vec![a.clone(), inner(3, &[child_of(&a)])]),
        ("an inner node without children", vec![node(2, 0, |_| {})]),
        ("entries that are not there", vec![node(1, 100, |_| {})]),
        ("2^60 entries", vec![node(1, 1 << 60, |_| {})]),
        (
            "129 entries",
            vec![node(1, 129, |out| {
                (0..129u8).for_each(|n| file_entry(out, 0, &[1 + n], 1, content));
            })],
        ),
        (
            "a path that shares what is not there",
            vec![node(1, 1, |out| {
                file_entry(out, 9, b"a", 1, content);
            })],
        ),
        (
            "a path of 2^60 bytes",
            vec![node(1, 1, |out| {
                out.varint(0);
                out.varint(1 << 60);
            })],
        ),
        ("a path upwards", vec![leaf(b"../a")]),
        ("an absolute path", vec![leaf(b"/etc/passwd")]),
        (
            "a path twice",
            vec![node(1, 2, |out| {
                file_entry(out, 0, b"a", 1, content);
                file_entry(out, 1, b"", 1, content);
            })],
        ),
        ("a missing child", vec![inner(2, &[child_of(&leaf(b"q"))])]),
        ("a wrong first path", lying(|child| child.first = b"b".to_vec())),
        ("wrong totals", lying(|child| child.entries = u64::MAX)),
        ("wrong bytes", lying(|child| child.bytes = u64::MAX)),
        (
            "a wrong measure",
            lying(|child| child.measure = freestone_core::Measure::Rigid(u64::MAX)),
        ),
        ("a wrong digest", lying(|child| child.content_digest = Id([9; 32]))),
        (
            "leaves out of order",
            vec![leaf(b"b"), leaf(b"a"), inner(2, &[child_of(&leaf(b"b")), child_of(&leaf(b"a"))])],
        ),
    ]
}

#[test]
fn manifests_that_claim_what_cannot_be_are_refused() {
    let _bounded = bounded();
    for (what, nodes) in hostile_manifests() {
        let nodes: Vec<_> =
            nodes.into_iter().map(|bytes| (RecordKind::ManifestNode, bytes)).collect();
        let (_folder, store, root) = store_of_nodes(&nodes);
        assert_corrupt(walk(&store, &root), what);
        assert!(!quick_findings(&store).is_empty(), "{what}");
        // The index can be made anew around it, or the reason why not is told.
        if let Err(error) = store.reindex(&mut |_, _| {}) {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        }
        // A push on top of it fails; one beside it does not care.
        let tree = MemorySource::of([("a", "b")]);
        assert_corrupt(push_tree(&store, &tree, &PushOptions::default()), what);
        let beside = PushOptions { ref_name: Some("beside".into()), ..PushOptions::default() };
        push_tree(&store, &tree, &beside).unwrap();
    }
}

#[test]
fn entries_of_huge_sizes_overflow_nothing() {
    let _bounded = bounded();
    let content = Id([4; 32]);
    for sizes in [&[u64::MAX][..], &[1 << 63, 1], &[(1 << 20) + 1], &[u64::MAX - 511], &[1 << 40]] {
        let leaf = node(1, sizes.len() as u64, |out| {
            for (n, size) in (1..).zip(sizes) {
                file_entry(out, 0, &[b'a' + n], *size, content);
            }
        });
        let (_folder, store, root) = store_of_nodes(&[(RecordKind::ManifestNode, leaf)]);
        let tree = store.tree(&root).unwrap();
        let _ = walk(&store, &root);
        let end = sizes[0];
        for range in [0..1, 0..end, end - 1..end, end..u64::MAX, u64::MAX - 1..u64::MAX] {
            if range.start < end {
                let found = pieces(tree.source(), &content, end, None, range, &mut |_| Ok(()));
                assert_corrupt(found, "a content that is not there");
            }
        }
        assert!(!quick_findings(&store).is_empty());
    }
}

#[test]
fn sizes_that_add_up_beyond_64_bits_are_refused() {
    let _bounded = bounded();
    let leaf = node(1, 2, |out| {
        file_entry(out, 0, b"a", u64::MAX, Id([4; 32]));
        file_entry(out, 0, b"b", u64::MAX, Id([4; 32]));
    });
    let (_folder, store, root) = store_of_nodes(&[(RecordKind::ManifestNode, leaf)]);
    let error = store.tree(&root).map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Refused), "{error}");
    assert!(!quick_findings(&store).is_empty());
}

#[test]
fn few_nodes_that_are_named_very_often_do_not_take_for_ever() {
    let _bounded = bounded();
    // At each level node i has all nodes from i on of the level below: the ways from the root to
    // a leaf are more than can be walked, the nodes are 352.
    const WIDTH: usize = 16;
    let mut nodes = Vec::new();
    let mut below: Vec<Child> = Vec::new();
    for level in 1..=22 {
        let mut children = Vec::new();
        for first in 0..WIDTH {
            let path = [b'a' + u8::try_from(first).unwrap()];
            let bytes = if level == 1 {
                node(1, 1, |out| file_entry(out, 0, &path, 0, digest::plain(b"")))
            } else {
                node(level, (WIDTH - first) as u64, |out| {
                    below[first..].iter().for_each(|child| child_reference(out, 0, child));
                })
            };
            children.push(child_of(&bytes));
            nodes.push((RecordKind::ManifestNode, bytes));
        }
        below = children;
    }
    let last = nodes.len() - WIDTH;
    nodes.swap(last, last + WIDTH - 1);
    let (_folder, store, root) = store_of_nodes(&nodes);
    assert!(store.tree(&root).unwrap().summary().entries > 1 << 30);
    let error = assert_corrupt(walk(&store, &root), "nodes that are named very often");
    assert!(error.to_string().contains("out of order"), "{error}");
    assert!(!quick_findings(&store).is_empty());
    assert!(!findings(&store).unwrap().is_empty());
}

// Contents.

fn content_store(
    length: u64,
    level: u8,
    nodes: &[ContentNode],
    chunks: &[&[u8]],
) -> (tempfile::TempDir, Store, Id) {
    let mut records = Vec::new();
    let mut top = Id([0; 32]);
    for content_node in nodes {
        let bytes = content_node.encode();
        top = digest::derived(context::CONTENT_NODE, &bytes);
        records.push((RecordKind::ContentNode, bytes));
    }
    records.extend(chunks.iter().map(|chunk| (RecordKind::Chunk, chunk.to_vec())));
    let (sha1, blake3) = (Sha1([2; 20]), Id([3; 32]));
    let record = ContentRecord { chunker: 1, length, sha1, blake3, level, top };
    records.push((RecordKind::ContentRecord, record.encode()));
    let leaf = node(1, 1, |out| file_entry(out, 0, b"large", length, record.id()));
    records.push((RecordKind::ManifestNode, leaf));
    let (folder, store, _) = store_of_nodes(&records);
    (folder, store, record.id())
}

/// What the pieces of a part of a content are, without their bytes.
fn part(store: &Store, content: &Id, size: u64, range: std::ops::Range<u64>) -> Result<(u64, u64)> {
    let (mut count, mut length) = (0, 0);
    pieces(&store.records()?, content, size, None, range, &mut |piece| {
        count += 1;
        length += piece.length;
        assert!(!matches!(piece.source, Source::Inline(_)));
        Ok(())
    })?;
    Ok((count, length))
}

#[test]
fn an_exabyte_of_zeros_is_a_piece_and_no_memory() {
    let _bounded = bounded();
    const EXABYTE: u64 = 1 << 60;
    let leaf = ContentNode::Leaf(vec![ContentItem::Zeros(EXABYTE)]);
    let (_folder, store, content) = content_store(EXABYTE, 1, &[leaf], &[]);
    for range in [0..EXABYTE, 0..1, EXABYTE - 1..EXABYTE, 4096..8192] {
        assert_eq!(part(&store, &content, EXABYTE, range).unwrap(), (1, EXABYTE));
    }
    assert_eq!(quick_findings(&store), []);
    store.reindex(&mut |_, _| {}).unwrap();
    assert_eq!(store.stats().unwrap().logical, EXABYTE);
}

#[test]
fn a_content_of_few_nodes_that_are_named_very_often_is_read_in_parts() {
    let _bounded = bounded();
    let byte = digest::plain(b"x");
    let mut nodes = vec![ContentNode::Leaf(vec![ContentItem::Chunk(1, byte); 128])];
    let mut length = 128u64;
    for level in 2..=8 {
        let id = digest::derived(context::CONTENT_NODE, &nodes[nodes.len() - 1].encode());
        nodes.push(ContentNode::Inner(level, vec![(length, id); 128]));
        length *= 128;
    }
    let (_folder, store, content) = content_store(length, 8, &nodes, &[b"x"]);
    assert_eq!(length, 1 << 56);
    for start in [0, 12345, 1 << 40, length - 100] {
        let (count, _) = part(&store, &content, length, start..start + 100).unwrap();
        assert_eq!(count, 100);
    }
    assert_eq!(quick_findings(&store), []);
    // Of a tree that names a chunk which is not there, that is told.
    let (_folder, store, _) = content_store(length, 8, &nodes, &[]);
    assert!(quick_findings(&store)[0].fault.contains(&byte.to_string()));
}

#[test]
fn content_trees_that_claim_what_cannot_be_are_refused() {
    let _bounded = bounded();
    const SIZE: u64 = 2 << 20;
    let id_of = |node: &ContentNode| digest::derived(context::CONTENT_NODE, &node.encode());
    let zeros = ContentNode::Leaf(vec![ContentItem::Zeros(SIZE)]);
    let inner = |level, length| ContentNode::Inner(level, vec![(length, id_of(&zeros))]);
    let huge = ContentNode::Leaf(vec![ContentItem::Zeros(u64::MAX), ContentItem::Zeros(SIZE + 1)]);
    let chunk = ContentNode::Leaf(vec![ContentItem::Chunk(SIZE, digest::plain(b"short"))]);
    let cases: Vec<(&str, u8, Vec<ContentNode>)> = vec![
        (
            "a leaf of another length",
            1,
            vec![ContentNode::Leaf(vec![ContentItem::Zeros(SIZE + 1)])],
        ),
        ("lengths beyond 64 bits", 1, vec![huge]),
        ("another level than said", 3, vec![zeros.clone(), inner(2, SIZE)]),
        ("a child of another length", 2, vec![zeros.clone(), inner(2, SIZE - 1)]),
        ("a child two levels below", 3, vec![zeros.clone(), inner(3, SIZE)]),
        ("no items", 1, vec![ContentNode::Leaf(vec![])]),
        (
            "an empty run",
            1,
            vec![ContentNode::Leaf(vec![ContentItem::Zeros(0), ContentItem::Zeros(SIZE)])],
        ),
        (
            "a chunk that is too long",
            1,
            vec![ContentNode::Leaf(vec![ContentItem::Chunk(1 << 40, Id([1; 32]))])],
        ),
        ("too many items", 1, vec![ContentNode::Leaf(vec![ContentItem::Zeros(SIZE / 256); 256])]),
        ("a node that is not there", 2, vec![ContentNode::Inner(2, vec![(SIZE, Id([8; 32]))])]),
        ("a chunk of another length", 1, vec![chunk]),
    ];
    for (what, level, nodes) in cases {
        let (_folder, store, content) = content_store(SIZE, level, &nodes, &[b"short"]);
        let read = || -> Result<()> {
            let records = store.records()?;
            let mut bytes = Vec::new();
            pieces(&records, &content, SIZE, None, 0..SIZE, &mut |piece| match piece.source {
                Source::Chunk(id) => records.chunk_in(&id, piece.length, &mut bytes).map(|_| ()),
                _ => Ok(()),
            })
        };
        assert_corrupt(read(), what);
        assert!(!quick_findings(&store).is_empty(), "{what}");
    }
}

#[test]
fn a_record_is_never_taken_for_one_of_another_kind() {
    let _bounded = bounded();
    // The bytes of a node as a chunk, a chunk as a node: their ids differ.
    let leaf = node(1, 0, |_| {});
    let (_folder, store, root) = store_of_nodes(&[
        (RecordKind::Chunk, leaf.clone()),
        (RecordKind::ContentNode, leaf.clone()),
        (RecordKind::ManifestNode, leaf.clone()),
    ]);
    let records = store.records().unwrap();
    assert!(records.node(NodeKind::Manifest, &root).is_ok());
    for kind in [NodeKind::Content, NodeKind::ContentRecord] {
        assert_corrupt(records.node(kind, &root), "another kind");
    }
    assert_corrupt(records.chunk(&root, &mut vec![0; leaf.len()]), "another kind");
}

// Files.

#[test]
fn pipes_in_the_place_of_files_are_not_waited_for() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let root = store.root().unwrap();
    let made = push_tree(&store, &MemorySource::of([("a", "b")]), &PushOptions::default()).unwrap();
    let pack = freestone_testkit::pack_name(&store.index().unwrap().packs().unwrap()[0].0);
    let pipe = |name: &str| {
        let path = root.join(name);
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe("tmp/left-over");
    push_tree(&store, &MemorySource::of([("a", "c")]), &PushOptions::default()).unwrap();
    pipe(&format!("revisions/{}", made.id));
    assert!(reopened(&store).revision(&made.id).is_ok(), "its pack has it");
    pipe(&pack);
    assert!(read_chunk(&reopened(&store), b"b").is_err());
    assert!(!findings(&reopened(&store)).unwrap().is_empty());
    pipe(&format!("refs/main/{}", ref_entry::key(1)));
    assert!(store.resolve("main@1").is_err());
    pipe("format");
    assert!(Store::open(root).is_err());
}

// Refs.

#[test]
fn ref_entries_of_any_number_are_taken_as_they_are() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let id =
        push_tree(&store, &MemorySource::of([("a", "b")]), &PushOptions::default()).unwrap().id;
    for n in [2, 1 << 40, (1 << 63) - 1, 1 << 63] {
        let entry = RefEntry {
            action: RefAction::Set(id),
            name: "main".into(),
            log_id: [1; 16],
            n,
            previous: Some(Id([6; 32])),
            time: i64::MIN,
        };
        let object = format!("refs/main/{}", ref_entry::key(n));
        store.backend().create(&object, &entry.encode()).unwrap();
        assert_eq!(store.refs().newest("main").unwrap().unwrap().n, n);
        let _ = store.refs().log("main");
        assert!(!findings(&store).unwrap().is_empty(), "entry {n} leans on none");
    }
    // Behind the last number that there is nothing can be added.
    let error = store.refs().set("main", id, Expect::Any, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // What is no entry is left alone.
    for name in ["latest", "ffffffffffffffff", "x", "7ffffffffffffffff"] {
        store.backend().create(&format!("refs/main/{name}"), b"?").unwrap();
    }
    for folder in ["refs/%2e%2e", "refs/a%2f", "refs/.git"] {
        store.backend().create(&format!("{folder}/{}", ref_entry::key(1)), b"?").unwrap();
    }
    assert_eq!(store.refs().list().unwrap().len(), 1);
}

#[test]
fn names_never_lead_out_of_the_store() {
    let _bounded = bounded();
    let (folder, store) = new_store();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    for name in ["../secret", "a/../../secret", "/etc/passwd", ".", "..", "a\0b"] {
        assert_eq!(store.refs().newest(name).map(drop).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(store.resolve(name).map(drop).unwrap_err().kind(), ErrorKind::Usage, "{name}");
        let options = PushOptions { ref_name: Some(name.into()), ..PushOptions::default() };
        let pushed = push_tree(&store, &MemorySource::of([("a", "b")]), &options);
        assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Usage);
    }
    let outside: Vec<_> =
        Path::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
}
