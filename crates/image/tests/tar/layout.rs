//! The offsets, the lengths and the cost of a plan.

use crate::site::{Built, Data, Image, Site, noise};
use freestone_core::{ErrorKind, ExtentSource, Id, Plan};
use freestone_image::tar::strict::{Member, check};
use freestone_image::tar::{Align, TarOptions, TarPlan, mirage};
use freestone_image::{Container, ReadAt};
use freestone_manifest::{Builder, EntryKind, MemoryNodes};

/// Checks that the strict model takes the image and finds what the manifest holds.
pub fn assert_read_back(image: &(impl ReadAt + ?Sized), built: &Built) -> Vec<Member> {
    let mut members = Vec::new();
    let report = check(image, Container::File, &mut |member| {
        members.push(member.clone());
        Ok(())
    })
    .unwrap();
    let kept: Vec<_> = report.violations.kept().iter().map(ToString::to_string).collect();
    assert_eq!(kept, Vec::<String>::new());
    assert!(report.name.unwrap().ends_with(&format!(" {}", built.root)));
    let found: Vec<_> = members.iter().map(|member| Member { data: 0, ..member.clone() }).collect();
    assert_eq!(found, built.members());
    members
}

pub fn unaligned() -> TarOptions {
    TarOptions::new(Align::None, None, None).unwrap()
}

/// Files of every size around the boundaries that matter, in one directory.
pub fn boundary_sizes() -> Site {
    let mut site = Site::default();
    for around in [0i64, 512, 4096, 8192, 65_536, 1 << 20, (1 << 20) + 4096] {
        for size in [around - 1, around, around + 1].into_iter().filter(|size| *size >= 0) {
            let size = usize::try_from(size).unwrap();
            site = site.file(format!("sizes/{size:07}"), noise(size as u64, size));
        }
    }
    site
}

/// Paths of `length` bytes: one part; parts of 50; and a part of 40 before a long one.
pub fn paths_of(length: usize) -> Vec<Vec<u8>> {
    let one = vec![b'o'; length];
    let many: Vec<u8> =
        (1..=length).map(|at| if at % 51 == 0 && at < length { b'/' } else { b'm' }).collect();
    let mut early = vec![b'e'; length];
    early[40] = b'/';
    vec![one, many, early]
}

#[test]
fn sizes_around_every_boundary_come_back() {
    let built = boundary_sizes().build();
    for options in [TarOptions::default(), unaligned()] {
        let image = built.image(options);
        let members = assert_read_back(&image, &built);
        for member in members.iter().filter(|member| !member.is_directory) {
            let data = usize::try_from(member.data).unwrap();
            let size = usize::try_from(member.size).unwrap();
            assert!(image[data..data + size] == built.content(&member.path));
            if options.align() == Align::Blocks && member.size >= 65_536 {
                assert_eq!(member.data % 4096, 0, "{}", member.size);
            }
        }
    }
}

#[test]
fn paths_of_every_length_that_matters_come_back() {
    for length in [1, 99, 100, 101, 155, 156, 254, 255, 256, 257, 500, 501, 502] {
        for path in paths_of(length.max(42)) {
            let files = Site::default().file(path.clone(), "x").build();
            assert_read_back(&files.image(TarOptions::default()), &files);
            if path.len() < 502 {
                let directories = Site::default().directory(path.clone(), 5).build();
                assert_read_back(&directories.image(TarOptions::default()), &directories);
            }
        }
    }
}

#[test]
fn what_tar_cannot_express_is_refused_with_every_path() {
    let mut site = Site::default().file("fine", "x");
    for index in 0..150 {
        site = site.file([format!("{index:03}").as_bytes(), &[b'n'; 500]].concat(), "x");
    }
    let built = site.directory([b'd'; 502], 0).build();
    for options in [TarOptions::default(), unaligned()] {
        let error = built.plan(options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let text = error.to_string();
        assert!(text.contains("151 of the paths") && text.contains("and 51 more"), "{text}");
        assert_eq!(text.matches("\n  ").count(), 101);
        assert!(!text.contains("fine"));
        assert!(error.hint_text().unwrap().contains("502 bytes"));
    }
}

#[test]
fn files_of_8_gib_and_more_are_found_at_their_places() {
    const GIB: u64 = 1 << 30;
    let sizes = [8 * GIB - 512, 8 * GIB - 1, 8 * GIB, 9 * GIB];
    let mut site = Site::default().file("zzz", "the end");
    for (index, size) in sizes.iter().enumerate() {
        site = site.full_file(format!("hole{index}"), false, 7, Data::Hole(*size));
    }
    let built = site.build();
    for options in [TarOptions::default(), unaligned()] {
        let plan = built.plan(options).unwrap();
        let image = Image { plan: &plan, built: &built };
        let extents = built.extents(&plan);
        assert!(extents.len() < 20);
        let members = members_without_padding(&image);
        let found: Vec<_> = members.iter().map(|member| (member.size, member.mtime)).collect();
        assert_eq!(found[..4], sizes.map(|size| (size, 7)));
        let store = mirage::MirageStore::connect(&image, 512).unwrap();
        assert_eq!(store.get(b"zzz").unwrap().unwrap(), b"the end");
        for (index, size) in sizes.iter().enumerate() {
            let path = format!("hole{index}");
            let found = store.find(path.as_bytes());
            assert!(matches!(found, Some(mirage::MirageNode::Value { size: s, .. }) if s == size));
        }
    }
}

/// Finds the members without reading the gigabytes between them.
fn members_without_padding(image: &Image<'_>) -> Vec<Member> {
    let mut members = Vec::new();
    let report = check(image, Container::File, &mut |member| {
        members.push(member.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!(report.violations.count(), 0, "{:?}", report.violations.kept());
    // busybox knows no size in pax.
    let large = members.iter().filter(|member| member.size >= 8 << 30).count();
    assert!(report.notes[0].starts_with(&format!("{large} of the files")), "{:?}", report.notes);
    members
}

#[test]
fn an_image_beyond_any_file_is_refused() {
    let mut site = Site::default();
    for index in 0..3 {
        site = site.full_file(format!("{index}"), false, 0, Data::Hole(1 << 62));
    }
    let built = site.build();
    for options in [TarOptions::default(), unaligned()] {
        let error = built.plan(options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.to_string(), "the image would be longer than any file");
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
    let plan = TarPlan::open(nodes, &root.id, TarOptions::default()).unwrap();
    let error = plan.extents(0..plan.length(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains("big/film"), "{error}");
    assert!(TarPlan::open(MemoryNodes::default(), &root.id, TarOptions::default()).is_err());
}

#[test]
fn an_empty_manifest_is_an_image_too() {
    let built = Site::default().build();
    for options in [TarOptions::default(), unaligned()] {
        let image = built.image(options);
        assert_eq!(image.len(), 8192);
        assert_read_back(&image, &built);
        assert!(mirage::MirageStore::connect(&image, 4096).unwrap().nodes().is_empty());
    }
}

#[test]
fn opening_reads_the_root_and_a_range_one_node_a_level() {
    let mut site = Site::default();
    for index in 0..20_000 {
        site = site.file(format!("{:02}/{index:05}", index % 50), format!("{index}"));
    }
    let built = site.build();
    built.nodes.reads();
    let plan = built.plan(TarOptions::default()).unwrap();
    assert_eq!(built.nodes.reads(), 1);
    let middle = plan.length() / 2;
    plan.extents(middle..middle + 1, &mut |_| Ok(())).unwrap();
    let reads = built.nodes.reads();
    assert!((2..=5).contains(&reads), "{reads} nodes");
    plan.extents(0..1024, &mut |_| Ok(())).unwrap();
    plan.extents(plan.length() - 1..plan.length(), &mut |_| Ok(())).unwrap();
    assert_eq!(built.nodes.reads(), 0);
}

#[test]
fn large_contents_are_chunks_and_zeros_and_a_part_of_them_is_asked_for_alone() {
    let mut bytes = noise(1, 6 << 20);
    bytes[2 << 20..4 << 20].fill(0);
    let built = Site::default().file("video", bytes).build();
    let plan = built.plan(TarOptions::default()).unwrap();
    let extents = built.extents(&plan);
    assert_eq!(extents[1].length, 4096 - 1024, "seven fillers, less the head, and a header");
    assert!(extents.iter().any(|e| e.source == ExtentSource::Zeros && e.length == 2 << 20));
    assert!(extents.iter().filter(|e| matches!(e.source, ExtentSource::Chunk(_))).count() > 2);
    let mut few = Vec::new();
    plan.extents((1 << 20)..(1 << 20) + 1, &mut |extent| {
        few.push(extent);
        Ok(())
    })
    .unwrap();
    assert_eq!(few.len(), 1);
    assert!(extents.contains(&few[0]));
}

#[test]
fn ranges_that_touch_a_boundary_give_what_they_intersect_and_no_more() {
    let built = boundary_sizes().directory("z", 0).build();
    for options in [TarOptions::default(), unaligned()] {
        let plan = built.plan(options).unwrap();
        let all = built.extents(&plan);
        for extent in &all {
            let at = extent.offset;
            for range in [at..at + 1, at.saturating_sub(1)..at, at.saturating_sub(1)..at + 1] {
                let mut part = Vec::new();
                plan.extents(range.clone(), &mut |extent| {
                    part.push((extent.offset, extent.length));
                    Ok(())
                })
                .unwrap();
                let expected: Vec<_> = all
                    .iter()
                    .filter(|e| e.offset.max(range.start) < e.end().min(range.end))
                    .map(|e| (e.offset, e.length))
                    .collect();
                assert_eq!(part, expected, "{range:?}");
            }
        }
    }
}

#[test]
fn what_a_consumer_returns_ends_the_walk() {
    let built = boundary_sizes().build();
    let plan = built.plan(TarOptions::default()).unwrap();
    let mut seen = 0;
    let result = plan.extents(0..plan.length(), &mut |_| {
        seen += 1;
        if seen == 3 { Err(freestone_core::Error::refused("enough")) } else { Ok(()) }
    });
    assert_eq!(result.unwrap_err().to_string(), "enough");
    assert_eq!(seen, 3);
}
