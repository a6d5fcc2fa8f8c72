//! Every decoder on bytes that were valid and are not any more: never a panic, and what is taken
//! is what an encoder writes, byte for byte, so that a structure has one encoding only.
//!
//! Structures that hold their own hash are changed and hashed anew, so that what lies behind the
//! check is reached. `FREESTONE_LONG=1` tries a hundred times as many.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "any bits of a random number are as good"
)]

use freestone_core::digest::{self, context};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Id, Measure, Sha1};
use freestone_format::StoreId;
use freestone_format::header::Header;
use freestone_format::pack::{self, Base, HEADER, Row};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::ref_entry::check_name as check_ref_name;
use freestone_format::ref_entry::{RefAction, RefEntry};
use freestone_format::revision::{PackRange, Revision, decode_file, encode_file};
use freestone_format::segment::{Segment, SegmentPack, SegmentParts, SegmentRow, prefix};
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord};
use freestone_manifest::{Entry, EntryKind, Items, Node, Subtree};
use freestone_testkit::{Dice, cases, mutate};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn config() -> ProptestConfig {
    let cases = cases(20_000, 2_000_000);
    // A seed that fails is printed; there is no file of them.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn any_id(dice: &mut Dice) -> Id {
    digest::plain(&dice.any().to_le_bytes())
}

fn text(dice: &mut Dice, length: u64) -> String {
    (0..dice.below(length)).map(|_| char::from(b'a' + (dice.any() % 26) as u8)).collect()
}

fn rows(dice: &mut Dice) -> Vec<Row> {
    let mut end = HEADER.len() as u64;
    let mut rows: Vec<Row> = Vec::new();
    for index in 0..dice.index(12) {
        let length = dice.below(5000);
        let (codec, stored, plain) = match dice.below(if index > 0 { 4 } else { 3 }) {
            0 => (Codec::Raw, length, length),
            1 => (Codec::Zeros, 0, length),
            2 => (Codec::Zstd, length + 1, length * 3 + 2),
            _ => (Codec::ZstdBase, length + 1, length * 3 + 2),
        };
        let base = (codec == Codec::ZstdBase).then(|| match dice.below(2) {
            0 => Base::Same(dice.index(index)),
            _ => Base::Other {
                pack: Id([dice.below(3) as u8; 32]),
                offset: dice.magnitude(),
                stored: 7,
                plain: 9,
                codec: Codec::Zstd,
            },
        });
        let offset = end + dice.below(3) * dice.below(4096);
        end = offset + stored;
        let kind = RecordKind::of([1, 2, 3, 4, 5, 128, 255][dice.index(7)]).unwrap();
        let checksum = [dice.any() as u8; 4];
        rows.push(Row { kind, codec, id: any_id(dice), checksum, offset, stored, plain, base });
    }
    rows
}

fn revision(dice: &mut Dice) -> Revision {
    let labels = (0..dice.below(4)).map(|_| (format!("k{}", text(dice, 5)), text(dice, 9)));
    let labels: BTreeMap<String, String> = labels.collect();
    Revision {
        root: any_id(dice),
        content_digest: any_id(dice),
        entries: dice.magnitude(),
        bytes: dice.magnitude(),
        time: dice.any() as i64,
        parents: (0..dice.below(4)).map(|_| any_id(dice)).collect(),
        message: text(dice, 40),
        labels,
    }
}

fn segment_parts(dice: &mut Dice) -> SegmentParts {
    let row = |dice: &mut Dice| SegmentRow {
        prefix: prefix(&any_id(dice).0),
        pack: dice.below(3) as u32,
        offset: dice.magnitude(),
        stored: 50,
        plain: 50,
        kind: RecordKind::Chunk,
        codec: Codec::Raw,
        base: None,
    };
    let mut rows: Vec<SegmentRow> = (0..dice.below(60)).map(|_| row(dice)).collect();
    for at in (1..rows.len()).step_by(4) {
        (rows[at].codec, rows[at].plain, rows[at].base) =
            (Codec::ZstdBase, 70, Some(at as u64 - 1));
    }
    let count = rows.len();
    let sha1s = (0..count.min(9)).map(|_| (prefix(&any_id(dice).0), dice.index(count) as u64));
    let sha1s = sha1s.collect();
    let commits = (0..count.min(6)).map(|_| (prefix(&any_id(dice).0), dice.index(count) as u64));
    let commits = commits.collect();
    SegmentParts {
        random: [9; 16],
        supersedes: (0..dice.below(3)).map(|_| [dice.any() as u8; 16]).collect(),
        commits,
        packs: (0..3).map(|n| SegmentPack { id: Id([n; 32]), length: 1 << 30, table: 9 }).collect(),
        sha1s,
        rows,
    }
}

// Manifest nodes, written a second time and not by the manifest's own code.

fn encode_path(out: &mut Writer, before: &[u8], path: &[u8]) {
    let shared =
        (0..before.len().min(path.len())).take_while(|at| before[*at] == path[*at]).count();
    out.varint(shared as u64);
    out.string(&path[shared..]);
}

fn encode_entry(out: &mut Writer, entry: &Entry) {
    out.varint(entry.mtime.unsigned_abs());
    let has = |condition: bool, flag: u8| if condition { flag } else { 0 };
    let (file, executable) = match entry.kind {
        EntryKind::Directory => (false, false),
        EntryKind::File { executable, .. } => (true, executable),
    };
    out.u8(has(file, 1)
        | has(executable, 2)
        | has(entry.link.is_some(), 4)
        | has(!entry.extensions.is_empty(), 8));
    if let EntryKind::File { size, sha1, content, .. } = &entry.kind {
        out.varint(*size);
        out.sha1(sha1);
        out.id(content);
    }
    entry.link.iter().for_each(|text| out.string(text));
    if !entry.extensions.is_empty() {
        out.string(&entry.extensions);
    }
}

fn encode_node(node: &Node) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(&[1, node.level, 0]);
    let mut before: &[u8] = &[];
    match &node.items {
        Items::Entries(entries) => {
            out.varint(entries.len() as u64);
            for entry in entries {
                encode_path(&mut out, before, &entry.path);
                encode_entry(&mut out, entry);
                before = &entry.path;
            }
        }
        Items::Children(children) => {
            out.varint(children.len() as u64);
            for child in children {
                encode_path(&mut out, before, &child.first);
                out.id(&child.id);
                out.id(&child.content_digest);
                out.varint(child.entries);
                out.varint(child.bytes);
                out.raw(&[1, 1]);
                let mut measure = Writer::default();
                child.measure.encode(&mut measure);
                out.string(measure.bytes());
                out.u8(0);
                before = &child.first;
            }
        }
    }
    out.into_bytes()
}

fn node(dice: &mut Dice) -> Node {
    let mut paths: Vec<Vec<u8>> =
        (0..1 + dice.below(9)).map(|_| format!("p{}", text(dice, 8)).into()).collect();
    paths.sort();
    paths.dedup();
    if dice.below(2) == 0 {
        let mut entry = |path| {
            let kind = EntryKind::File {
                executable: dice.below(2) == 0,
                size: dice.magnitude(),
                sha1: Sha1([dice.any() as u8; 20]),
                content: any_id(dice),
            };
            let mut extension = Writer::default();
            extension.varint(2 * dice.below(100));
            extension.string(b"kept");
            Entry {
                path,
                mtime: (dice.any() >> 32) as i64,
                kind: if dice.below(5) == 0 { EntryKind::Directory } else { kind },
                link: (dice.below(9) == 0).then(|| b"../there".to_vec()),
                extensions: if dice.below(3) == 0 { extension.into_bytes() } else { Vec::new() },
            }
        };
        let mut entries: Vec<Entry> = paths.into_iter().map(&mut entry).collect();
        entries.iter_mut().filter(|entry| entry.is_directory()).for_each(|entry| entry.link = None);
        return Node { level: 1, items: Items::Entries(entries) };
    }
    let mut child = |first| Subtree {
        first,
        id: any_id(dice),
        content_digest: any_id(dice),
        entries: 1 + dice.magnitude() / 2,
        bytes: dice.magnitude(),
        measure: match dice.below(3) {
            0 => Measure::Rigid(dice.magnitude()),
            1 => Measure::Reset(dice.magnitude(), dice.magnitude()),
            _ => Measure::Inexpressible,
        },
    };
    let children = paths.into_iter().map(&mut child).collect();
    Node { level: 2 + dice.below(20) as u8, items: Items::Children(children) }
}

fn content_node(dice: &mut Dice) -> ContentNode {
    let count = 1 + dice.below(20);
    if dice.below(2) == 0 {
        let mut item = |_| match dice.below(3) {
            0 => ContentItem::Zeros(1 + dice.magnitude() / 2),
            _ => ContentItem::Chunk(1 + dice.below(4 << 20), any_id(dice)),
        };
        return ContentNode::Leaf((0..count).map(&mut item).collect());
    }
    let level = 2 + dice.below(20) as u8;
    ContentNode::Inner(
        level,
        (0..count).map(|_| (1 + dice.magnitude() / 2, any_id(dice))).collect(),
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pack_tables(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let rows = rows(dice);
        let valid = pack::encode_table(&rows, &[7; 16]);
        let place = rows.last().map_or(16, |row| row.offset + row.stored) + dice.below(3);
        prop_assert_eq!(pack::decode_table(&valid, place).unwrap(), rows);
        let mut bytes = valid;
        mutate(&mut bytes, dice);
        if let Ok(rows) = pack::decode_table(&bytes, place) {
            let mut end = 16;
            for row in &rows {
                prop_assert!(row.offset >= end && row.plain <= 4 << 20);
                end = row.offset + row.stored;
            }
            prop_assert!(end <= place);
            let again = pack::encode_table(&rows, &[7; 16]);
            // Extensions are passed over, and other packs can be listed in any order or in vain.
            let mut header = Reader::new(&bytes[1..]);
            let extensions = header.extensions().unwrap().len();
            let (_, packs) = (header.varint().unwrap(), header.varint().unwrap());
            if extensions == 0 && packs == 0 {
                header.raw(36 * rows.len()).unwrap();
                header.varint().unwrap();
                let at = bytes.len() - header.remaining();
                prop_assert_eq!(again.get(..at), bytes.get(..at));
                // Several zstd frames hold the same columns, and damaged ones can be worth one.
                let frame = header.varint().unwrap();
                if frame == 0 && Reader::new(&again[at..]).varint().unwrap() == 0 {
                    prop_assert_eq!(&again, &bytes);
                }
            }
            prop_assert_eq!(pack::decode_table(&again, place).unwrap(), rows);
        }
    }

    #[test]
    fn trailers(length in any::<u64>(), bytes in any::<[u8; 16]>(), good in any::<bool>()) {
        let trailer = if good {
            pack::encode_trailer(u64::from_le_bytes(bytes[..8].try_into().unwrap()) >> (bytes[9] % 64))
        } else {
            bytes
        };
        if let Ok((offset, table)) = pack::table_place(length, trailer) {
            prop_assert!(offset >= 16 && offset.checked_add(table + 16) == Some(length));
        }
    }

    #[test]
    fn segments(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let (mut bytes, id) = segment_parts(dice).encode();
        let segment = Segment::open(Arc::new(bytes.clone())).unwrap();
        prop_assert_eq!(segment.verify().unwrap(), id);
        if dice.below(2) == 0 {
            // In the header and the tables behind it lies what the rest is found by.
            let at = 12 + dice.index(200.min(bytes.len() - 12));
            bytes[at] = [0, 1, 255, dice.any() as u8][dice.index(4)];
        } else {
            mutate(&mut bytes, dice);
        }
        let Ok(segment) = Segment::open(Arc::new(bytes)) else { return Ok(()) };
        let _ = segment.verify();
        prop_assert!(segment.record_count() <= segment.length() / 5);
        for at in 0..segment.record_count().min(300) {
            if let Ok(row) = segment.row(at) {
                let _ = segment.pack(row.pack);
                let mut id = [0; 32];
                id[..5].copy_from_slice(&row.prefix);
                prop_assert!(segment.find(&Id(id)).unwrap().end <= segment.record_count());
            }
        }
        prop_assert!(segment.row(segment.record_count()).is_err());
        for at in 0..segment.sha1_count().min(300) {
            let (prefix, row) = segment.sha1(at).unwrap();
            let mut sha1 = [0; 20];
            sha1[..5].copy_from_slice(&prefix);
            let _ = segment.find_sha1(&Sha1(sha1)).unwrap().take(500).count();
            let _ = segment.row(row);
        }
        let _ = segment.supersedes().count();
        for at in 0..segment.commit_count().min(300) {
            let (commit, row) = segment.commit(at).unwrap();
            let _ = segment.find_commits([0; 5], commit).unwrap().take(500).count();
            let _ = segment.row(row);
        }
        let _ = segment.find(&any_id(dice));
    }

    #[test]
    fn revisions_and_their_files(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let revision = revision(dice);
        let mut bytes = revision.encode();
        prop_assert_eq!(&Revision::decode(&bytes).unwrap(), &revision);
        let ranges: Vec<PackRange> = (0..dice.below(5))
            .map(|_| PackRange { pack: any_id(dice), offset: dice.magnitude(), length: dice.magnitude() })
            .collect();
        let mut file = encode_file(&bytes, &ranges);
        prop_assert_eq!(decode_file(&revision.id(), &file).unwrap(), (revision.clone(), ranges));
        mutate(&mut bytes, dice);
        let id = digest::derived(context::REVISION, &bytes);
        let decoded = Revision::decode(&bytes);
        if let Ok(decoded) = &decoded {
            prop_assert_eq!(&decoded.encode(), &bytes);
            prop_assert_eq!(decoded.id(), id);
        }
        // Hashed anew, so that the file's check is passed.
        let of_file = decode_file(&id, &encode_file(&bytes, &[]));
        prop_assert_eq!(of_file.map(|(revision, _)| revision).ok(), decoded.ok());
        mutate(&mut file, dice);
        if let Ok((decoded, ranges)) = decode_file(&revision.id(), &file) {
            prop_assert_eq!(&decoded, &revision);
            let again = encode_file(&revision.encode(), &ranges);
            // Of the locator's extensions nothing is kept.
            let behind = 12 + revision.encode().len();
            prop_assert!(again == file || file[behind] != 0);
        }
    }

    #[test]
    fn ref_entries(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let n = 1 + dice.magnitude() / 2;
        let delete = dice.below(4) == 0;
        let entry = RefEntry {
            action: if delete { RefAction::Delete } else { RefAction::Set(any_id(dice)) },
            name: format!("a{}/b", text(dice, 9)),
            log_id: [dice.any() as u8; 16],
            n,
            previous: (n > 1).then(|| any_id(dice)),
            time: dice.any() as i64,
        };
        let bytes = entry.encode();
        prop_assert_eq!(&RefEntry::decode(&entry.name, &bytes).unwrap(), &entry);
        let mut changed = bytes.clone();
        mutate(&mut changed, dice);
        prop_assert!(changed == bytes || RefEntry::decode(&entry.name, &changed).is_err());
        let mut body = bytes[..bytes.len() - 32].to_vec();
        mutate(&mut body, dice);
        let check = digest::derived(context::REF_ENTRY, &body);
        let sealed = [&body[..], &check.0].concat();
        if let Ok(decoded) = RefEntry::decode(&entry.name, &sealed) {
            prop_assert_eq!(decoded.encode(), sealed);
        }
        prop_assert!(check_ref_name(&entry.name).is_ok());
    }

    #[test]
    fn headers(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let text = Header::new(StoreId([dice.any() as u8; 16])).encode();
        let mut changed = text.clone().into_bytes();
        mutate(&mut changed, dice);
        prop_assert!(changed == text.as_bytes() || Header::decode(&changed).is_err());
        let mut body = text.as_bytes()[..text.find("check").unwrap()].to_vec();
        mutate(&mut body, dice);
        let check = format!("check: {}\n", digest::plain(&body));
        let sealed = [&body[..], check.as_bytes()].concat();
        if let Ok(header) = Header::decode(&sealed) {
            prop_assert!(header.encode().len() == text.len());
        }
    }

    #[test]
    fn manifest_nodes(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let node = node(dice);
        let mut bytes = encode_node(&node);
        prop_assert_eq!(&Node::decode(&bytes).unwrap(), &node);
        mutate(&mut bytes, dice);
        if let Ok(decoded) = Node::decode(&bytes) {
            // Measures of other layouts are passed over.
            let again = encode_node(&decoded);
            prop_assert!(again == bytes || again.len() < bytes.len());
            let _ = decoded.child(Id([0; 32]));
        }
    }

    #[test]
    fn content_nodes_and_records(seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let node = content_node(dice);
        let mut bytes = node.encode();
        prop_assert_eq!(&ContentNode::decode(&bytes).unwrap(), &node);
        mutate(&mut bytes, dice);
        if let Ok(decoded) = ContentNode::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
            let _ = decoded.length();
        }
        let record = ContentRecord {
            chunker: 1 + dice.below(255) as u8,
            length: (1 << 20) + 1 + dice.magnitude() / 2,
            sha1: Sha1([dice.any() as u8; 20]),
            blake3: any_id(dice),
            level: 1 + dice.below(22) as u8,
            top: any_id(dice),
        };
        let mut bytes = record.encode();
        prop_assert_eq!(ContentRecord::decode(&bytes).unwrap(), record);
        mutate(&mut bytes, dice);
        if let Ok(decoded) = ContentRecord::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..300), n in any::<u64>()) {
        let _ = pack::decode_table(&bytes, n);
        let _ = Segment::open(Arc::new(bytes.clone()));
        let _ = Revision::decode(&bytes);
        let _ = decode_file(&digest::plain(&bytes), &bytes);
        let _ = RefEntry::decode("main", &bytes);
        let _ = Header::decode(&bytes);
        let _ = Node::decode(&bytes);
        let _ = ContentNode::decode(&bytes);
        let _ = ContentRecord::decode(&bytes);
    }
}
