//! The decoders of the crate `format`.

use crate::Goldens;
use freestone_core::digest::{self, context};
use freestone_core::wire::Writer;
use freestone_core::{Id, Sha1};
use freestone_format::condemned::Stage;
use freestone_format::header::Header;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::ref_entry;
use freestone_format::ref_place::RefPlace;
use freestone_format::revision::{Revision, decode_file, encode_file};
use freestone_format::runs::RunsFile;
use freestone_format::segment::{self, Segment};
use freestone_format::upstream::Config;
use freestone_format::{
    StoreId, condemned, frame as frames, hint as hints_of, pack, ref_place, references as ids,
};
use std::sync::Arc;

/// The longest plain bytes of a frame that are asked for.
const PLAIN_BYTES_MAX: usize = 1 << 20;
/// The base of frames that have one.
const BASE: &[u8] = b"the quick brown fox jumps over the lazy dog, again and again and again";

/// Runs a decoder of a structure that ends with its own hash: on the bytes as they are, and with the
/// hash of all before it in the place of the last 32 bytes.
fn with_hash(data: &[u8], hash: impl Fn(&[u8]) -> Id, decode: impl Fn(&[u8]) -> bool) -> bool {
    let body = &data[..data.len().saturating_sub(32)];
    let sealed = [body, &hash(body).0].concat();
    decode(data) | decode(&sealed)
}

pub(super) fn header(data: &[u8]) -> bool {
    let decode = |text: &[u8]| match Header::decode(text) {
        Ok(header) => {
            assert_eq!(
                Header::decode(header.encode().as_bytes()).unwrap().encode(),
                header.encode()
            );
            true
        }
        Err(_) => false,
    };
    let end = data.windows(7).rposition(|word| word == b"check: ").unwrap_or(data.len());
    let check = format!("check: {}\n", digest::plain(&data[..end]));
    decode(data) | decode(&[&data[..end], check.as_bytes()].concat())
}

pub(super) fn headers(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.objects(|name| name == "format")
}

pub(super) fn hint(data: &[u8]) -> bool {
    let Some(lines) = hints_of::decode(data) else { return false };
    let lines: Vec<String> = lines.into_iter().map(String::from).collect();
    assert_eq!(hints_of::decode(&hints_of::encode(&lines)).unwrap(), lines);
    true
}

pub(super) fn hints(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.objects(|name| name.ends_with("/latest"))
}

pub(super) fn upstream(data: &[u8]) -> bool {
    let Ok(config) = Config::decode(data) else { return false };
    assert_eq!(Config::decode(config.encode().as_bytes()).unwrap(), config);
    true
}

pub(super) fn upstreams(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.objects(|name| name == "upstream")
}

/// Parses the names of objects and refs.
pub(super) fn names(data: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(data) else { return false };
    let mut is_one = ref_entry::check_part(name).is_ok();
    if ref_entry::check_name(name).is_ok() {
        is_one = true;
        let folder = ref_entry::folder(name);
        let folder = folder.strip_prefix("refs/").unwrap();
        assert_eq!(ref_entry::name_of_folder(folder).as_deref(), Some(name));
    }
    if let Some(place) = ref_place::place_of_key(name) {
        is_one = true;
        assert_eq!(ref_place::key(place), name);
    }
    if let Some(id) = pack::id_of_object(name) {
        is_one = true;
        assert_eq!(pack::object_name(&id), name);
    }
    if let Some((n, stage)) = condemned::of_object(name) {
        is_one = true;
        assert_eq!(condemned::object_name(n, stage), name);
    }
    is_one
        | segment::parse_file_name(name).is_some()
        | StoreId::parse(name).is_some()
        | ref_entry::name_of_folder(name).is_some()
}

pub(super) fn all_names(_: &Goldens) -> Vec<Vec<u8>> {
    let id = digest::plain(b"a pack");
    let names = [
        "main".into(),
        "hosts/web-1/site".into(),
        "hosts%2Fweb-1%2Fsite".into(),
        ref_place::key(7),
        pack::object_name(&id),
        condemned::object_name(1 << 60, Stage::Verdict),
        segment::file_name(3, 1 << 60, &[7; 16]),
        StoreId([9; 16]).to_string(),
    ];
    names.into_iter().map(String::into_bytes).collect()
}

pub(super) fn ref_entry(data: &[u8]) -> bool {
    let hash = |body: &[u8]| digest::derived(context::REF_ENTRY, body);
    with_hash(data, hash, |bytes| {
        (0..=3).any(|n| match RefPlace::decode("main", n, bytes) {
            Ok(place) => {
                assert_eq!(place.encode("main"), bytes);
                true
            }
            Err(_) => false,
        })
    })
}

pub(super) fn ref_entries(goldens: &Goldens) -> Vec<Vec<u8>> {
    let mut entries = goldens.objects(|name| name.contains("refs/main/7"));
    let first = entries.first().and_then(|bytes| RefPlace::decode("main", 1, bytes).ok());
    entries.extend(first.map(|place| RefPlace::barrier_after(&place, 3).encode("main")));
    entries.push(RefPlace::unborn().encode("main"));
    entries
}

pub(super) fn condemned(data: &[u8]) -> bool {
    with_hash(data, digest::plain, |bytes| {
        [Stage::Intent, Stage::Verdict].into_iter().any(|stage| {
            let Ok(packs) = condemned_packs(stage, bytes) else { return false };
            let again = condemned::encode(stage, &packs);
            let mut sorted = packs;
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(condemned_packs(stage, &again).unwrap(), sorted);
            true
        })
    })
}

fn condemned_packs(stage: Stage, bytes: &[u8]) -> freestone_core::Result<Vec<Id>> {
    let mut read = |at: u64, out: &mut [u8]| {
        let at = usize::try_from(at).unwrap();
        out.copy_from_slice(&bytes[at..at + out.len()]);
        Ok(())
    };
    condemned::decode_in_pieces(stage, bytes.len() as u64, &mut read, &mut |_| true)
}

pub(super) fn condemned_lists(_: &Goldens) -> Vec<Vec<u8>> {
    let ids: Vec<Id> = (0..5u8).map(|n| digest::plain(&[n])).collect();
    vec![condemned::encode(Stage::Intent, &[]), condemned::encode(Stage::Verdict, &ids)]
}

pub(super) fn runs(data: &[u8]) -> bool {
    let pack = data.get(8..40).and_then(|id| id.try_into().ok()).map_or(Id([0; 32]), Id);
    with_hash(data, digest::plain, |bytes| match RunsFile::decode(&pack, bytes) {
        Ok(file) => {
            assert_eq!(RunsFile::decode(&pack, &file.encode(&pack)).unwrap(), file);
            true
        }
        Err(_) => false,
    })
}

pub(super) fn runs_files(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.objects(|name| name.ends_with(".runs"))
}

pub(super) fn revision(data: &[u8]) -> bool {
    let _ = Revision::id_places(data);
    let Ok(revision) = Revision::decode(data) else { return false };
    assert_eq!(revision.encode(), data);
    true
}

pub(super) fn revisions(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.plain(RecordKind::Revision)
}

pub(super) fn revision_file(data: &[u8]) -> bool {
    // Magic, length and revision, which is named as it should be.
    let length =
        data.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let end = 12usize.saturating_add(length as usize);
    let id = digest::derived(context::REVISION, data.get(12..end).unwrap_or_default());
    let Ok((revision, ranges)) = decode_file(&id, data) else { return false };
    let again = encode_file(&revision.encode(), &ranges);
    assert_eq!(decode_file(&id, &again).unwrap(), (revision, ranges));
    true
}

pub(super) fn revision_files(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.objects(|name| name.contains("revisions/"))
}

pub(super) fn pack_table(data: &[u8]) -> bool {
    if let Some(trailer) = data.last_chunk() {
        let _ = pack::table_place(data.len() as u64, *trailer);
    }
    let Ok(rows) = pack::decode_table(data, 1 << 40) else { return false };
    assert_eq!(pack::decode_table(&pack::encode_table(&rows, &[7; 16]), 1 << 40).unwrap(), rows);
    true
}

pub(super) fn pack_tables(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.tables.clone()
}

pub(super) fn segment(data: &[u8]) -> bool {
    let Ok(segment) = Segment::open(Arc::new(data.to_vec())) else { return false };
    let _ = segment.verify();
    let _ = segment.supersedes().count();
    for at in 0..segment.pack_count().min(300) {
        let _ = segment.pack(at);
    }
    for at in 0..segment.record_count().min(300) {
        if let Ok(row) = segment.row(at) {
            let mut id = [0; 32];
            id[..segment::PREFIX_BYTES].copy_from_slice(&row.prefix);
            assert!(segment.find(&Id(id)).is_ok_and(|rows| rows.end <= segment.record_count()));
        }
    }
    for at in 0..segment.sha1_count().min(300) {
        let Ok((prefix, _)) = segment.sha1(at) else { return false };
        let mut sha1 = [0; 20];
        sha1[..segment::PREFIX_BYTES].copy_from_slice(&prefix);
        let _ = segment.find_sha1(&Sha1(sha1)).map(|rows| rows.take(300).count());
    }
    for at in 0..segment.commit_count().min(300) {
        let Ok((commit, _)) = segment.commit(at) else { return false };
        let _ = segment.find_commits([0; 5], commit).map(|rows| rows.take(300).count());
    }
    let _ = segment.rows_of(RecordKind::Revision).take(300).count();
    true
}

pub(super) fn segments(goldens: &Goldens) -> Vec<Vec<u8>> {
    goldens.objects(|name| name.ends_with(".idx"))
}

/// Decompresses a frame that follows its plain length, with and without a base.
pub(super) fn frame(data: &[u8]) -> bool {
    let Some((length, stored)) = data.split_first_chunk() else { return false };
    let plain = u32::from_le_bytes(*length) as usize;
    let plain = plain.min(PLAIN_BYTES_MAX);
    let is_length = |bytes: Vec<u8>| assert_eq!(bytes.len(), plain);
    let alone = frames::decompress(stored, None, plain).map(is_length);
    alone.is_ok() | frames::decompress(stored, Some(BASE), plain).map(is_length).is_ok()
}

pub(super) fn frames(goldens: &Goldens) -> Vec<Vec<u8>> {
    let seed = |length: usize, stored: &[u8]| {
        [&u32::try_from(length).unwrap().to_le_bytes(), stored].concat()
    };
    let records = goldens.records.iter().filter(|record| {
        record.row.codec == Codec::Zstd && record.row.plain <= PLAIN_BYTES_MAX as u64
    });
    let alone =
        records.map(|record| seed(usize::try_from(record.row.plain).unwrap(), &record.stored));
    let plain = BASE.repeat(3);
    let over = frames::compress_over(&plain, Some(BASE), 3).unwrap();
    alone.chain([seed(plain.len(), &over)]).collect()
}

/// Decodes references, which follow the record's own place and its plain length.
pub(super) fn references(data: &[u8]) -> bool {
    let Some((head, stored)) = data.split_first_chunk::<8>() else { return false };
    let head = u64::from_le_bytes(*head);
    let (own, plain) = ((head & 0xff_ffff) as usize, (head >> 32) as usize);
    let plain = plain.min(PLAIN_BYTES_MAX);
    let id = |place: usize| (place < 1 << 20).then_some(Id([7; 32]));
    if let Ok(bytes) = ids::decode_ids(stored, own, Some(BASE), plain, &id) {
        assert_eq!(bytes.len(), plain);
    }
    let Ok((found, frame)) = ids::decode(stored, own, plain) else { return false };
    let mut out = Writer::default();
    ids::encode(&found, own, &mut out);
    out.raw(frame);
    assert_eq!(out.bytes(), stored);
    true
}

pub(super) fn all_references(goldens: &Goldens) -> Vec<Vec<u8>> {
    let records = goldens.records.iter();
    let records = records.filter(|record| record.row.codec == Codec::ZstdBaseIds);
    let seeds = records.map(|record| {
        let head = record.row.plain << 32 | record.place as u64;
        [&head.to_le_bytes(), &record.stored[..]].concat()
    });
    seeds.collect()
}
