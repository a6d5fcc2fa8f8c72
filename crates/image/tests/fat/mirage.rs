//! A model of ocaml-fat's reader, which is MirageOS's: how it searches and reads files, mistakes
//! included.
//!
//! It determines the type by the number of clusters alone (and takes FAT12 for FAT16), reads the table
//! and the root directory whole, ends a chain at numbers above 0xFFEF, finds names that are legal
//! in short entries by those alone, and others by the units of the long name, its NUL and filling
//! included, with case.

use crate::images::{image, mirage};
use crate::site::{Built, Site};
use freestone_image::fat::FatOptions;

struct Volume<'a> {
    image: &'a [u8],
    cluster: usize,
    data: usize,
    table: &'a [u8],
    root: &'a [u8],
}

/// A directory entry: units of the long name with what fills them up; short name; cluster; size.
struct Found {
    long: Vec<u16>,
    base: String,
    extension: String,
    is_directory: bool,
    cluster: usize,
    size: usize,
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn large(bytes: &[u8], at: usize) -> usize {
    word(bytes, at) | word(bytes, at + 2) << 16
}

impl<'a> Volume<'a> {
    /// Connects to a device with such sectors.
    fn connect(image: &'a [u8], device_sector: usize) -> Result<Self, String> {
        if word(image, 510) != 0xaa55 {
            return Err("boot sector signature invalid".into());
        }
        let sector = word(image, 11);
        if sector != device_sector {
            return Err("sectors of another length".into());
        }
        let cluster = usize::from(image[13]) * sector;
        let (reserved, tables, slots) = (word(image, 14), usize::from(image[16]), word(image, 17));
        let sectors = word(image, 19).max(large(image, 32));
        let table = word(image, 22);
        let root = (reserved + tables * table) * sector;
        let data = root + slots * 32;
        let clusters = 2 + (sectors - data / sector) / (cluster / sector);
        if clusters >= 65_527 {
            return Err("FAT32: an empty root".into());
        }
        if clusters < 4087 {
            return Err("FAT12: it would be read as FAT16".into());
        }
        let table = &image[reserved * sector..(reserved + table) * sector];
        Ok(Self { image, cluster, data, table, root: &image[root..data] })
    }

    fn chain(&self, first: usize) -> Vec<u8> {
        let (mut bytes, mut number) = (Vec::new(), first);
        loop {
            if number < 2 {
                return bytes;
            }
            let start = self.data + (number - 2) * self.cluster;
            match word(self.table, number * 2) {
                next @ 2..=0xffef => {
                    bytes.extend(&self.image[start..start + self.cluster]);
                    number = next;
                }
                0xfff8..=0xffff => {
                    bytes.extend(&self.image[start..start + self.cluster]);
                    return bytes;
                }
                _ => return bytes,
            }
        }
    }

    fn list(directory: &[u8]) -> Vec<Found> {
        let (mut found, mut long) = (Vec::new(), Vec::<(u8, Vec<u16>)>::new());
        for slot in directory.chunks_exact(32) {
            if slot[11] == 0x0f {
                let offsets = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
                let units = offsets.map(|at| u16::from_le_bytes([slot[at], slot[at + 1]]));
                long.push((slot[0] & 0x3f, units.to_vec()));
                continue;
            }
            if slot[0] == 0 {
                break;
            }
            let text =
                |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned();
            long.sort();
            found.push(Found {
                long: long.drain(..).flat_map(|(_, units)| units).collect(),
                base: text(&slot[..8]),
                extension: text(&slot[8..11]),
                is_directory: slot[11] & 0x10 != 0,
                cluster: word(slot, 26),
                size: large(slot, 28),
            });
        }
        found
    }

    fn find(&self, path: &[u8]) -> Option<Found> {
        let mut current: Option<Found> = None;
        for part in path.split(|byte| *byte == b'/') {
            let listed = match &current {
                None => Self::list(self.root),
                Some(found) if found.is_directory => Self::list(&self.chain(found.cluster)),
                Some(_) => return None,
            };
            let part = std::str::from_utf8(part).unwrap();
            current = Some(listed.into_iter().find(|found| matches(part, found))?);
        }
        current
    }
}

/// How OCaml's `Str.split` parts a name at dots: one at the start or end is passed over.
fn parts(name: &str) -> Vec<&str> {
    let name = name.strip_prefix('.').unwrap_or(name);
    name.strip_suffix('.').unwrap_or(name).split('.').collect()
}

fn matches(name: &str, found: &Found) -> bool {
    let legal = |part: &&str| {
        part.bytes().all(|byte| {
            byte.is_ascii_uppercase()
                || byte.is_ascii_digit()
                || byte >= 128
                || b" !#$%&'()-@^_`{}~".contains(&byte)
        })
    };
    let parts = parts(name);
    let short = match parts[..] {
        [base] if base.len() <= 8 => Some((base, "")),
        [base, extension] if base.len() <= 8 && extension.len() <= 3 => Some((base, extension)),
        _ => None,
    };
    if let Some((base, extension)) =
        short.filter(|(base, extension)| legal(base) && legal(extension))
    {
        let trim = |text: &str| text.trim_end_matches(' ').to_owned();
        return trim(base) == found.base && trim(extension) == found.extension;
    }
    let mut units: Vec<u16> = name.bytes().map(u16::from).collect();
    units.push(0);
    units.resize(units.len().next_multiple_of(13), 0xffff);
    units == found.long
}

/// Checks that MirageOS finds just what the manifest holds.
pub fn assert_mirage_finds_all(image: &[u8], sector: usize, built: &Built) {
    let volume = Volume::connect(image, sector).unwrap();
    for entry in &built.entries {
        let found = volume.find(&entry.path);
        let found = found.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&entry.path)));
        assert_eq!(found.is_directory, entry.is_directory());
        if let Some(size) = entry.size() {
            assert_eq!(found.size as u64, size);
            let bytes = volume.chain(found.cluster);
            assert!(bytes.starts_with(&built.content(&entry.path)));
        }
    }
}

fn named() -> Site {
    let mut site = Site::default().directory("EMPTY", 7).directory("empty2", 7);
    for name in [
        "README",
        "README.TXT",
        "readme.md",
        ".htaccess",
        "A.B.C",
        "a b",
        "longer than short",
        "LONGER~1",
        "12345678.123",
        "no.dot.at.end",
        "-",
        "{}",
        "+",
        "=[];,",
    ] {
        site = site.file(name, name).file(format!("dir/{name}"), name);
    }
    for length in [8, 9, 12, 13, 14, 25, 26, 27, 52, 246, 247, 255] {
        site = site
            .file(format!("n/{}", "n".repeat(length)), "n")
            .file(format!("N2/{}", "N".repeat(length)), "");
    }
    site
}

#[test]
fn names_of_every_kind_are_found() {
    let built = named().build();
    for (sector, options) in [(512, mirage()), (4096, mirage().with_block_bytes(4096).unwrap())] {
        let image = image(&built, options);
        assert_mirage_finds_all(&image, sector, &built);
        assert!(Volume::connect(&image, 4608 - sector).is_err());
    }
}

#[test]
fn other_profiles_are_not_for_it() {
    let built = named().build();
    assert!(Volume::connect(&image(&built, FatOptions::default()), 512).is_err());
}

#[test]
fn the_last_clusters_that_it_follows_are_the_last_that_are_used() {
    // As many one-sector files as there may be clusters, the last ones among them.
    let mut site = Site::default();
    let full = (0xffef - 1) - 1 - 2;
    site = site.file("first", vec![1; 512 * full]).file("last", vec![2; 1024]);
    let built = site.build();
    let bytes = image(&built, mirage());
    let volume = Volume::connect(&bytes, 512).unwrap();
    assert!(volume.find(b"last").is_some());
    assert_mirage_finds_all(&bytes, 512, &built);
}
