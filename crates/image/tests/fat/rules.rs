//! Every rule, broken.

use crate::images::{checked, image, mirage, of_type};
use crate::site::{Site, noise};
use freestone_image::fat::strict::FatRule;
use freestone_image::fat::{FatOptions, FatType};
use std::collections::BTreeSet;

/// A way to damage an image, and the rule that must find it.
struct Case {
    rule: FatRule,
    options: FatOptions,
    damage: fn(&mut Vec<u8>),
}

fn word(image: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([image[at], image[at + 1]]))
}

/// Returns the offsets of the FAT, the root directory, and the clusters, for FAT12 and FAT16.
fn places(image: &[u8]) -> (usize, usize, usize) {
    let table = word(image, 14) * 512;
    let root = table + 2 * word(image, 22) * 512;
    (table, root, root + word(image, 17) * 32)
}

/// Returns the offset of the short entry whose eleven bytes begin with `name`.
fn slot(image: &[u8], name: &[u8]) -> usize {
    image.chunks(32).position(|slot| slot.starts_with(name)).unwrap() * 32
}

/// Writes an entry into both tables of a FAT16.
fn link(image: &mut [u8], cluster: usize, to: u16) {
    let (table, root, _) = places(image);
    for start in [table, table + (root - table) / 2] {
        image[start + 2 * cluster..][..2].copy_from_slice(&to.to_le_bytes());
    }
}

fn first_cluster(image: &[u8], name: &[u8]) -> usize {
    word(image, slot(image, name) + 26)
}

/// Removes the name from the head, so that the file system is that of another program.
fn foreign(image: &mut [u8]) {
    image[1024..1536].fill(0);
}

fn cases() -> Vec<Case> {
    let fat16 = of_type(FatType::Fat16);
    let fat32 = of_type(FatType::Fat32);
    let case = |rule, options, damage| Case { rule, options, damage };
    vec![
        case(FatRule::Boot, fat16, |image| image[510] = 0),
        case(FatRule::Boot, fat16, |image| image[13] = 3),
        case(FatRule::Boot, fat16, |image| image[16] = 0),
        case(FatRule::Boot, fat16, |image| image[21] = 7),
        case(FatRule::Inside, fat16, |image| image.truncate(image.len() / 2 / 4096 * 4096)),
        case(FatRule::TableLength, fat16, |image| {
            // A shorter table leaves space for more clusters.
            image[22] -= 8;
        }),
        case(FatRule::TablesEqual, fat16, |image| {
            let (table, ..) = places(image);
            image[table + 100] ^= 1;
        }),
        case(FatRule::TableStart, fat16, |image| link(image, 0, 0xfff0)),
        case(FatRule::Info, fat32, |image| image[512 + 488] ^= 1),
        case(FatRule::Info, fat32, |image| image[3072 + 5] ^= 1),
        case(FatRule::Chain, fat16, |image| {
            let first = first_cluster(image, b"LARGE");
            link(image, first + 1, 0);
        }),
        case(FatRule::Chain, fat16, |image| {
            let first = first_cluster(image, b"LARGE");
            link(image, first + 5, u16::try_from(first).unwrap());
        }),
        case(FatRule::ChainLength, fat16, |image| {
            let first = first_cluster(image, b"LARGE");
            link(image, first + 3, 0xffff);
        }),
        case(FatRule::ChainLength, fat16, |image| {
            let at = slot(image, b"LARGE");
            image[at + 29] ^= 0x80;
        }),
        case(FatRule::Lost, fat16, |image| link(image, 4000, 0xffff)),
        case(FatRule::ShortName, fat16, |image| {
            let at = slot(image, b"LARGE");
            image[at] = b'l';
        }),
        case(FatRule::ShortName, fat16, |image| {
            let at = slot(image, b"SECOND");
            image[at..at + 8].copy_from_slice(b"LARGE   ");
        }),
        case(FatRule::LongName, fat16, |image| {
            let at = slot(image, b"INDEX~1 HTM");
            image[at - 32 + 13] ^= 1;
        }),
        case(FatRule::LongName, fat16, |image| {
            let at = slot(image, b"INDEX~1 HTM");
            image[at] = 0xe5;
        }),
        case(FatRule::Name, fat16, |image| {
            let at = slot(image, b"INDEX~1 HTM");
            image[at - 32 + 1] = b'?';
        }),
        case(FatRule::Dots, fat16, |image| {
            let at = slot(image, b"..");
            image[at + 26] ^= 1;
        }),
        case(FatRule::Time, fat16, |image| {
            let at = slot(image, b"LARGE");
            image[at + 24] = 0;
        }),
        case(FatRule::Length, fat16, |image| image.extend([0; 512])),
        case(FatRule::MirageName, mirage(), |image| {
            let (_, root, _) = places(image);
            image[root + 11] = 0x08;
        }),
        case(FatRule::Head, fat32, |image| {
            // FSInfo and its copy name another last cluster.
            image[512 + 492] ^= 1;
            image[3584 + 492] ^= 1;
        }),
        case(FatRule::Placement, fat16, |image| {
            let at = slot(image, b"SECOND");
            image[at + 26..at + 28].copy_from_slice(&4000u16.to_le_bytes());
            link(image, 4000, 0xffff);
        }),
        case(FatRule::Slots, fat16, |image| {
            let at = slot(image, b"LARGE");
            image[at + 14] ^= 1;
        }),
        case(FatRule::Padding, fat16, |image| {
            let last = image.len() - 1;
            image[last] = 1;
        }),
        case(FatRule::Size, fat16, |image| image.extend([0; 4096])),
    ]
}

fn site() -> Site {
    Site::default()
        .file("LARGE", noise(1, 70_000))
        .file("SECOND", noise(2, 100))
        .file("index.html", "x")
        .file("DIR/BELOW", "y")
}

#[test]
fn every_rule_is_found_broken() {
    let built = site().build();
    let mut found = BTreeSet::new();
    for (number, case) in cases().into_iter().enumerate() {
        let mut damaged = image(&built, case.options);
        assert_eq!(checked(&damaged).0.violations.count(), 0);
        (case.damage)(&mut damaged);
        let (report, _) = checked(&damaged);
        let told: Vec<_> = report.violations.kept().iter().map(|v| v.rule).collect();
        assert!(
            told.contains(&case.rule.name()),
            "case {number}: {} in {told:?}",
            case.rule.name()
        );
        if !case.rule.is_own() && !matches!(case.rule, FatRule::MirageName) {
            // A file system of another program must keep the rule, too.
            foreign(&mut damaged);
            let (report, _) = checked(&damaged);
            let told: Vec<_> = report.violations.kept().iter().map(|v| v.rule).collect();
            assert!(told.contains(&case.rule.name()), "case {number}, foreign: {told:?}");
        }
        found.insert(case.rule);
    }
    // One damaged byte cannot break these: see below.
    found.extend([FatRule::Limit, FatRule::MirageType]);
    assert_eq!(found, FatRule::ALL.iter().copied().collect());
}

#[test]
fn other_programs_file_systems_are_held_to_the_readers_rules_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.img");
    for fat_type in ["12", "16", "32"] {
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(if fat_type == "32" { 64 << 20 } else { 12 << 20 }).unwrap();
        let run = |command: &mut std::process::Command| {
            let places = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
            let output = command.env("PATH", places).env("LC_ALL", "C.UTF-8").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let mkfs = ["-F", fat_type, "-n", "LABEL"];
        run(std::process::Command::new("mkfs.fat").args(mkfs).arg(&path));
        std::fs::write(folder.path().join("Ünï code.txt"), "x").unwrap();
        std::fs::write(folder.path().join("lower.txt"), vec![7; 70_000]).unwrap();
        run(std::process::Command::new("mmd").arg("-i").arg(&path).arg("::/directory"));
        for name in ["Ünï code.txt", "lower.txt"] {
            let mut copy = std::process::Command::new("mcopy");
            run(copy.arg("-i").arg(&path).arg(folder.path().join(name)).arg("::/directory"));
        }
        let (report, members) = checked(&std::fs::read(&path).unwrap());
        let kept: Vec<_> = report.violations.kept().iter().map(ToString::to_string).collect();
        assert_eq!(kept, Vec::<String>::new(), "FAT{fat_type}");
        assert!(report.is_whole && report.name.is_none());
        let paths: BTreeSet<_> =
            members.iter().map(|member| String::from_utf8(member.path.clone()).unwrap()).collect();
        let expected = ["directory", "directory/Ünï code.txt", "directory/lower.txt"];
        assert_eq!(paths, expected.into_iter().map(String::from).collect());
    }
}
