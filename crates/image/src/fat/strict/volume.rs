//! Decoding a boot sector as readers do: by the specification, without code of the writer.

use super::rule::FatRule;
use crate::fat::FatType;
use crate::read::ReadAt;
use crate::violation::Violations;
use freestone_core::Result;

/// The parts of a file system, which were checked to be inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) fat_type: FatType,
    pub(super) sector: u64,
    pub(super) cluster: u64,
    pub(super) tables: u64,
    /// The offset of the first table, and the bytes of one.
    pub(super) table_offset: u64,
    pub(super) table: u64,
    /// The offset and the length of the root directory's own place. FAT32 has none.
    pub(super) root_offset: u64,
    pub(super) root: u64,
    /// The offset of the first cluster, and the number of clusters.
    pub(super) data_offset: u64,
    pub(super) clusters: u64,
    /// FAT32: the root directory's first cluster, and the sectors of FSInfo and of the copy.
    pub(super) root_cluster: u64,
    pub(super) info_sector: u64,
    pub(super) copy_sector: u64,
    pub(super) medium: u8,
}

impl Volume {
    /// Returns the offset of the cluster `number`, which is at least 2.
    pub(super) fn cluster_offset(&self, number: u64) -> u64 {
        self.data_offset + (number - 2) * self.cluster
    }

    /// Returns the offset of the end of the file system.
    pub(super) fn end(&self) -> u64 {
        self.cluster_offset(self.clusters + 2)
    }

    /// Reads the boot sector. Returns `None` if it makes no sense.
    pub(super) fn read<R: ReadAt + ?Sized>(
        image: &R,
        violations: &mut Violations,
    ) -> Result<Option<Self>> {
        let mut boot = [0; 512];
        if image.length() < 512 {
            violations.add(FatRule::Boot, 0, None, "the image has no boot sector");
            return Ok(None);
        }
        image.read_at(0, &mut boot)?;
        match decode(&boot) {
            Err(what) => {
                violations.add(FatRule::Boot, 0, None, what);
                Ok(None)
            }
            Ok((volume, sectors)) => {
                let end = sectors * volume.sector;
                if end > image.length() || volume.end() > end {
                    let what = format!("it has {end} bytes, and the image {}", image.length());
                    violations.add(FatRule::Inside, 32, None, what);
                    return Ok(None);
                }
                let bits = (volume.clusters + 2) * u64::from(volume.fat_type.bits());
                if bits.div_ceil(8) > volume.table {
                    let what = format!(
                        "{} clusters, and tables of {} bytes",
                        volume.clusters, volume.table
                    );
                    violations.add(FatRule::TableLength, 22, None, what);
                    return Ok(None);
                }
                Ok(Some(volume))
            }
        }
    }
}

/// Decodes the parts and the number of sectors. The error says what is wrong.
fn decode(boot: &[u8; 512]) -> Result<(Volume, u64), String> {
    let byte = |at: usize| u64::from(boot[at]);
    let small = |at: usize| byte(at) | byte(at + 1) << 8;
    let large = |at: usize| small(at) | small(at + 2) << 16;
    if boot[510..] != [0x55, 0xaa] {
        return Err("the boot sector has no signature".into());
    }
    if !matches!(boot[0], 0xeb | 0xe9) {
        return Err("the boot sector does not begin with a jump".into());
    }
    let (sector, in_cluster, reserved) = (small(11), byte(13), small(14));
    if !matches!(sector, 512 | 1024 | 2048 | 4096) {
        return Err(format!("sectors of {sector} bytes"));
    }
    if !in_cluster.is_power_of_two() {
        return Err(format!("clusters of {in_cluster} sectors"));
    }
    let (tables, slots, medium) = (byte(16), small(17), boot[21]);
    if reserved == 0 || !matches!(tables, 1 | 2) {
        return Err(format!("{reserved} reserved sectors and {tables} tables"));
    }
    if medium != 0xf0 && medium < 0xf8 {
        return Err(format!("a medium of {medium:#04x}"));
    }
    let sectors = if small(19) == 0 { large(32) } else { small(19) };
    let is_fat32 = small(22) == 0;
    let table = if is_fat32 { large(36) } else { small(22) };
    if table == 0 {
        return Err("the tables have no sectors".into());
    }
    let root = (slots * 32).div_ceil(sector) * sector;
    let root_offset = (reserved + tables * table) * sector;
    let data_offset = root_offset + root;
    let data =
        (sectors * sector).checked_sub(data_offset).ok_or("its parts are longer than the whole")?;
    let clusters = data / sector / in_cluster;
    if clusters == 0 {
        return Err("it has no clusters".into());
    }
    // The number of clusters alone determines the type.
    let fat_type = match clusters {
        0..=4084 => FatType::Fat12,
        4085..=65_524 => FatType::Fat16,
        _ => FatType::Fat32,
    };
    if (fat_type == FatType::Fat32) != is_fat32 || is_fat32 != (slots == 0) {
        return Err(format!("{clusters} clusters, and fields that are not FAT{fat_type}'s"));
    }
    if clusters > 0x0fff_fff4 {
        return Err(format!("{clusters} clusters"));
    }
    let volume = Volume {
        fat_type,
        sector,
        cluster: sector * in_cluster,
        tables,
        table_offset: reserved * sector,
        table: table * sector,
        root_offset,
        root,
        data_offset,
        clusters,
        root_cluster: if is_fat32 { large(44) } else { 0 },
        info_sector: if is_fat32 { small(48) } else { 0 },
        copy_sector: if is_fat32 { small(50) } else { 0 },
        medium,
    };
    Ok((volume, sectors))
}
