//! Properties of random manifests.

use crate::layout::{assert_read_back, unaligned};
use crate::site::{Built, Data, Image, Site};
use freestone_core::{Plan, path};
use freestone_image::tar::mirage::{MirageNode, MirageStore};
use freestone_image::tar::strict::{Member, check};
use freestone_image::tar::{Align, TarOptions};
use freestone_image::{Container, ReadAt};
use freestone_testkit::cases;
use proptest::prelude::*;

/// Sizes near boundaries, and some above the chunking threshold.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..2000usize,
        2 => 4090..4100usize,
        3 => 65_000..70_000usize,
        1 => 1_048_570..1_100_000usize,
    ]
}

/// A part of a path: short ones that collide, hostile ones, long ones.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]{1,2}".prop_map(String::into_bytes),
        2 => prop::collection::vec(prop_oneof![1..=46u8, 48..=255u8], 1..6),
        1 => "(L|K|@LongLink|PaxHeaders|\\.\\.\\.|-x|x |\\\\|\n|é|\"|\\*)".prop_map(String::into_bytes),
        1 => (90..110usize).prop_map(|length| vec![b'l'; length]),
        1 => (150..160usize).prop_map(|length| vec![b'p'; length]),
    ]
}

/// Files, none of whose paths is the directory of another.
pub fn site() -> impl Strategy<Value = Site> {
    let path = prop::collection::vec(part(), 1..4).prop_map(|parts| parts.join(&b'/'));
    let file = (path, any::<bool>(), 0..1i64 << 33, size(), any::<u8>());
    prop::collection::vec(file, 0..24).prop_map(|files| {
        let mut taken: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut site = Site::default();
        for (path, executable, mtime, size, seed) in files {
            let clashes = path::fault(&path).is_some()
                || path.len() > 480
                || taken.iter().any(|(other, is_directory)| {
                    *other == path
                        || path::is_below(other, &path)
                        || (path::is_below(&path, other) && !is_directory)
                });
            if clashes {
                continue;
            }
            let is_directory = seed % 8 == 0;
            taken.push((path.clone(), is_directory));
            site = if is_directory {
                site.directory(path, mtime)
            } else {
                // Equal contents too.
                site.full_file(path, executable, mtime, Data::Noise(u64::from(seed % 4), size))
            };
        }
        site
    })
}

/// Checks that MirageOS sees just what the manifest holds.
fn assert_mirage_sees_all(image: &[u8], built: &Built) {
    for sector in [512, 4096] {
        let image = image.to_vec();
        let store = MirageStore::connect(&image, sector).unwrap();
        let mut count = 0;
        let mut open = vec![store.nodes()];
        while let Some(nodes) = open.pop() {
            count += nodes.len();
            for node in nodes.values() {
                if let MirageNode::Dictionary { nodes, .. } = node {
                    open.push(nodes);
                }
            }
        }
        assert_eq!(count, built.entries.len());
        for entry in &built.entries {
            match store.find(&entry.path).unwrap() {
                MirageNode::Dictionary { mtime, .. } => {
                    assert!(entry.is_directory() && *mtime == entry.mtime);
                }
                MirageNode::Value { mtime, size, .. } => {
                    assert_eq!((Some(*size), *mtime), (entry.size(), entry.mtime));
                    assert!(store.get(&entry.path).unwrap().unwrap() == built.content(&entry.path));
                }
            }
        }
    }
}

fn members(image: &[u8]) -> (Option<String>, Vec<Member>, u64) {
    let mut members = Vec::new();
    let report = check(image, Container::File, &mut |member| {
        members.push(member.clone());
        Ok(())
    })
    .unwrap();
    (report.name, members, report.violations.count())
}

/// Bytes with which damage overwrites a header: kinds, numbers, anything.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[0-7gxLK5 /.]{1,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 1..16),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(200, 1000)))]

    #[test]
    fn every_reader_sees_what_the_manifest_holds(site in site()) {
        let built = site.build();
        for options in [TarOptions::default(), unaligned()] {
            let plan = built.plan(options).unwrap();
            built.extents(&plan);
            let image = built.image(options);
            assert_read_back(&image, &built);
            assert_mirage_sees_all(&image, &built);
        }
    }

    #[test]
    fn any_range_agrees_with_the_whole(
        site in site(), from in 0.0..1.0f64, length in 0..200_000u64, align in any::<bool>()
    ) {
        let options = if align { TarOptions::default() } else { unaligned() };
        let built = site.build();
        let plan = built.plan(options).unwrap();
        let all = built.extents(&plan);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "any part of the length is as good"
        )]
        let start = (from * plan.length() as f64) as u64;
        for range in [start..start + length, start..start, 0..start, start..u64::MAX] {
            let mut part = Vec::new();
            plan.extents(range.clone(), &mut |extent| {
                part.push(extent);
                Ok(())
            }).unwrap();
            let expected: Vec<_> = all
                .iter()
                .filter(|extent| extent.offset.max(range.start) < extent.end().min(range.end))
                .cloned()
                .collect();
            prop_assert_eq!(part, expected);
        }
    }

    #[test]
    fn alignment_is_the_only_difference_between_the_layouts(site in site()) {
        let built = site.build();
        let without_fillers = |options: TarOptions| {
            let plan = built.plan(options).unwrap();
            let image = Image { plan: &plan, built: &built };
            let mut found = Vec::new();
            check(&image, Container::File, &mut |member| {
                found.push(Member { data: 0, ..member.clone() });
                Ok(())
            }).unwrap();
            (found, image.length())
        };
        let (aligned, long) = without_fillers(TarOptions::default());
        let (rigid, short) = without_fillers(TarOptions::new(Align::None, None, None).unwrap());
        prop_assert_eq!(aligned, rigid);
        prop_assert!(short <= long);
    }

    /// A changed byte outside contents is always seen: a rule breaks, or the image says that it is
    /// another one.
    #[test]
    fn a_changed_byte_is_seen(
        site in site(), at in any::<prop::sample::Index>(), to in any::<u8>(), sums in any::<bool>()
    ) {
        let built = site.build();
        let image = built.image(TarOptions::default());
        let before = members(&image);
        prop_assert_eq!(before.2, 0);
        let mut spots = Vec::new();
        let mut end = 0;
        for member in &before.1 {
            spots.extend(end..usize::try_from(member.data).unwrap());
            end = usize::try_from(member.data + member.size).unwrap();
        }
        spots.extend(end..image.len());
        let spot = spots[at.index(spots.len())];
        let mut changed = image.clone();
        changed[spot] = to;
        let block = spot / 512 * 512;
        // Not in a content.
        if sums && (block + 148..block + 156).all(|spot| spots.binary_search(&spot).is_ok()) {
            crate::raw::sum(&mut changed[block..block + 512]);
        }
        if changed != image {
            let after = members(&changed);
            prop_assert!(after.2 > 0 || (&after.0, &after.1) != (&before.0, &before.1), "byte {}", spot);
            // The model of the reader must not panic for it, either.
            for sector in [512, 4096] {
                if let Ok(store) = MirageStore::connect(&changed, sector) {
                    for member in &after.1 {
                        let _ = store.get(&member.path);
                    }
                }
            }
        }
    }
    /// The models answer for any bytes, and do not panic.
    #[test]
    fn no_damaged_image_panics(
        site in site(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..512usize, damage()), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut image = site.build().image(TarOptions::default());
        image.truncate(image.len() - cut.index(image.len()) / 8);
        let headers: Vec<_> = (0..image.len() / 512)
            .filter(|block| &image[block * 512 + 257..][..5] == b"ustar")
            .collect();
        for (at, offset, bytes) in damage {
            let header = &mut image[headers[at.index(headers.len())] * 512..][..512];
            for (to, from) in header[offset..].iter_mut().zip(bytes) {
                *to = from;
            }
            crate::raw::sum(header);
        }
        for container in [Container::File, Container::Device] {
            check(&image, container, &mut |_| Ok(())).unwrap();
        }
        for sector in [512, 4096] {
            if let Ok(store) = MirageStore::connect(&image, sector) {
                for path in store.nodes().keys() {
                    let _ = store.get(path);
                }
            }
        }
    }
}
