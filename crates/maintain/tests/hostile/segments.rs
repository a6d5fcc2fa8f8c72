//! Index segments.

use super::*;
use crate::bases::{forge_chain, versions};

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
        maintain::reindex(&store, Watch::default()).unwrap();
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
    let name = freestone_format::segment::file_name(0, 1, &id);
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
