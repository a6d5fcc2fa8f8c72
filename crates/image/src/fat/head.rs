//! The reserved sectors: boot sector, FSInfo, copies of both, and the image's name.
//!
//! ```text
//!   0 jump 3         3 system 8        11 sector bytes 2   13 sectors a cluster 1
//!  14 reserved 2    16 tables 1        17 root slots 2     19 sectors 2     21 medium 1
//!  22 table 2       24 track 2         26 heads 2          28 hidden 4      32 sectors 4
//! FAT12, FAT16:     36 drive 1         38 signature 1      39 serial 4      43 label 11   54 type 8
//! FAT32:            36 table 4         44 root cluster 4   48 FSInfo 2      50 copy 2
//!                   64 drive 1         66 signature 1      67 serial 4      71 label 11   82 type 8
//! 510 55 aa
//! 1024 the image's name, NUL
//! ```
//! See *Microsoft Extensible Firmware Initiative FAT32 File System Specification*, 1.03. The serial
//! number is the beginning of the BLAKE3 of the name and this sector, with 0 as the serial number.
//! All other bytes are 0.

use super::geometry::Geometry;
use super::{FatOptions, FatType};
use crate::format::{FormatOptions, HEAD_BYTES};
use freestone_core::Id;
use freestone_core::digest::plain;

/// The offset of the image's name.
pub(super) const NAME_OFFSET: usize = 1024;
/// The most bytes of the name: it and a zero byte fit into a sector.
const NAME_BYTES_MAX: usize = 511;

/// The sectors of FAT32's FSInfo, and of the copies of the first two sectors.
const INFO_SECTOR: u16 = 1;
const COPY_SECTOR: u16 = 6;

/// The code that the boot sector jumps to: the BIOS's "no bootable disk", and an endless halt after
/// it.
const BOOT_CODE: [u8; 5] = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];

/// The values in a head besides the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) geometry: Geometry,
    /// The number of free clusters, and the number of the last cluster that is used. For FAT32
    /// only.
    pub(super) free: u64,
    pub(super) last: u64,
}

fn small(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(0)
}

fn large(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

impl Head {
    /// Returns the reserved bytes of the image with this name.
    pub(super) fn encode(&self, name: &str) -> Vec<u8> {
        let reserved = usize::try_from(self.geometry.reserved()).expect("at most 32 KiB");
        let mut bytes = vec![0; reserved];
        self.boot(&mut bytes, name.as_bytes());
        if self.geometry.fat_type == FatType::Fat32 {
            let sector = self.geometry.sector as usize;
            self.info(&mut bytes[usize::from(INFO_SECTOR) * sector..][..512]);
            let (first, rest) = bytes.split_at_mut(usize::from(COPY_SECTOR) * sector);
            // The copy has only the boot sector's 512 bytes of the first sector.
            rest[..512].copy_from_slice(&first[..512]);
            rest[sector..sector + 512].copy_from_slice(&first[sector..sector + 512]);
        }
        debug_assert!(name.len() <= NAME_BYTES_MAX);
        put(&mut bytes, NAME_OFFSET, name.as_bytes());
        bytes
    }

    fn boot(&self, bytes: &mut [u8], name: &[u8]) {
        let geometry = &self.geometry;
        let is_fat32 = geometry.fat_type == FatType::Fat32;
        let sector = u64::from(geometry.sector);
        let (sectors, table) = (geometry.sectors(), geometry.table() / sector);
        let (extended, code) = if is_fat32 { (64, 90) } else { (36, 62) };
        put(bytes, 0, &[0xeb, code - 2, 0x90]);
        put(bytes, 3, b"FREESTON");
        put(bytes, 11, &small(sector).to_le_bytes());
        bytes[13] = u8::try_from(geometry.cluster / geometry.sector).unwrap_or(0);
        put(bytes, 14, &small(geometry.reserved() / sector).to_le_bytes());
        bytes[16] = 2;
        put(bytes, 17, &small(geometry.root_slots).to_le_bytes());
        // One of the two fields for the number of sectors is 0.
        let is_small = !is_fat32 && sectors <= u64::from(u16::MAX);
        put(bytes, 19, &if is_small { small(sectors) } else { 0 }.to_le_bytes());
        bytes[21] = 0xf8;
        put(bytes, 22, &if is_fat32 { 0 } else { small(table) }.to_le_bytes());
        // Tracks and heads do not matter any more, but mtools requires whole tracks.
        put(bytes, 24, &1u16.to_le_bytes());
        put(bytes, 26, &1u16.to_le_bytes());
        put(bytes, 32, &if is_small { 0 } else { large(sectors) }.to_le_bytes());
        if is_fat32 {
            put(bytes, 36, &large(table).to_le_bytes());
            put(bytes, 44, &2u32.to_le_bytes());
            put(bytes, 48, &INFO_SECTOR.to_le_bytes());
            put(bytes, 50, &COPY_SECTOR.to_le_bytes());
        }
        bytes[extended] = 0x80;
        bytes[extended + 2] = 0x29;
        put(bytes, extended + 7, b"NO NAME    ");
        put(bytes, extended + 18, format!("FAT{}   ", geometry.fat_type).as_bytes());
        put(bytes, usize::from(code), &BOOT_CODE);
        put(bytes, 510, &[0x55, 0xaa]);
        // The serial number distinguishes this boot sector from all others.
        let serial = plain(&[name, &bytes[..512]].concat()).0;
        put(bytes, extended + 3, &serial[..4]);
    }

    fn info(&self, bytes: &mut [u8]) {
        put(bytes, 0, b"RRaA");
        put(bytes, 484, b"rrAa");
        put(bytes, 488, &large(self.free).to_le_bytes());
        put(bytes, 492, &large(self.last).to_le_bytes());
        put(bytes, 510, &[0x55, 0xaa]);
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

/// Returns the geometry in a boot sector, if freestone could have written it. The bytes are those
/// of a whole head.
fn geometry(bytes: &[u8]) -> Option<Geometry> {
    let fat_type = FatType::ALL.into_iter().find(|fat_type| {
        let at = if *fat_type == FatType::Fat32 { 82 } else { 54 };
        bytes[at..].starts_with(format!("FAT{fat_type}   ").as_bytes())
    })?;
    let sector = u32::from(u16_at(bytes, 11));
    let cluster = sector * u32::from(bytes[13]);
    let root_slots = u64::from(u16_at(bytes, 17));
    if !matches!(sector, 512 | 4096)
        || cluster == 0
        || (fat_type == FatType::Fat32) != (root_slots == 0)
    {
        return None;
    }
    let sectors = match u16_at(bytes, 19) {
        0 => u32_at(bytes, 32),
        sectors => u32::from(sectors),
    };
    let table = match u16_at(bytes, 22) {
        0 => u32_at(bytes, 36),
        table => u32::from(table),
    };
    let mut geometry = Geometry { fat_type, sector, cluster, root_slots, clusters: 0 };
    let tables = 2 * u64::from(table) * u64::from(sector);
    let data = geometry.reserved() + tables + geometry.root_slots * super::geometry::SLOT_BYTES;
    let length = u64::from(sectors) * u64::from(sector);
    geometry.clusters = length.checked_sub(data)? / u64::from(cluster);
    Some(geometry)
}

/// Returns the options, the manifest's root and the geometry in a head, if it is exactly as
/// freestone writes it.
pub(super) fn decode(head: &[u8]) -> Option<(FatOptions, Id, Geometry)> {
    let head = head.get(..HEAD_BYTES)?;
    let text = &head[NAME_OFFSET..NAME_OFFSET + NAME_BYTES_MAX];
    let end = text.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&text[..end]).ok()?;
    let (options, root) = FatOptions::parse_image_name(text)?;
    let geometry = geometry(head)?;
    // With larger sectors, FSInfo is after the bytes of the head.
    let (free, last) = match (geometry.fat_type, geometry.sector) {
        (FatType::Fat32, 512) => (u32_at(head, 512 + 488).into(), u32_at(head, 512 + 492).into()),
        _ => (0, 0),
    };
    let encoded = Head { geometry, free, last }.encode(text);
    (encoded[..HEAD_BYTES] == *head).then_some((options, root, geometry))
}
