//! A strict model of the programs that read FAT: the rules on which Linux, fsck.fat, mtools,
//! firmware and, in the strict profile, MirageOS's reader agree.
//!
//! Each rule is a [`FatRule`]. An image that says that freestone wrote it must also keep the rules
//! of freestone's layout ([`FatRule::is_own`]), which allow one way to write each manifest. The
//! readers' rules share with the writer only the shape of slots and names. The layout's rules are
//! checked by allocating clusters and short names again.
//!
//! It holds a bit for each cluster, a part of the table, and the directories on the way.

mod own;
mod rule;
mod slots;
mod table;
mod volume;

pub use rule::FatRule;

use super::geometry::SLOT_BYTES;
use super::head::decode;
use super::reserved::ReservedNames;
use super::{FatType, Profile};
use crate::format::{FormatOptions, read_head};
use crate::read::{ReadAt, first_nonzero};
use crate::report::{CheckReport, Container};
use freestone_core::Result;
use freestone_core::limits::{BLOCK_BYTES, PATH_BYTES_MAX};
use freestone_core::wire::to_usize;
use own::OwnLayout;
use slots::{Notes, SlotChild, children};
use table::{Chain, Table};
use volume::Volume;

/// The clusters from which on all readers take a file system for FAT16, not FAT12.
const FAT16_CLUSTERS_UNAMBIGUOUS: u64 = 4087;

/// The most bytes of a directory: 65,536 slots.
const DIRECTORY_BYTES_MAX: u64 = 65_536 * SLOT_BYTES;

/// A file or directory of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path.
    pub path: Vec<u8>,
    /// The short name of the last part of the path.
    pub short: [u8; 11],
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Last change, in seconds since 1970, taken as UTC.
    pub mtime: i64,
    /// Its length in bytes; 0 for a directory.
    pub size: u64,
    /// The runs of its bytes, which are whole clusters: offset and length.
    pub runs: Vec<(u64, u64)>,
}

/// Checks a FAT image against the rules, and calls `each` for its files and directories, a
/// directory before what is in it. A file system of another program is checked against the readers'
/// rules only.
///
/// # Errors
/// The image cannot be read, or `each` fails. A broken rule is not an error.
pub fn check<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    each: &mut dyn FnMut(&Member) -> Result<()>,
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let known = decode(&read_head(image)?);
    report.name = known.map(|(options, root, _)| options.image_name(&root));
    if !image.length().is_multiple_of(BLOCK_BYTES) {
        let what = format!("a length of {} bytes", image.length());
        report.violations.add(FatRule::Length, image.length(), None, what);
    }
    let Some(volume) = Volume::read(image, &mut report.violations)? else { return Ok(report) };
    let own = known.map(|(options, _, geometry)| OwnLayout::new(options, geometry));
    let profile = own.as_ref().map_or(Profile::Any, OwnLayout::profile);
    if profile == Profile::Mirage
        && (volume.fat_type != FatType::Fat16 || volume.clusters + 1 > 0xffef)
    {
        let what = format!("FAT{} of {} clusters", volume.fat_type, volume.clusters);
        report.violations.add(FatRule::MirageType, 0, None, what);
    }
    let table = Table::new(image, volume);
    if volume.fat_type == FatType::Fat16 && volume.clusters < FAT16_CLUSTERS_UNAMBIGUOUS {
        report.notes.push(format!(
            "{} clusters: GRUB and Windows take it for FAT12, and read other bytes",
            volume.clusters
        ));
    }
    let reserved = ReservedNames::default();
    let mut walk = StrictWalk { image, volume, profile, own, table, report, reserved, each };
    walk.table.check_start(&mut walk.report.violations)?;
    walk.tables()?;
    walk.all()?;
    walk.report.notes.extend(walk.reserved.note());
    let free = walk.table.check_rest(&mut walk.report.violations)?;
    walk.info(free)?;
    walk.rest(container)?;
    Ok(walk.report)
}

/// A directory whose children are being checked.
struct Level {
    path: Vec<u8>,
    first: u64,
    children: std::vec::IntoIter<SlotChild>,
    offsets: Offsets,
}

/// The runs of a directory's bytes in the image.
struct Offsets(Vec<(u64, u64)>);

impl Offsets {
    /// Returns the offset in the image of byte `at` of the directory.
    fn of(&self, at: usize) -> u64 {
        let mut left = at as u64;
        for (offset, length) in &self.0 {
            if left < *length {
                return offset + left;
            }
            left -= length;
        }
        self.0.last().map_or(0, |(offset, length)| offset + length)
    }
}

/// The state of a check.
struct StrictWalk<'a, R: ?Sized> {
    image: &'a R,
    volume: Volume,
    profile: Profile,
    own: Option<OwnLayout>,
    table: Table<'a, R>,
    report: CheckReport,
    reserved: ReservedNames,
    each: &'a mut dyn FnMut(&Member) -> Result<()>,
}

impl<R: ReadAt + ?Sized> StrictWalk<'_, R> {
    /// Checks that the tables are equal.
    fn tables(&mut self) -> Result<()> {
        if self.volume.tables < 2 {
            return Ok(());
        }
        let (mut one, mut two) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut at = 0;
        while at < self.volume.table {
            let length = to_usize(self.volume.table - at).min(one.len());
            let offset = self.volume.table_offset + at;
            self.image.read_at(offset, &mut one[..length])?;
            self.image.read_at(offset + self.volume.table, &mut two[..length])?;
            if let Some(index) = (0..length).find(|index| one[*index] != two[*index]) {
                let offset = offset + self.volume.table + index as u64;
                self.report.violations.add(FatRule::TablesEqual, offset, None, "they differ");
                return Ok(());
            }
            at += length as u64;
        }
        Ok(())
    }

    /// Returns the runs of a chain in the image: offset and length.
    fn runs(&self, chain: &Chain) -> Vec<(u64, u64)> {
        let run = |(first, count): &(u64, u64)| {
            (self.volume.cluster_offset(*first), count * self.volume.cluster)
        };
        chain.runs.iter().map(run).collect()
    }

    /// Reads a directory and decodes it. `own` is its entry and the first cluster of its parent.
    fn directory(
        &mut self,
        path: Vec<u8>,
        runs: Vec<(u64, u64)>,
        own: Option<(&SlotChild, u64)>,
    ) -> Result<(Vec<u8>, Vec<SlotChild>, Level)> {
        let length: u64 = runs.iter().map(|(_, length)| length).sum();
        let offsets = Offsets(runs);
        let mut bytes = vec![0; to_usize(length.min(DIRECTORY_BYTES_MAX))];
        let mut at = 0;
        for (offset, length) in &offsets.0 {
            let length = to_usize(*length).min(bytes.len() - at);
            self.image.read_at(*offset, &mut bytes[at..at + length])?;
            at += length;
        }
        let offset_of = |at| offsets.of(at);
        let violations = &mut self.report.violations;
        if length > DIRECTORY_BYTES_MAX.next_multiple_of(self.volume.cluster) {
            let what = format!("a directory of {length} bytes");
            violations.add(FatRule::Limit, offsets.of(0), Some(&path), what);
        }
        let mut notes = Notes { path: &path, offset_of: &offset_of, violations };
        if let Some((child, above)) = own {
            let cluster = |at: usize| {
                let low = u64::from(bytes[at + 26]) | u64::from(bytes[at + 27]) << 8;
                low | u64::from(bytes[at + 20]) << 16 | u64::from(bytes[at + 21]) << 24
            };
            let is_dot = |at: usize, name: &[u8]| {
                bytes[at..].starts_with(name) && bytes[at + 11] & 0x10 != 0
            };
            if bytes.len() < 64
                || !is_dot(0, b".          ")
                || !is_dot(32, b"..         ")
                || cluster(0) != child.cluster
                || cluster(32) != above
            {
                notes.add(
                    FatRule::Dots,
                    0,
                    b"",
                    "it does not begin with . and .. that have the right clusters",
                );
            }
        }
        let children = children(&bytes, own.is_none(), self.profile, &mut notes);
        let first = own.map_or(0, |(child, _)| child.cluster);
        let level = Level { path, first, children: children.clone().into_iter(), offsets };
        Ok((bytes, children, level))
    }

    /// Checks that a directory's slots are exactly those that freestone writes.
    fn own_slots(
        &mut self,
        bytes: &[u8],
        children: &[SlotChild],
        level: &Level,
        own: Option<(&SlotChild, u64)>,
    ) {
        let offset_of = |at| level.offsets.of(at);
        let violations = &mut self.report.violations;
        let mut notes = Notes { path: &level.path, offset_of: &offset_of, violations };
        if let Some(model) = &self.own {
            model.directory(bytes, children, own, &mut notes);
        }
    }

    /// Checks all files and directories.
    fn all(&mut self) -> Result<()> {
        let mut chain = Chain::default();
        let runs = if self.volume.fat_type == FatType::Fat32 {
            let first = self.volume.root_cluster;
            match self.table.chain(first, 44, b"", &mut self.report.violations)? {
                Some(found) => chain = found,
                None => return Ok(()),
            }
            self.runs(&chain)
        } else {
            vec![(self.volume.root_offset, self.volume.root)]
        };
        let (bytes, children, level) = self.directory(Vec::new(), runs, None)?;
        if let Some(own) = &mut self.own {
            own.root(&children, &chain, &mut self.report.violations);
        }
        self.own_slots(&bytes, &children, &level, None);
        let mut open = vec![level];
        self.report.is_whole = true;
        while let Some(level) = open.last_mut() {
            let Some(child) = level.children.next() else {
                open.pop();
                continue;
            };
            let path = match &level.path[..] {
                b"" => child.name.clone(),
                path => [path, b"/", &child.name].concat(),
            };
            let (offset, above) = (level.offsets.of(child.at), level.first);
            if path.len() > PATH_BYTES_MAX {
                let what = "a path of more than 4,095 bytes";
                self.report.violations.add(FatRule::Limit, offset, Some(&path), what);
                continue;
            }
            if let Some(below) = self.child(path, &child, offset, above)? {
                open.push(below);
            }
        }
        Ok(())
    }

    /// Checks a file or directory. Returns a directory in which to continue.
    fn child(
        &mut self,
        path: Vec<u8>,
        child: &SlotChild,
        offset: u64,
        above: u64,
    ) -> Result<Option<Level>> {
        let violations = &mut self.report.violations;
        let mut chain = Chain::default();
        if child.cluster != 0 || child.is_directory {
            match self.table.chain(child.cluster, offset, &path, violations)? {
                Some(found) => chain = found,
                None => self.report.is_whole = false,
            }
        }
        let needed = child.size.div_ceil(self.volume.cluster);
        if (!child.is_directory && chain.count != needed) || (child.is_directory && child.size != 0)
        {
            let what = format!("{} clusters for {} bytes", chain.count, child.size);
            violations.add(FatRule::ChainLength, offset, Some(&path), what);
        }
        let runs = self.runs(&chain);
        self.reserved.look_at(&path, self.profile);
        (self.each)(&Member {
            path: path.clone(),
            short: child.short,
            is_directory: child.is_directory,
            mtime: child.mtime,
            size: child.size,
            runs: runs.clone(),
        })?;
        if !child.is_directory {
            self.report.files += 1;
            self.report.bytes += child.size;
            if let Some(own) = &mut self.own {
                own.entry(&path, child, None, &chain, offset, &mut self.report.violations);
                if let [(start, length)] = runs[..] {
                    self.zeros(start + child.size.min(length), start + length, Some(&path))?;
                }
            }
            return Ok(None);
        }
        self.report.directories += 1;
        if chain.count == 0 {
            return Ok(None);
        }
        let own = Some((child, above));
        let (bytes, children, level) = self.directory(path, runs, own)?;
        if let Some(model) = &mut self.own {
            let violations = &mut self.report.violations;
            model.entry(&level.path, child, Some(&children), &chain, offset, violations);
        }
        self.own_slots(&bytes, &children, &level, own);
        Ok(Some(level))
    }

    /// Checks FAT32's FSInfo and the copy of the boot sector. There are `free` free clusters.
    fn info(&mut self, free: u64) -> Result<()> {
        if self.volume.fat_type != FatType::Fat32 {
            return Ok(());
        }
        let volume = self.volume;
        let mut sectors = [vec![0; 512], vec![0; 512], vec![0; 512], vec![0; 512]];
        let numbers =
            [0, volume.copy_sector, volume.info_sector, volume.copy_sector + volume.info_sector];
        for (sector, number) in sectors.iter_mut().zip(numbers) {
            let offset = number * volume.sector;
            if offset + volume.sector > volume.table_offset {
                let what = format!("sector {number} is not a reserved one");
                self.report.violations.add(FatRule::Info, 48, None, what);
                return Ok(());
            }
            self.image.read_at(offset, sector)?;
        }
        let [boot, copy, info, info_copy] = &sectors;
        let at = volume.info_sector * volume.sector;
        let word = |at: usize| {
            u64::from(u32::from_le_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]))
        };
        let violations = &mut self.report.violations;
        if volume.copy_sector != 0 && boot != copy {
            let at = volume.copy_sector * volume.sector;
            violations.add(FatRule::Info, at, None, "the copy of the boot sector differs");
        }
        let is_signed = info.starts_with(b"RRaA")
            && info[484..].starts_with(b"rrAa")
            && info[510..] == [0x55, 0xaa];
        if !is_signed || (word(488) != free && word(488) != 0xffff_ffff) {
            let what = format!("{} free clusters instead of {free}, or no FSInfo", word(488));
            violations.add(FatRule::Info, at + 488, None, what);
        }
        if let Some(own) = &self.own {
            let (free, last) = own.info();
            let is_plain = info[4..484].iter().chain(&info[496..510]).all(|byte| *byte == 0);
            if (word(488), word(492)) != (free, last) || info != info_copy || !is_plain {
                violations.add(FatRule::Head, at, None, "freestone writes another FSInfo");
            }
        }
        Ok(())
    }

    /// Checks the bytes of a freestone image that belong to nothing.
    fn rest(&mut self, container: Container) -> Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        let (volume, length) = (self.volume, self.image.length());
        let is_device = container == Container::Device;
        let wanted = own.end(&volume, length, is_device, &mut self.report.violations);
        if let Some(odd) = self.table.odd {
            let what = "an entry has other bits than freestone writes";
            self.report.violations.add(FatRule::Padding, odd, None, what);
        }
        // The first 4096 bytes were compared. There may be more reserved sectors after them.
        if volume.fat_type == FatType::Fat32 && volume.sector == BLOCK_BYTES {
            for sector in 1..volume.table_offset / volume.sector {
                let start = sector * volume.sector;
                let has = [1, 6, 7].contains(&sector);
                self.zeros(start + if has { 512 } else { 0 }, start + volume.sector, None)?;
            }
        }
        for copy in 0..volume.tables {
            let start = volume.table_offset + copy * volume.table;
            let bits = (volume.clusters + 2) * u64::from(volume.fat_type.bits());
            let used = bits.div_ceil(8);
            if !bits.is_multiple_of(8) {
                let mut byte = [0];
                self.image.read_at(start + used - 1, &mut byte)?;
                if byte[0] >> 4 != 0 {
                    let what = "the half byte after the last entry is not zero";
                    self.report.violations.add(FatRule::Padding, start + used - 1, None, what);
                }
            }
            self.zeros(start + used, start + volume.table, None)?;
        }
        let mut number = 2;
        while number < volume.clusters + 2 {
            let first = number;
            while number < volume.clusters + 2 && !self.table.is_taken(number) {
                number += 1;
            }
            if number > first {
                self.zeros(volume.cluster_offset(first), volume.cluster_offset(number), None)?;
            }
            number += 1;
        }
        self.zeros(volume.end(), wanted.min(length), None)
    }

    /// Checks that there are zeros from `start` to before `end`.
    fn zeros(&mut self, start: u64, end: u64, path: Option<&[u8]>) -> Result<()> {
        if let Some(offset) = first_nonzero(self.image, start..end)? {
            self.report.violations.add(FatRule::Padding, offset, path, "these bytes are not zeros");
        }
        Ok(())
    }
}
