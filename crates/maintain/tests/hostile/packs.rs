//! Packs and their tables.

use super::*;

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

/// Where the table of one record says that its columns follow as they are: after the version, the
/// extensions, two counts, an id, a checksum and a length.
const AS_THEY_ARE: usize = 1 + 19 + 2 + 32 + 4 + 1;

fn hostile_tables() -> Vec<(&'static str, Vec<u8>)> {
    let mut tables = Vec::new();
    for (records, packs) in
        [(u64::MAX, 0), (1 << 22, 0), (1 << 40, 7), (0, u64::MAX), (3, 1 << 16), (u64::MAX / 41, 1)]
    {
        tables.push(("counts", table_claiming(records, packs, 100)));
    }
    let mut add = |what, rows: &[Row]| tables.push((what, encode_table(rows, &[7; 16])));
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
    let good = encode_table(&[row(Codec::Raw, 16, 10, 10, None)], &[7; 16]);
    let with = |at: usize, value| {
        let mut table = good.clone();
        table[at] = value;
        table
    };
    tables.push(("version 0", with(0, 0)));
    // The columns begin behind id, checksum and two lengths, the second of which says: as they are.
    assert_eq!(good[AS_THEY_ARE], 0);
    tables.push(("kind 0", with(AS_THEY_ARE + 1, 0)));
    tables.push(("columns longer than they are", with(AS_THEY_ARE - 1, 70)));
    tables.push(("columns longer than they can be", with(AS_THEY_ARE - 1, 127)));
    tables.push(("a frame that is none", with(AS_THEY_ARE, 5)));
    let bomb = compress(&vec![1; 1 << 20], &[]).unwrap();
    let frame = u8::try_from(bomb.len()).unwrap();
    tables.push(("a frame of a MiB", [&good[..AS_THEY_ARE], &[frame], &bomb[..]].concat()));
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
        let error = assert_corrupt(maintain::reindex(&store, Watch::default()), what);
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        let found = findings(&store).unwrap();
        assert!(found.iter().any(|f| f.object.contains(&id.to_string())), "{what}: {found:?}");
        assert_corrupt(maintain::stats(&store, Watch::default()), what);
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
        let error = assert_corrupt(maintain::reindex(&store, Watch::default()), "trailer");
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
    assert_corrupt(maintain::reindex(&store, Watch::default()), "a pack of a terabyte");
    assert!(!findings(&store).unwrap().is_empty());
    std::fs::remove_file(store.root().unwrap().join(freestone_testkit::pack_name(&id))).unwrap();
    write_sparse(&store, &format!("revisions/{id}"), 1 << 40, b"");
    assert_corrupt(store.revision(&id), "a revision's file of a terabyte");
    assert!(!findings(&store).unwrap().is_empty());
    write_sparse(&store, &format!("refs/main/{}", ref_place::key(2)), 1 << 40, b"");
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

#[test]
fn long_lists_of_condemned_packs_take_little_memory() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    push_tree(&store, &MemorySource::of([("a", "b")]), &PushOptions::default()).unwrap();
    let path = |name: &str| store.root().unwrap().join(name);
    let list = condemned::object_name(1, Stage::Intent);
    write_sparse(&store, &list, 1 << 30, b"");
    let found = quick_findings(&store);
    assert_eq!(found.iter().map(|f| &f.object).collect::<Vec<_>>(), [&list]);
    let other = MemorySource::of([("c", "d")]);
    push_tree(&store, &other, &PushOptions::default()).unwrap_err();
    compact(&store).unwrap();
    assert!(!path(&list).exists());

    // A list with a right check that names one pack two million times.
    let list = condemned::object_name(7, Stage::Verdict);
    let count = 2 << 20;
    let mut head = Writer::default();
    head.raw(b"FSVERDCT");
    head.varint(count);
    let mut check = digest::PlainHasher::default();
    check.update(head.bytes());
    (0..count).for_each(|_| check.update(&[0; 32]));
    let length = head.bytes().len() as u64 + 32 * count + 32;
    write_sparse(&store, &list, length, &check.finish().0);
    let file = File::options().write(true).open(path(&list)).unwrap();
    file.write_all_at(head.bytes(), 0).unwrap();
    let found = quick_findings(&store);
    assert_eq!(found.iter().map(|f| &f.object).collect::<Vec<_>>(), [&list]);
    // All that it may name is written again.
    compact(&store).unwrap();
    assert!(!path(&list).exists());
    assert_eq!(findings(&store).unwrap(), []);
}

fn compact(store: &Store) -> Result<Compacted> {
    let options = CompactOptions { grace: Duration::ZERO, ..CompactOptions::default() };
    maintain::compact(store, &options, Watch::default())
}

// zstd.

/// A store with one chunk of these stored bytes that is said to be `plain` long.
fn store_of_frame(stored: &[u8], plain: u64, id: Id) -> (tempfile::TempDir, Store) {
    let (folder, store) = new_store();
    let mut forge = Forge::default();
    forge.put(RecordKind::Chunk, id, Codec::Zstd, stored, plain, None);
    forge.write(&**store.backend()).unwrap();
    maintain::reindex(&store, Watch::default()).unwrap();
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
