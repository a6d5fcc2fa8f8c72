//! `docs/format.md` against the code: what its tables of the FAT image say is what is written.

use crate::images::{image, of_type, plan};
use crate::site::Site;
use freestone_image::fat::{FatOptions, FatType, Profile};

/// Returns the rows of the table that begins with the header row `first`, after the text `after`.
fn table(after: &str, first: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(freestone_testkit::top().join("docs/format.md")).unwrap();
    let part = page.split_once(after).unwrap_or_else(|| panic!("no {after:?}")).1;
    let at = part.find(first).unwrap_or_else(|| panic!("no table {first:?}"));
    part[at..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect())
        .collect()
}

#[test]
fn types_have_as_many_clusters_as_told() {
    let built = Site::default().build();
    let rows = table("## The FAT image", "| type | clusters, at least |");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let number = |cell: usize| row[cell].parse::<u64>().unwrap();
        let fat_type = FatType::parse(&row[0]).unwrap();
        assert_eq!(u64::from(fat_type.bits()), number(4));
        let root = u64::from(fat_type == FatType::Fat32);
        // FAT32's root directory is a cluster, too. With it, the least number is the most of FAT16.
        for (clusters, free) in [(number(1) + root, number(1)), (number(2), number(2) - root)] {
            let options = FatOptions::default().with_free(free * 4096).unwrap();
            let plan = plan(&built, options).unwrap();
            assert_eq!((plan.fat_type(), plan.clusters()), (fat_type, clusters));
        }
        if !row[3].is_empty() {
            // Too many clusters become larger ones.
            let strict = FatOptions::default().with_profile(Profile::Mirage).unwrap();
            for (more, cluster) in [(0, 4096), (1, 8192)] {
                let plan = plan(&built, strict.with_free((number(3) + more) * 4096).unwrap());
                assert_eq!(plan.unwrap().cluster_bytes(), cluster);
            }
        }
    }
}

#[test]
fn the_boot_sector_is_as_told() {
    let built = Site::default().file("A", "a").build();
    let rows = table("**Reserved sectors.**", "| offset | field | bytes |");
    for fat_type in FatType::ALL {
        let image = image(&built, of_type(fat_type));
        let is_fat32 = fat_type == FatType::Fat32;
        let mut told = vec![false; 1024];
        told[1000..].fill(true);
        let mut checked = 0;
        for row in &rows {
            let (field, bytes) = (&row[1], &row[2]);
            if field.contains("(types 12, 16)") && is_fat32
                || field.contains("(type 32)") && !is_fat32
            {
                continue;
            }
            let at: usize = row[0].parse().unwrap();
            let (width, value) = bytes.split_once(": ").unwrap_or((bytes, ""));
            let width = match width.split([' ', ',', ';']).next().unwrap() {
                "u8" => 1,
                "u16" => 2,
                "u32" => 4,
                "ended" => break,
                number => number.parse().unwrap(),
            };
            told[at..at + width].fill(true);
            let found = &image[at..at + width];
            if let Ok(number) = value.parse::<u32>() {
                assert_eq!(found, &number.to_le_bytes()[..width], "{field}");
                checked += 1;
            }
            let hex: String = found.iter().map(|byte| format!("{byte:02x} ")).collect();
            let text = String::from_utf8_lossy(found);
            if value.starts_with('`') && value != "`block`" {
                assert!(
                    value.contains(&format!("`{}`", hex.trim()))
                        || value.contains(&format!("`{}`", text.trim())),
                    "{field}: {hex}"
                );
                checked += 1;
            }
        }
        assert!(checked > 8, "{checked}");
        // All bytes that the page does not list are 0.
        assert!((0..512).all(|at| told[at] || image[at] == 0), "FAT{fat_type}");
        assert!(image[1024..].starts_with(b"freestone 1 fat profile=any;"));
    }
}

#[test]
fn slots_are_as_told() {
    let built = Site::default()
        .full_file("ABC.DE", false, 1_700_000_000, crate::site::Data::Noise(1, 777))
        .build();
    let image = image(&built, FatOptions::default());
    let at = image.windows(11).position(|bytes| bytes == b"ABC     DE ").unwrap();
    let slot = &image[at..at + 32];
    let (date, time) = ((2023u16 - 1980) * 512 + 11 * 32 + 14, 22u16 * 2048 + 13 * 32 + 20 / 2);
    let rows = table("**Slots.**", "| offset | field of a short slot |");
    let mut end = 0;
    for row in rows {
        let offset: usize = row[0].parse().unwrap();
        assert_eq!(offset, end, "{row:?}");
        let number = |width: usize| {
            slot[offset..offset + width].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b))
        };
        let (width, value) = match &*row[1] {
            "name" => (11, number(11)),
            "attributes" => (1, 32),
            "0" => (2, 0),
            "time" => (2, time.into()),
            "date" => (2, date.into()),
            "first cluster, high" => (2, 0),
            "first cluster, low" => (2, 2),
            "size" => (4, 777),
            other => panic!("{other}"),
        };
        assert_eq!(number(width), value, "{row:?}");
        end = offset + width;
    }
    assert_eq!(end, 32);
}
