//! Segments: what goes in is found, and damage is found out.

use super::*;
use proptest::prelude::*;

fn row(seed: u32, packs: u32) -> SegmentRow {
    let id = digest::plain(&(seed % 500).to_le_bytes());
    SegmentRow {
        prefix: prefix(&id.0),
        pack: seed % packs,
        offset: u64::from(seed) * 1000,
        stored: u64::from(seed % 70_000) + 1,
        plain: u64::from(seed % 70_000) + 1,
        kind: RecordKind::of(1 + (seed % 5) as u8).unwrap(),
        codec: Codec::Raw,
        base: None,
    }
}

fn commit(seed: u32) -> [u8; PREFIX_BYTES] {
    prefix(&digest::plain(&(seed % 90).to_be_bytes()).0)
}

fn parts(seeds: &[u32]) -> SegmentParts {
    let pack = |n: u8| SegmentPack { id: Id([n; 32]), length: u64::from(n) << 30, table: 9 };
    let packs = (0..3u8).map(pack);
    let mut rows: Vec<SegmentRow> = seeds.iter().map(|seed| row(*seed, 3)).collect();
    for at in (1..rows.len()).step_by(3) {
        rows[at].codec = Codec::ZstdBase;
        rows[at].plain += 1;
        rows[at].base = Some(at as u64 - 1);
    }
    let sha1s = seeds.iter().enumerate();
    let sha1s = sha1s.map(|(at, seed)| (prefix(&digest::sha1(&seed.to_le_bytes()).0), at as u64));
    let commits = seeds.iter().enumerate();
    let commits = commits.map(|(at, seed)| (commit(*seed), at as u64));
    SegmentParts {
        random: [9; 16],
        supersedes: vec![[7; 16]],
        packs: packs.collect(),
        sha1s: sha1s.collect(),
        commits: commits.collect(),
        rows,
    }
}

/// Seeds in any order, whose rows differ in their offsets.
fn different_seeds() -> impl Strategy<Value = Vec<u32>> {
    let seeds = prop::collection::btree_set(any::<u32>(), 0..300);
    seeds.prop_map(|seeds| seeds.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

fn open(bytes: &[u8]) -> Result<Segment> {
    Segment::open(Arc::new(bytes.to_vec()))
}

proptest! {
    #[test]
    fn what_goes_in_is_found(seeds in different_seeds()) {
        let (bytes, id) = parts(&seeds).encode();
        let segment = open(&bytes).unwrap();
        prop_assert_eq!(segment.verify().unwrap(), id);
        prop_assert_eq!(segment.record_count(), seeds.len() as u64);
        let source = parts(&seeds).rows;
        for (at, seed) in seeds.iter().enumerate() {
            let id = digest::plain(&(seed % 500).to_le_bytes());
            let rows: Vec<_> = segment.find(&id).unwrap().map(|at| segment.row(at).unwrap()).collect();
            let expected = source.iter().filter(|row| row.prefix == prefix(&id.0)).count();
            prop_assert_eq!(rows.len(), expected);
            let same = |row: &SegmentRow| SegmentRow { base: None, ..*row } == SegmentRow { base: None, ..source[at] };
            let found = rows.iter().find(|row| same(row)).unwrap();
            if let Some(base) = source[at].base {
                let base = &source[usize::try_from(base).unwrap()];
                prop_assert_eq!(segment.row(found.base.unwrap()).unwrap().prefix, base.prefix);
            }
            let sha1 = digest::sha1(&seed.to_le_bytes());
            let is_it = |at: Result<u64>| same(&segment.row(at.unwrap()).unwrap());
            prop_assert!(segment.find_sha1(&sha1).unwrap().any(is_it));
            let mut found = segment.find_commits(commit(*seed), commit(*seed)).unwrap();
            prop_assert!(found.any(is_it));
        }
        prop_assert_eq!(segment.find(&Id([0; 32])).unwrap(), 0..0);
        prop_assert_eq!(segment.supersedes().count(), 1);
        prop_assert!(segment.find_commits([9; 5], [8; 5]).unwrap().next().is_none());
        let all = segment.find_commits([0; 5], [255; 5]).unwrap().count();
        prop_assert_eq!(all as u64, segment.commit_count());
    }

    #[test]
    fn damage_gives_errors_or_other_rows_and_never_a_panic(
        seeds in prop::collection::vec(any::<u32>(), 0..60),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let (bytes, _) = parts(&seeds).encode();
        let at = at.index(bytes.len());
        let mut damaged = bytes.clone();
        damaged[at] = byte;
        prop_assert!(open(&bytes[..at]).is_err());
        if let Ok(segment) = open(&damaged) {
            prop_assert!(segment.verify().is_err() || damaged == bytes);
            for seed in &seeds {
                let id = digest::plain(&(seed % 500).to_le_bytes());
                for row in segment.find(&id).unwrap() {
                    let _ = segment.row(row).and_then(|row| segment.pack(row.pack));
                }
                for row in segment.find_sha1(&digest::sha1(&seed.to_le_bytes())).unwrap() {
                    let _ = row.and_then(|row| segment.row(row));
                }
            }
            for row in segment.find_commits([0; 5], [255; 5]).unwrap() {
                let _ = row.and_then(|row| segment.row(row));
            }
        }
    }
}

/// More prefixes are equal, or near, than a search reads together.
#[test]
fn many_that_begin_alike_are_found() {
    let numbered = |number: u64, count: u64| SegmentRow {
        prefix: prefix(&number.to_be_bytes()[3..]),
        offset: count,
        ..row(1, 1)
    };
    for counts in [[1, 300, 1], [70, 64, 70], [0, 65, 0], [200, 1, 200], [64, 63, 0], [3, 0, 90]] {
        let mut parts = parts(&[]);
        for (number, count) in [6u64, 7, 8].into_iter().zip(counts) {
            parts.rows.extend((0..count).map(|at| numbered(number, at)));
        }
        let segment = open(&parts.encode().0).unwrap();
        for (number, count) in [6u64, 7, 8, 5, 9].into_iter().zip(counts.into_iter().chain([0, 0]))
        {
            let mut id = Id([0; 32]);
            id.0[..5].copy_from_slice(&number.to_be_bytes()[3..]);
            let found = segment.find(&id).unwrap();
            assert_eq!(found.end - found.start, count, "{number} of {counts:?}");
            assert!(found.map(|at| segment.row(at).unwrap()).all(|row| row.prefix == id.0[..5]));
        }
    }
}

#[test]
fn names_round_trip() {
    let name = file_name(3, 0x1234, &[0xab; 16]);
    assert_eq!(parse_file_name(&name), Some((3, [0xab; 16])));
    for bad in ["latest", "03-1-ab.idx", "x.idx", ""] {
        assert_eq!(parse_file_name(bad), None);
    }
}

#[test]
fn a_header_determines_the_length() {
    for rows_left_out in [false, true] {
        let parts = parts(&(0..500).collect::<Vec<u32>>());
        let bytes = match rows_left_out {
            false => parts.encode().0,
            true => {
                SegmentParts { packs: parts.packs[..1].to_vec(), ..parts }.encode_without_rows().0
            }
        };
        let length = bytes.len() as u64;
        check_header(&bytes[..96], length).unwrap();
        check_header(&bytes, length).unwrap();
        for wrong in [0, 1, 95, 96, length - 1, length + 1, 4 << 30, 1 << 40, u64::MAX] {
            let error = check_header(&bytes[..96], wrong).unwrap_err();
            assert_eq!(error.kind(), freestone_core::ErrorKind::Corrupt, "{wrong}");
        }
        assert!(check_header(&bytes[..95], length).is_err());
    }
    assert!(check_header(&[0; 96], 96).is_err());
}
