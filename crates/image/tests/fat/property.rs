//! Properties of random manifests.

use crate::images::{assert_read_back, checked, image, mirage, plan};
use crate::mirage::assert_mirage_finds_all;
use crate::site::{Data, Image, Site};
use freestone_core::{Plan, path};
use freestone_image::fat::{FatOptions, FatType, strict};
use freestone_image::{Container, ReadAt};
use freestone_testkit::cases;
use proptest::prelude::*;

/// Sizes near boundaries, and some above the chunking threshold.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 0..1100usize,
        3 => 4090..4100usize,
        1 => 30_000..33_000usize,
        3 => 65_000..70_000usize,
        1 => 1_048_570..1_100_000usize,
    ]
}

/// A part of a path: short ones, ones that need a made-up short name, long ones.
fn part(is_mirage: bool) -> impl Strategy<Value = String> {
    let wide = if is_mirage { "[a-c]{1,3}" } else { "[a-cé𝄞ß ]{1,9}[xyö]" };
    prop_oneof![
        3 => "[A-C]{1,2}(\\.[0-9]{1,3})?",
        3 => "[a-d]{1,2}\\.(html|txt|x)",
        2 => "longname[a-c]{0,2}~[1-3]?\\.tar\\.gz",
        2 => "LONGNA~[1-9]",
        2 => "page-[0-9]{1,3}\\.html",
        2 => wide,
        1 => "[a-z+=;,-]{11,14}",
        1 => "l{24,27}",
        1 => "m{240,250}",
    ]
}

/// Files that FAT can hold: no two differ by case alone, and none is the directory of another.
fn site(is_mirage: bool) -> impl Strategy<Value = Site> {
    let path = prop::collection::vec(part(is_mirage), 1..4).prop_map(|parts| parts.join("/"));
    let file = (path, any::<bool>(), 0..1i64 << 33, size(), any::<u8>());
    prop::collection::vec(file, 0..30).prop_map(|files| {
        let mut taken: Vec<(String, bool, String)> = Vec::new();
        let mut site = Site::default();
        for (path, executable, mtime, size, seed) in files {
            let folded = path.to_uppercase();
            // The first of several names that differ by case alone stays, also for directories.
            let prefixes = |text: &str| -> Vec<String> {
                let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
                ends.map(|end| text[..end].to_owned()).collect()
            };
            let clashes = path.starts_with(' ')
                || path.contains("/ ")
                || taken.iter().any(|(other, is_directory, other_folded)| {
                    *other_folded == folded
                        || path::is_below(other_folded.as_bytes(), folded.as_bytes())
                        || (path::is_below(folded.as_bytes(), other_folded.as_bytes())
                            && !is_directory)
                        || prefixes(&path).iter().any(|one| {
                            prefixes(other)
                                .iter()
                                .any(|two| one != two && one.to_uppercase() == two.to_uppercase())
                        })
                });
            if clashes {
                continue;
            }
            let is_directory = seed % 8 == 0;
            taken.push((path.clone(), is_directory, folded));
            site = if is_directory {
                site.directory(path, mtime)
            } else {
                site.full_file(path, executable, mtime, Data::Noise(u64::from(seed % 4), size))
            };
        }
        site
    })
}

fn options() -> impl Strategy<Value = FatOptions> {
    let fat_type = prop_oneof![
        3 => Just(None),
        1 => Just(Some(FatType::Fat12)),
        1 => Just(Some(FatType::Fat16)),
        1 => Just(Some(FatType::Fat32)),
    ];
    (fat_type, 0..600_000u64, 0..4u64).prop_map(|(fat_type, free, pad)| {
        FatOptions::default()
            .with_type(fat_type)
            .and_then(|options| options.with_free(free))
            .and_then(|options| options.with_length((pad > 0).then_some(pad * 65_536), None))
            .unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(32, 512)))]

    #[test]
    fn what_goes_in_comes_out(site in site(false), options in options()) {
        let built = site.build();
        assert_read_back(&image(&built, options), &built);
    }

    #[test]
    fn mirageos_finds_what_goes_in(site in site(true), large_sectors in any::<bool>()) {
        let built = site.build();
        let sector = if large_sectors { 4096 } else { 512 };
        let image = image(&built, mirage().with_block_bytes(sector).unwrap());
        assert_read_back(&image, &built);
        assert_mirage_finds_all(&image, usize::try_from(sector).unwrap(), &built);
    }

    #[test]
    fn any_part_is_that_of_the_whole(
        site in site(false), options in options(), from in any::<prop::sample::Index>(), length in 1..200_000u64
    ) {
        let built = site.build();
        let plan = plan(&built, options).unwrap();
        let all = built.extents(&plan);
        let start = from.index(usize::try_from(plan.length()).unwrap()) as u64;
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

    /// A changed byte outside contents is always seen: a rule breaks, or the image says that it is
    /// another one, or shows something else.
    #[test]
    fn a_changed_byte_is_seen(
        site in site(false), options in options(),
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 8)
    ) {
        let built = site.build();
        let image = image(&built, options);
        let (report, before) = checked(&image);
        prop_assert_eq!(report.violations.count(), 0);
        // Bytes that are neither zero nor content, and all bytes outside contents.
        let mut is_content = vec![false; image.len()];
        for member in before.iter().filter(|member| member.size > 0) {
            let start = usize::try_from(member.runs[0].0).unwrap();
            is_content[start..start + usize::try_from(member.size).unwrap()].fill(true);
        }
        let all: Vec<usize> = (0..image.len()).filter(|at| !is_content[*at]).collect();
        let told: Vec<usize> = all.iter().copied().filter(|at| image[*at] != 0).collect();
        for (index, (at, to)) in at.into_iter().enumerate() {
            let spots = if index % 2 == 0 { &told } else { &all };
            let spot = spots[at.index(spots.len())];
            let mut changed = image.clone();
            changed[spot] = to;
            if changed == image {
                continue;
            }
            let (after, members) = checked(&changed);
            let is_seen = after.violations.count() > 0 || after.name != report.name || members != before;
            prop_assert!(is_seen, "byte {spot}");
        }
    }

    /// The model answers for any bytes, and does not panic.
    #[test]
    fn no_damaged_image_panics(
        site in site(false), options in options(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>()), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let built = site.build();
        let plan = plan(&built, options).unwrap();
        let mut image = vec![0; usize::try_from(plan.length().min(4 << 20)).unwrap()];
        Image { plan: &plan, built: &built }.read_at(0, &mut image).unwrap();
        let told: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
        for (at, bytes) in damage {
            // Mostly at the front, where all structures begin.
            let spot = told[at.index(told.len().min(2000))];
            for (to, from) in image[spot..].iter_mut().zip(bytes) {
                *to = from;
            }
        }
        image.truncate(image.len() - cut.index(image.len()) / 8);
        for container in [Container::File, Container::Device] {
            strict::check(&image, container, &mut |_| Ok(())).unwrap();
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 512..20_000)) {
        // A boot sector of a small FAT12, so that the model does not stop early.
        let boot = [0xeb, 0, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 0, 1, 16, 0];
        bytes[..19].copy_from_slice(&boot);
        let sectors = u16::try_from(bytes.len() / 512).unwrap();
        bytes[19..21].copy_from_slice(&sectors.to_le_bytes());
        bytes[21..24].copy_from_slice(&[0xf8, 1, 0]);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        strict::check(&bytes, Container::File, &mut |_| Ok(())).unwrap();
    }
}
