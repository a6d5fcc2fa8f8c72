//! What a later version has written is refused, and never called damaged; what is damaged is
//! never called newer.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::digest::{self, context, derived};
use freestone_core::wire::Writer;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Watch};
use freestone_format::pack::encode_table;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::{RefEntry, Revision};
use freestone_format::{ref_place, segment};
use freestone_maintain::{self as maintain, Finding, VerifyOptions};
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord, pieces};
use freestone_manifest::{Builder, Entry, EntryKind, MemoryNodes, Node};
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{Forge, MemorySource, pack_name, push_tree, write_pack, write_segment};
use std::collections::BTreeMap;

/// The field 1, which is critical, as the extensions of a structure.
const CRITICAL: [u8; 4] = [3, 1, 1, b'x'];
/// The field 2, which is not.
const EXTENSION: [u8; 4] = [3, 2, 1, b'x'];

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn findings(store: &Store, data: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let report =
        maintain::verify(store, VerifyOptions { data }, Watch::default(), &mut |finding| {
            found.push(finding);
        })
        .unwrap();
    let newer = found.iter().filter(|finding| finding.newer).count() as u64;
    assert_eq!((report.newer, report.findings), (newer, found.len() as u64 - newer));
    found
}

/// That a store is found to be of a later version, and not damaged.
fn assert_newer(store: &Store, what: &str) {
    for data in [false, true] {
        let found = findings(store, data);
        assert!(!found.is_empty() && found.iter().all(|f| f.newer), "{what}: {found:#?}");
    }
}

fn assert_refused<T>(outcome: Result<T>, what: &str) {
    let error = outcome.err().unwrap_or_else(|| panic!("{what}: no error"));
    assert!(error.is_newer() && error.kind() == ErrorKind::Refused, "{what}: {error}");
    assert!(error.hint_text().unwrap().starts_with("use a newer freestone"), "{what}");
}

fn with(bytes: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] = value;
    bytes
}

/// The bytes with `extensions` in the place of the empty ones at `at`.
fn extended(bytes: &[u8], at: usize, extensions: &[u8]) -> Vec<u8> {
    assert_eq!(bytes[at], 0);
    [&bytes[..at], extensions, &bytes[at + 1..]].concat()
}

/// The bytes of a pack's table with `extensions` in the place of its own.
fn of_other_extensions(table: &[u8], extensions: &[u8]) -> Vec<u8> {
    let own = usize::from(table[1]);
    [&table[..1], extensions, &table[2 + own..]].concat()
}

fn revision_of(root: Id, entries: u64, bytes: u64, content_digest: Id) -> Revision {
    let (message, labels) = (String::new(), BTreeMap::new());
    Revision { root, content_digest, entries, bytes, time: 1, parents: Vec::new(), message, labels }
}

/// What a store holds for a revision of one entry, changed by `change`.
fn records(entry: Entry, change: &dyn Fn(&[u8]) -> Vec<u8>) -> (Vec<(RecordKind, Vec<u8>)>, Id) {
    let mut builder = Builder::new(MemoryNodes::default());
    builder.push(entry).unwrap();
    let (root, nodes) = builder.finish().unwrap();
    let node = change(nodes.iter().next().unwrap().2);
    let id = derived(context::MANIFEST_NODE, &node);
    let revision = revision_of(id, root.entries, root.bytes, root.content_digest);
    let id = revision.id();
    (vec![(RecordKind::ManifestNode, node), (RecordKind::Revision, revision.encode())], id)
}

/// A store of one pack with these records and `main` naming `revision`; its table as `change` makes
/// it.
fn store_of(
    records: &[(RecordKind, Vec<u8>)],
    revision: Id,
    change: &dyn Fn(&[u8]) -> Vec<u8>,
) -> (tempfile::TempDir, Store) {
    let (folder, store) = new_store();
    let mut forge = Forge::default();
    for (kind, bytes) in records {
        forge.add(*kind, Codec::Raw, bytes).unwrap();
    }
    let table = change(&encode_table(&forge.rows, &[7; 16]));
    let pack = write_pack(&**store.backend(), &forge.bytes, &table).unwrap();
    let mut listed = forge.listed(pack);
    let object = store.backend().open(&pack_name(&pack)).unwrap().unwrap();
    listed.packs[0].length = object.length();
    write_segment(&**store.backend(), 1, listed).unwrap();
    store.refs().set("main", revision, Expect::Any, 1).unwrap();
    let store = Store::open(store.root().unwrap()).unwrap();
    (folder, store)
}

fn same(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[test]
fn packs_of_later_versions_are_refused() {
    let file = b"bytes".to_vec();
    let kind = EntryKind::File {
        executable: false,
        size: 5,
        sha1: digest::sha1(&file),
        content: digest::plain(&file),
    };
    let entry = Entry { kind, ..Entry::directory("a", 1) };
    let (mut list, revision) = records(entry, &same);
    list.insert(0, (RecordKind::Chunk, file));
    let (_folder, store) = store_of(&list, revision, &same);
    assert_eq!(findings(&store, true), []);
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [(&str, Change); 4] = [
        ("another version", |table| with(table, 0, 2)),
        ("a critical extension", |table| of_other_extensions(table, &CRITICAL)),
        ("an unknown kind", |table| with(table, 132, 77)),
        ("an unknown codec", |table| with(table, 135, 9)),
    ];
    for (what, change) in changes {
        let (_folder, store) = store_of(&list, revision, &|table| change(table));
        assert_newer(&store, what);
        assert_refused(maintain::stats(&store, Watch::default()), what);
        assert_refused(maintain::reindex(&store, Watch::default()), what);
        // A push cannot tell what is there.
        let tree = MemorySource::of([("a", "bytes")]);
        let options = PushOptions { ref_name: Some("new".into()), ..PushOptions::default() };
        assert_refused(push_tree(&store, &tree, &options), what);
    }
    // An extension that is not critical is passed over.
    let (_folder, store) =
        store_of(&list, revision, &|table| of_other_extensions(table, &EXTENSION));
    assert_eq!(findings(&store, true), []);
}

#[test]
fn a_pack_whose_header_alone_is_of_another_version_is_damaged() {
    let (list, revision) = records(Entry::directory("a", 1), &same);
    let (_folder, store) = store_of(&list, revision, &same);
    let listed = store.backend().list("packs").unwrap();
    let path = store.root().unwrap().join(&listed[0].name);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, with(&bytes, 8, 2)).unwrap();
    assert_eq!(maintain::stats(&store, Watch::default()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(findings(&store, false).iter().all(|finding| !finding.newer));
}

#[test]
fn nodes_and_revisions_of_later_versions_are_refused() {
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [(&str, Change); 4] = [
        ("another version", |node| with(node, 0, 2)),
        ("a critical extension", |node| extended(node, 2, &CRITICAL)),
        ("an extension", |node| extended(node, 2, &EXTENSION)),
        // The entry's flags say that it has extensions.
        ("an entry's", |node| [&node[..node.len() - 1], &[8], &CRITICAL].concat()),
    ];
    for (what, change) in changes {
        let (list, revision) = records(Entry::directory("a", 1), &|node| change(node));
        let (_folder, store) = store_of(&list, revision, &same);
        let root = store.resolve("main").unwrap().revision.root;
        let walk = || store.tree(&root)?.cursor().next().map(|entry| entry.cloned());
        assert_refused(walk(), what);
        assert_newer(&store, what);
    }
    for (what, change) in [
        ("another version", (|bytes: &[u8]| with(bytes, 0, 2)) as Change),
        ("a critical extension", |bytes| extended(bytes, 1, &CRITICAL)),
    ] {
        let (mut list, _) = records(Entry::directory("a", 1), &same);
        list[1].1 = change(&list[1].1);
        let id = derived(context::REVISION, &list[1].1);
        let (_folder, store) = store_of(&list, id, &same);
        assert_refused(store.resolve("main"), what);
        assert_newer(&store, what);
    }
    // Nothing proves a version 0, and there never was one.
    assert_eq!(Node::decode(&[0, 1, 0, 0]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn content_trees_of_later_versions_are_refused() {
    const LENGTH: u64 = 1 << 30;
    let tree = ContentNode::Leaf(vec![ContentItem::Zeros(LENGTH)]).encode();
    let content = |tree: &[u8], change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let top = derived(context::CONTENT_NODE, tree);
        let (sha1, blake3) = (Sha1([1; 20]), Id([2; 32]));
        let record = ContentRecord { chunker: 1, length: LENGTH, sha1, blake3, level: 1, top };
        change(&record.encode())
    };
    let cases = [
        ("a record's version", tree.clone(), content(&tree, &|bytes| with(bytes, 0, 2))),
        ("a record's field", tree.clone(), content(&tree, &|b| extended(b, 2, &CRITICAL))),
        ("a node's version", with(&tree, 0, 2), content(&with(&tree, 0, 2), &same)),
        ("a node's field", extended(&tree, 2, &CRITICAL), {
            content(&extended(&tree, 2, &CRITICAL), &same)
        }),
    ];
    for (what, tree, record) in cases {
        let content = derived(context::CONTENT_RECORD, &record);
        let sha1 = Sha1([1; 20]);
        let kind = EntryKind::File { executable: false, size: LENGTH, sha1, content };
        let (mut list, revision) = records(Entry { kind, ..Entry::directory("a", 1) }, &same);
        list.push((RecordKind::ContentNode, tree));
        list.push((RecordKind::ContentRecord, record));
        let (_folder, store) = store_of(&list, revision, &same);
        let records = store.records().unwrap();
        let read = pieces(&records, &content, LENGTH, None, 0..LENGTH, &mut |_| Ok(()));
        assert_refused(read, what);
        let found = findings(&store, false);
        assert!(!found.is_empty() && found.iter().all(|f| f.newer), "{what}: {found:#?}");
    }
}

#[test]
fn ref_entries_of_later_versions_are_refused() {
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [(&str, Change); 4] = [
        ("another version", |body| with(body, 7, b'2')),
        ("an extension", |body| extended(body, 8, &EXTENSION)),
        ("a critical extension", |body| extended(body, 8, &CRITICAL)),
        ("an unknown kind", |body| with(body, 9, 3)),
    ];
    let (list, revision) = records(Entry::directory("a", 1), &same);
    for (what, change) in changes {
        let (_folder, store) = store_of(&list, revision, &same);
        let first: RefEntry = store.refs().newest("main").unwrap().unwrap();
        let entry = RefEntry { n: 2, previous: Some(first.id()), ..first };
        let bytes = entry.encode();
        let body = change(&bytes[..bytes.len() - 32]);
        let bytes = [&body[..], &derived(context::REF_ENTRY, &body).0].concat();
        let object = format!("refs/main/{}", ref_place::key(2));
        store.backend().create(&object, &bytes).unwrap();
        assert_refused(store.refs().list(), what);
        assert_refused(store.resolve("main"), what);
        assert_newer(&store, what);
        // The others are looked at all the same.
        store.refs().set("other", Id([9; 32]), Expect::Any, 1).unwrap();
        let found = findings(&store, false);
        assert!(found.iter().any(|f| f.object == "ref other"), "{what}: {found:#?}");
        // Damage is damage.
        let path = store.root().unwrap().join(&object);
        std::fs::write(&path, with(&bytes, 20, bytes[20] ^ 1)).unwrap();
        assert_eq!(store.resolve("main").unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
    }
}

#[test]
fn segments_of_later_versions_are_refused_if_they_are_intact() {
    let (list, revision) = records(Entry::directory("a", 1), &same);
    let (_folder, store) = store_of(&list, revision, &same);
    let listed = store.backend().list("index").unwrap();
    let bytes = store.backend().get(&listed[0].name, 1 << 20).unwrap().unwrap();
    let body = &bytes[..bytes.len() - 32];
    let critical = {
        let mut header = Writer::default();
        header.u64(3);
        let mut body = body.to_vec();
        body[72..80].copy_from_slice(header.bytes());
        [&body[..96], &CRITICAL[1..], &body[96..]].concat()
    };
    // Of two rows, behind kinds and codecs lies only the column of bases, of width 0, then the
    // SHA-1 fan-out of two numbers, and nothing else.
    let codec = body.len() - 2 * 4 - 1;
    let mut kinds = [body[codec - 3], body[codec - 2]];
    kinds.sort_unstable();
    assert_eq!((kinds, &body[codec - 1..=codec]), ([4, 5], &[0, 0][..]));
    let unknown_codec = with(body, codec, 9);
    let unknown_kind = with(body, codec - 2, 77);
    for (what, body) in [
        ("another version", with(body, 8, 2)),
        ("other prefixes", with(body, 12, 6)),
        ("a critical extension", critical),
        ("an unknown codec", unknown_codec),
        ("an unknown kind", unknown_kind),
    ] {
        let check = digest::plain(&body);
        let mut id = [0; 16];
        id.copy_from_slice(&check.0[..16]);
        let is_of_a_row = what.contains("unknown");
        for (bytes, is_intact) in
            [([&body[..], &check.0].concat(), true), ([&body[..], &[7; 32]].concat(), false)]
        {
            let (_folder, store) = store_of(&list, revision, &same);
            store.backend().remove(&listed[0].name).unwrap();
            let id = if is_intact { id } else { [7; 16] };
            let name = format!("index/{}", segment::file_name(0, 1, &id));
            store.backend().create(&name, &bytes).unwrap();
            let read: Result<(), Error> = store.index().and_then(|index| {
                if is_of_a_row {
                    index.find(RecordKind::Revision, &revision, &mut |_| Ok(true))?;
                    let node = derived(context::MANIFEST_NODE, &list[0].1);
                    index.find(RecordKind::ManifestNode, &node, &mut |_| Ok(true))?;
                }
                Ok(())
            });
            if is_intact {
                assert_refused(read, what);
                assert_newer(&store, what);
            } else {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
                assert!(findings(&store, false).iter().any(|f| !f.newer), "{what}");
            }
        }
    }
}
