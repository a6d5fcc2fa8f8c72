//! `docs/format.md` against the code: the numbers of its tables are the constants in use.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_core::digest::context;
use freestone_core::limits;
use freestone_core::wire::Reader;
use freestone_core::{Id, Measure};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::{pack, segment};
use std::collections::BTreeMap;

fn page() -> String {
    std::fs::read_to_string(freestone_testkit::top().join("docs/format.md")).unwrap()
}

/// The rows of the table that begins with the header row `first`.
fn table(first: &str) -> Vec<Vec<String>> {
    let page = page();
    let at = page.find(first).unwrap_or_else(|| panic!("no table {first:?}"));
    page[at..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect())
        .collect()
}

#[test]
fn limits_are_those_in_use() {
    let told: BTreeMap<String, u64> = table("| limit | value |")
        .iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect();
    let used: BTreeMap<&str, u64> = [
        ("device block", limits::BLOCK_BYTES),
        ("tar block", limits::TAR_BLOCK_BYTES),
        ("content kept as one chunk, at most", limits::CONTENT_WHOLE_BYTES_MAX),
        ("content aligned in images and packs, at least", limits::ALIGNED_CONTENT_BYTES_MIN),
        ("chunk, at least (but the last of a stretch)", limits::CHUNK_BYTES_MIN as u64),
        ("chunk, mean aimed at", limits::CHUNK_BYTES_MEAN as u64),
        ("chunk, at most", limits::CHUNK_BYTES_MAX as u64),
        ("zero units of a zero item, at least", limits::ZERO_RUN_UNITS_MIN),
        ("items of a node before a new one may begin", limits::NODE_ITEMS_MIN as u64),
        ("items of a node, at most", limits::NODE_ITEMS_MAX as u64),
        ("fan-out of the levels", limits::NODE_FANOUT),
        ("levels of a rope, at most", limits::ROPE_LEVELS_MAX.into()),
        ("path", limits::PATH_BYTES_MAX as u64),
        ("link text", limits::LINK_BYTES_MAX as u64),
        ("encoded node", limits::NODE_BYTES_MAX as u64),
        ("extensions of one structure", limits::EXTENSION_BYTES_MAX as u64),
        ("mtime, at most", limits::MTIME_MAX.unsigned_abs()),
        ("pax payload", limits::PAX_PAYLOAD_BYTES_MAX as u64),
        ("size in a ustar header, at most", limits::USTAR_SIZE_MAX),
        ("the file `format`", limits::HEADER_BYTES_MAX),
        ("message", limits::MESSAGE_BYTES_MAX as u64),
        ("labels of a revision", limits::LABELS_MAX as u64),
        ("label", limits::LABEL_BYTES_MAX as u64),
        ("parents of a revision", limits::PARENTS_MAX as u64),
        ("records of a pack", limits::PACK_RECORDS_MAX),
    ]
    .into();
    assert_eq!(told.iter().map(|(k, v)| (&**k, *v)).collect::<BTreeMap<_, _>>(), used);
}

#[test]
fn contexts_are_those_in_use() {
    let told: Vec<String> =
        table("| what | context |").iter().map(|row| row[1].trim_matches('`').into()).collect();
    assert_eq!(
        told,
        [
            context::ROPE_LEVEL,
            context::MANIFEST_NODE,
            context::CONTENT_NODE,
            context::CONTENT_RECORD,
            context::CONTENT_DIGEST,
            context::REVISION,
            context::REF_ENTRY,
            context::PACK_TABLE,
        ]
    );
}

#[test]
fn kinds_and_codecs_are_those_in_use() {
    for row in table("| kind | record | hashed as |") {
        let kind = RecordKind::of(row[0].parse().unwrap()).unwrap();
        assert_eq!(kind.word(), row[1]);
        let hashed = match row[2].trim_matches('`') {
            "plain content" => freestone_core::digest::plain(b"x"),
            context => freestone_core::digest::derived(context, b"x"),
        };
        assert_eq!(kind.id_of(b"x"), Some(hashed));
    }
    let codecs = table("| codec | stored bytes |");
    let known = [Codec::Raw, Codec::Zstd, Codec::Zeros, Codec::ZstdBase, Codec::ZstdBaseIds];
    assert_eq!(codecs.len(), known.len());
    for (number, (row, codec)) in codecs.iter().zip(known).enumerate() {
        assert_eq!(row[0], number.to_string());
        assert_eq!(Codec::of(u8::try_from(number).unwrap()).unwrap(), codec);
    }
    assert!(Codec::of(5).is_err() && RecordKind::of(6).is_err() && RecordKind::of(127).is_err());
    assert!(RecordKind::of(128).is_ok());
}

#[test]
fn measures_are_encoded_as_told() {
    for row in table("| kind | numbers | length |") {
        let kind: u8 = row[0].parse().unwrap();
        let numbers = if row[1].is_empty() { 0 } else { row[1].split(',').count() };
        let bytes = [&[kind][..], &[7, 9][..numbers]].concat();
        let mut input = Reader::new(&bytes);
        let expected = [Measure::Rigid(7), Measure::Reset(7, 9), Measure::Inexpressible];
        assert_eq!(Measure::decode(&mut input).unwrap(), expected[usize::from(kind)]);
        assert!(input.is_empty());
    }
}

#[test]
fn the_header_of_a_segment_is_laid_out_as_told() {
    let row = segment::SegmentRow {
        prefix: [7; segment::PREFIX_BYTES],
        pack: 0,
        offset: 16,
        stored: 1,
        plain: 1,
        kind: RecordKind::Chunk,
        codec: Codec::Raw,
        base: None,
    };
    let parts = segment::SegmentParts {
        supersedes: vec![[1; 16]; 3],
        packs: vec![segment::SegmentPack { id: Id([2; 32]), length: 5, table: 1 }; 2],
        rows: vec![row; 4],
        commits: vec![([1; segment::PREFIX_BYTES], 0)],
        ..Default::default()
    };
    let (bytes, _) = parts.clone().encode();
    assert_eq!(bytes[22], 0);
    assert_eq!(parts.encode_without_rows().0[22], 1);
    let expected: BTreeMap<&str, u64> = [
        ("version", 1),
        ("packs", 2),
        ("records", 4),
        ("SHA-1s", 0),
        ("commits", 1),
        ("superseded segments", 3),
        ("bytes of filters, reserved", 0),
        ("bytes of extensions", 0),
    ]
    .into();
    let mut seen = 0;
    for row in table("| offset | field | bytes |") {
        let offset: usize = row[0].parse().unwrap();
        if row[1] == "magic" {
            assert_eq!(row[2], format!("8: `{}`", String::from_utf8_lossy(&bytes[..8])));
        } else if let Some(value) = expected.get(&*row[1]) {
            let width = if row[2].starts_with("u32") { 4 } else { 8 };
            let mut number = [0; 8];
            number[..width].copy_from_slice(&bytes[offset..offset + width]);
            assert_eq!(u64::from_le_bytes(number), *value, "{}", row[1]);
            seen += 1;
        } else if row[1].starts_with("widths") {
            let told = row[1].trim_start_matches("widths:").split(',').count();
            let widths = &bytes[offset..offset + told];
            let prefix = u8::try_from(segment::PREFIX_BYTES).unwrap();
            assert_eq!((widths[0], widths[7], told), (prefix, prefix, 10));
        }
    }
    assert_eq!(seen, expected.len());
    assert!(page().contains(&format!("keeps {} bytes of each id", segment::PREFIX_BYTES)));
}

#[test]
fn the_frame_of_a_pack_is_as_told() {
    let rows = table("| part of a pack | bytes |");
    let hex: String = pack::HEADER[..8].iter().map(|byte| format!("{byte:02x} ")).collect();
    assert!(rows[0][1].contains(hex.trim()), "{}", rows[0][1]);
    assert_eq!(pack::HEADER[8..], [1, 0, 0, 0, 0, 0, 0, 0]);
    let trailer = pack::encode_trailer(77);
    assert_eq!(rows[3][1], "u64");
    assert_eq!(trailer[..8], 77u64.to_le_bytes());
    assert_eq!(rows[4][1], format!("8: `{}`", String::from_utf8_lossy(&trailer[8..])));
    assert_eq!(pack::TRAILER_BYTES, 16);
}

#[test]
fn magics_of_files_are_as_told() {
    use freestone_format::{RefAction, RefEntry, Revision};
    let revision = Revision {
        root: Id([1; 32]),
        content_digest: Id([2; 32]),
        entries: 1,
        bytes: 2,
        time: 3,
        parents: vec![],
        message: String::new(),
        labels: BTreeMap::new(),
    };
    let file = freestone_format::revision::encode_file(&revision.encode(), &[]);
    let magic = |bytes: &[u8]| format!("| magic | 8: `{}` |", String::from_utf8_lossy(&bytes[..8]));
    assert!(page().contains(&magic(&file)));
    let entry = RefEntry {
        action: RefAction::Delete,
        name: "main".into(),
        log_id: [1; 16],
        n: 1,
        previous: None,
        time: 0,
    };
    assert!(page().contains(&magic(&entry.encode())));
    assert_eq!(entry.encode()[9], 2, "kind of a deletion, behind empty extensions");
    let runs = freestone_format::runs::RunsFile::default();
    assert!(page().contains(&magic(&runs.encode(&Id([1; 32])))));
    let collected = freestone_format::collected::Collected::default();
    assert!(page().contains(&magic(&collected.encode())));
}
