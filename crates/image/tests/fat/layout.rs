//! The offsets, the lengths and the cost of a plan.

use crate::images::{all_options, assert_read_back, checked, image, mirage, of_type, plan};
use crate::site::{Built, Data, Image, Site, noise};
use freestone_core::{ErrorKind, ExtentSource, Id, Plan};
use freestone_image::ReadAt;
use freestone_image::fat::{FatOptions, FatPlan, FatType, Profile};
use freestone_image::{Identity, ImageName, identify};
use freestone_manifest::{Builder, EntryKind, MemoryNodes};

/// Files of every size around the boundaries that matter, and directories with as many names as fit
/// into some clusters.
pub fn boundary_sizes() -> Site {
    let mut site = Site::default().directory("empty", 1_600_000_000);
    for around in [0i64, 512, 1024, 2048, 4096, 8192, 65_536, 1 << 20] {
        for size in [around - 1, around, around + 1].into_iter().filter(|size| *size >= 0) {
            let size = usize::try_from(size).unwrap();
            site = site.file(format!("sizes/{size:07}.html"), noise(size as u64, size));
        }
    }
    // A short name takes one slot; two more are `.` and `..`.
    for slots in [16, 17, 128, 129, 256, 257] {
        for number in 0..slots - 2 {
            site = site.file(format!("slots/{slots}/{number}"), "");
        }
    }
    site
}

#[test]
fn sizes_around_every_boundary_come_back() {
    let built = boundary_sizes().build();
    for options in all_options() {
        assert_read_back(&image(&built, options), &built);
    }
}

#[test]
fn an_empty_manifest_is_an_image_too() {
    let built = Site::default().build();
    for options in all_options() {
        assert_read_back(&image(&built, options), &built);
    }
    assert_eq!(image(&built, FatOptions::default()).len(), 32_768);
}

fn of_clusters(clusters: u64, fat_type: Option<FatType>) -> FatPlan<MemoryNodes> {
    let (root, nodes) = Builder::new(MemoryNodes::default()).finish().unwrap();
    let options = FatOptions::default().with_type(fat_type).unwrap();
    FatPlan::open(nodes, &root.id, options.with_free(clusters * 4096).unwrap()).unwrap()
}

#[test]
fn the_number_of_clusters_says_which_type_it_is() {
    for (clusters, fat_type) in [
        (1, FatType::Fat12),
        (4084, FatType::Fat12),
        (4096, FatType::Fat16),
        (65_524, FatType::Fat16),
    ] {
        let plan = of_clusters(clusters, None);
        assert_eq!((plan.fat_type(), plan.clusters()), (fat_type, clusters), "{clusters}");
        assert_eq!(plan.cluster_bytes(), 4096);
    }
    // Readers differ in what they take 4085 clusters and a few more for, so there are more.
    for needed in [4085, 4086, 4087, 4095] {
        let plan = of_clusters(needed, None);
        assert_eq!((plan.fat_type(), plan.clusters()), (FatType::Fat16, 4096), "{needed}");
    }
    // FAT32's root directory is a cluster too.
    for clusters in [65_525, 1 << 20, 0x0fff_fff3] {
        let plan = of_clusters(clusters, None);
        assert_eq!((plan.fat_type(), plan.clusters()), (FatType::Fat32, clusters + 1));
        assert_eq!(plan.cluster_bytes(), 4096);
    }
    let larger = of_clusters(0x0fff_fff4, None);
    assert_eq!((larger.cluster_bytes(), larger.clusters()), (8192, (0x0fff_fff4 / 2) + 1));
}

#[test]
fn a_type_that_was_asked_for_gets_other_clusters() {
    let cluster = |clusters, fat_type| {
        let plan = of_clusters(clusters, Some(fat_type));
        assert_eq!(plan.fat_type(), fat_type);
        (plan.cluster_bytes(), plan.clusters())
    };
    assert_eq!(cluster(4085, FatType::Fat12), (8192, 2043));
    assert_eq!(cluster(65_525, FatType::Fat16), (8192, 32_763));
    assert_eq!(cluster(4084, FatType::Fat16), (2048, 8168));
    assert_eq!(cluster(1, FatType::Fat16), (512, 4096));
    assert_eq!(cluster(65_523, FatType::Fat32), (2048, 131_048));
    assert_eq!(cluster(1, FatType::Fat32), (512, 65_528));
}

#[test]
fn a_size_is_filled_with_clusters_or_refused_with_what_it_would_take() {
    let built = Site::default().file("a", noise(1, 100_000)).build();
    for (length, fat_type) in
        [(1 << 20, FatType::Fat12), (64 << 20, FatType::Fat16), (1 << 30, FatType::Fat32)]
    {
        let plan =
            plan(&built, FatOptions::default().with_length(None, Some(length)).unwrap()).unwrap();
        assert_eq!((plan.length(), plan.fat_type()), (length, fat_type));
        assert!(plan.clusters() * 4096 > length * 99 / 100 - 40_000, "{}", plan.clusters());
    }
    let error =
        plan(&built, FatOptions::default().with_length(None, Some(4096)).unwrap()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let needed = error.hint_text().unwrap().split(' ').nth(2).unwrap().parse().unwrap();
    let options = FatOptions::default().with_length(None, Some(needed)).unwrap();
    assert_eq!(plan(&built, options).unwrap().length(), needed);
    let below = FatOptions::default().with_length(None, Some(needed - 4096)).unwrap();
    assert!(plan(&built, below).is_err());
    let padded = FatOptions::default().with_length(Some(3 << 20), None).unwrap();
    assert_eq!(plan(&built, padded).unwrap().length(), 3 << 20);
}

/// No option leads to clusters whose number some readers take for another type: each number of
/// clusters of each size from 16 below to 16 above what fills an image.
#[test]
fn no_option_leads_to_a_number_of_clusters_that_readers_differ_in() {
    let built = Site::default().file("a", noise(1, 5000)).build();
    let mut sixteens = 0;
    for (fat_type, profile) in [
        (None, Profile::Any),
        (Some(FatType::Fat16), Profile::Any),
        (Some(FatType::Fat16), Profile::Mirage),
    ] {
        for (block, cluster) in [(512, 512), (512, 2048), (512, 4096), (4096, 4096), (512, 8192)] {
            for blocks in 4085 * cluster / 4096..4120 * cluster / 4096 {
                let options = FatOptions::default()
                    .with_type(fat_type)
                    .and_then(|options| options.with_profile(profile))
                    .and_then(|options| options.with_block_bytes(block))
                    .unwrap();
                let free = options.with_free((blocks - 20) * 4096).unwrap();
                let sized = options.with_length(None, Some(blocks * 4096)).unwrap();
                for options in [free, sized] {
                    let Ok(plan) = plan(&built, options) else { continue };
                    let is_12 = plan.fat_type() == FatType::Fat12;
                    assert!(is_12 || plan.clusters() >= 4096, "{options}: {}", plan.clusters());
                    assert!(!is_12 || plan.clusters() <= 4084, "{options}: {}", plan.clusters());
                    sixteens += usize::from(!is_12);
                }
            }
        }
    }
    assert!(sixteens > 300, "{sixteens}");
}

/// Every size around a change of type has an image, and the bounds of the types are kept.
#[test]
fn sizes_around_the_types_bounds_are_filled() {
    let built = Site::default().build();
    for blocks in (4080..4120).chain(65_520..65_680) {
        let options = FatOptions::default().with_length(None, Some(blocks * 4096)).unwrap();
        let plan = plan(&built, options).unwrap();
        let bounds = match plan.fat_type() {
            FatType::Fat12 => 1..=4084,
            FatType::Fat16 => 4096..=65_524,
            FatType::Fat32 => 65_525..=u64::MAX,
        };
        assert!(bounds.contains(&plan.clusters()), "{blocks}");
        // Reading hundreds of megabytes takes long, so only a few of the larger ones are read.
        if blocks < 5000 || blocks % 50 == 0 {
            let (report, _) = checked(&Image { plan: &plan, built: &built });
            assert_eq!(report.violations.count(), 0, "{blocks}: {:?}", report.violations.kept());
        }
    }
}

#[test]
fn there_is_as_much_free_as_was_asked_for() {
    let built = boundary_sizes().build();
    for options in all_options() {
        let options = options.with_free(1 << 20).unwrap();
        let plan = plan(&built, options).unwrap();
        let image = Image { plan: &plan, built: &built };
        let (report, members) = checked(&image);
        assert_eq!(report.violations.count(), 0, "{:?}", report.violations.kept());
        let used: u64 =
            members.iter().flat_map(|member| &member.runs).map(|(_, length)| length).sum();
        let free = plan.clusters() * u64::from(plan.cluster_bytes()) - used;
        assert!(free >= 1 << 20, "{options}: {free}");
    }
}

/// A top directory of FAT12 and FAT16 cannot grow, so free bytes are of no use without free slots.
#[test]
fn free_space_comes_with_slots_for_names() {
    for used in [0, 384, 385, 511, 512, 513, 640, 65_280, 65_281, 65_408] {
        let mut site = Site::default();
        for number in 0..used {
            site = site.file(format!("{number}"), "");
        }
        let built = site.build();
        for fat_type in [FatType::Fat12, FatType::Fat16] {
            let slots = |free| {
                let options = of_type(fat_type).with_free(free).unwrap();
                let plan = plan(&built, options).unwrap();
                let mut head = vec![0; 512];
                Image { plan: &plan, built: &built }.read_at(0, &mut head).unwrap();
                u64::from(u16::from_le_bytes([head[17], head[18]]))
            };
            let free = slots(1) - used;
            assert!(free >= 128.min(65_408 - used), "{used}: {free}");
            assert_eq!(slots(0), used.max(512).next_multiple_of(128), "{used}");
        }
    }
}

#[test]
fn the_head_says_what_it_is_and_any_other_byte_does_not() {
    let built = boundary_sizes().build();
    for options in all_options() {
        let plan = plan(&built, options).unwrap();
        let mut head = vec![0; 4096];
        Image { plan: &plan, built: &built }.read_at(0, &mut head).unwrap();
        let name = ImageName::parse(&plan.identity()).unwrap();
        assert_eq!(identify(&head), Identity::Image(name));
        for at in 0..4096 {
            head[at] ^= 1;
            assert!(!matches!(identify(&head), Identity::Image(_)), "byte {at}");
            head[at] ^= 1;
        }
        let unfinished = plan.unfinished_head();
        assert!(
            matches!(identify(&unfinished), Identity::Unfinished { becoming: Some(becoming), .. } if becoming == name)
        );
    }
}

#[test]
fn ranges_that_touch_a_boundary_give_what_they_intersect_and_no_more() {
    let built = boundary_sizes().build();
    for options in [FatOptions::default(), of_type(FatType::Fat32), mirage()] {
        let plan = plan(&built, options).unwrap();
        let all = built.extents(&plan);
        for extent in &all {
            let at = extent.offset;
            for range in [at..at + 1, at.saturating_sub(1)..at, at.saturating_sub(1)..at + 1] {
                let mut part = Vec::new();
                plan.extents(range.clone(), &mut |extent| {
                    part.push(extent);
                    Ok(())
                })
                .unwrap();
                let expected: Vec<_> = all
                    .iter()
                    .filter(|e| e.offset.max(range.start) < e.end().min(range.end))
                    .cloned()
                    .collect();
                assert_eq!(part, expected, "{range:?}");
            }
        }
    }
}

#[test]
fn large_contents_are_chunks_and_zeros_at_multiples_of_4096() {
    let mut bytes = noise(1, 6 << 20);
    bytes[2 << 20..4 << 20].fill(0);
    let built = Site::default().file("a", "x").file("b/video", bytes).build();
    for options in [FatOptions::default(), mirage()] {
        let plan = plan(&built, options).unwrap();
        let extents = built.extents(&plan);
        assert!(extents.iter().any(|e| e.source == ExtentSource::Zeros && e.length == 2 << 20));
        let chunk =
            extents.iter().find(|e| matches!(e.source, ExtentSource::Chunk(_)) && e.length > 1);
        assert_eq!(chunk.unwrap().offset % 4096, 0);
        assert_read_back(&image(&built, options), &built);
    }
}

#[test]
fn a_tree_of_many_directories_is_found_from_any_place() {
    let mut site = Site::default();
    for number in 0..6000 {
        let (a, b) = (number % 40, number / 40 % 10);
        site = site.file(format!("d{a}/e{b}/page-{number:05}.html"), noise(number, 700));
    }
    let built = site.build();
    for options in [FatOptions::default(), mirage()] {
        let image = image(&built, options);
        assert_read_back(&image, &built);
        let plan = plan(&built, options).unwrap();
        for number in 0..2000 {
            let offset = number * 7919 * 131 % (plan.length() - 5000);
            let mut part = vec![0; 5000];
            Image { plan: &plan, built: &built }.read_at(offset, &mut part).unwrap();
            let start = usize::try_from(offset).unwrap();
            assert!(part == image[start..start + 5000], "at {offset}");
        }
    }
}

#[test]
fn what_is_missing_or_wrong_in_the_store_is_an_error_that_names_the_path() {
    let mut built = Site::default().file("big/film", noise(1, 2 << 20)).build();
    let EntryKind::File { content, .. } = &mut built.entries[1].kind else { panic!("no file") };
    *content = Id([1; 32]);
    let mut builder = Builder::new(MemoryNodes::default());
    for entry in &built.entries {
        builder.push(entry.clone()).unwrap();
    }
    let (root, nodes) = builder.finish().unwrap();
    let plan = FatPlan::open(nodes, &root.id, FatOptions::default()).unwrap();
    let error = plan.extents(0..plan.length(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains("big/film"), "{error}");
    assert!(FatPlan::open(MemoryNodes::default(), &root.id, FatOptions::default()).is_err());
}

#[test]
fn what_a_consumer_returns_ends_the_walk() {
    let built = boundary_sizes().build();
    let plan = plan(&built, FatOptions::default()).unwrap();
    for enough in 1..60 {
        let mut seen = 0;
        let result = plan.extents(0..plan.length(), &mut |_| {
            seen += 1;
            if seen == enough { Err(freestone_core::Error::refused("enough")) } else { Ok(()) }
        });
        assert!(result.unwrap_err().to_string().ends_with("enough"));
        assert_eq!(seen, enough);
    }
}

#[test]
fn a_large_hole_is_laid_out_without_reading_it() {
    let hole = (1 << 32) - (32 << 10);
    let site = Site::default().full_file("a", false, 7, Data::Hole(hole)).file("b", "behind");
    let built: Built = site.build();
    for options in [FatOptions::default(), of_type(FatType::Fat32)] {
        let plan = plan(&built, options).unwrap();
        assert_eq!(plan.fat_type(), FatType::Fat32);
        let mut bytes = [0; 6];
        let after = (built.extents(&plan).iter().rev())
            .find(|extent| matches!(extent.source, ExtentSource::Chunk(_)))
            .map(|extent| extent.offset);
        Image { plan: &plan, built: &built }.read_at(after.unwrap(), &mut bytes).unwrap();
        assert_eq!(&bytes, b"behind");
    }
    // A type with 16 bits holds no more than 2 GiB.
    for options in [of_type(FatType::Fat16), mirage()] {
        let error = plan(&built, options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("at most"), "{error}");
    }
    assert_eq!(mirage().profile(), Profile::Mirage);
}
