//! Decoding the slots of a directory.

use super::rule::FatRule;
use crate::fat::directory::{DIRECTORY, LONG, UNIT_OFFSETS, sum};
use crate::fat::geometry::SLOT;
use crate::fat::name::{Name, SLOT_UNITS, Short, fold, is_short};
use crate::fat::{Profile, time};
use crate::hash::short_hash;
use crate::violation::Violations;
use std::collections::HashSet;

const LABEL: u8 = 0x08;
const DELETED: u8 = 0xe5;
const LAST: u8 = 0x40;
/// The bits of byte 12 that say that the base or the extension is in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// A file or directory, as its directory's slots say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotChild {
    /// The offset of its short entry in the directory, in bytes.
    pub(super) at: usize,
    pub(super) name: Vec<u8>,
    pub(super) short: Short,
    pub(super) is_directory: bool,
    pub(super) mtime: i64,
    pub(super) cluster: u64,
    pub(super) size: u64,
}

/// A list for the violations in one directory: its path, and the offsets of its bytes in the image.
pub(super) struct Notes<'a> {
    pub(super) path: &'a [u8],
    pub(super) offset_of: &'a dyn Fn(usize) -> u64,
    pub(super) violations: &'a mut Violations,
}

impl Notes<'_> {
    /// Adds a violation at byte `at` of the directory.
    pub(super) fn add(&mut self, rule: FatRule, at: usize, name: &[u8], what: impl Into<String>) {
        let path = match self.path {
            b"" => name.to_vec(),
            path => [path, b"/", name].concat(),
        };
        self.violations.add(rule, (self.offset_of)(at), Some(&path), what);
    }
}

/// A long name of which not all slots were read: its units, the number of the next slot, and the
/// checksum.
struct Long {
    units: Vec<u16>,
    next: u8,
    sum: u8,
}

/// Returns the number of two bytes at `at`.
fn word(slot: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([slot[at], slot[at + 1]])
}

/// Returns the name that a short entry has without a long name.
fn shown(short: &Short, case: u8) -> Vec<u8> {
    let part = |bytes: &[u8], lower: bool| -> String {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(' ');
        if lower { text.to_ascii_lowercase() } else { text.into() }
    };
    let mut name = part(&short[..8], case & LOWER_BASE != 0);
    let extension = part(&short[8..], case & LOWER_EXTENSION != 0);
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    name.into_bytes()
}

/// Returns what is in a directory, without `.` and `..`, with which all but the root begin.
pub(super) fn children(
    bytes: &[u8],
    is_root: bool,
    profile: Profile,
    notes: &mut Notes<'_>,
) -> Vec<SlotChild> {
    let mut children = Vec::new();
    let mut long: Option<Long> = None;
    let mut shorts = HashSet::new();
    let mut names = HashSet::new();
    for (index, slot) in bytes.chunks_exact(32).enumerate() {
        let at = index * 32;
        if slot[0] == 0 {
            break;
        }
        if !is_root && index < 2 {
            continue;
        }
        if slot[0] == DELETED {
            orphan(long.take(), at, notes);
            continue;
        }
        if slot[11] & 0x3f == LONG {
            long = long_slot(slot, long, at, notes);
            continue;
        }
        if slot[11] & LABEL != 0 {
            orphan(long.take(), at, notes);
            if profile == Profile::Mirage {
                notes.add(FatRule::MirageName, at, b"", "a label, which MirageOS shows as a file");
            }
            continue;
        }
        let child = short_slot(slot, long.take(), at, profile, notes);
        if !shorts.insert(child.short) {
            notes.add(FatRule::ShortName, at, &child.name, "another entry has the same short name");
        }
        let folded = fold(&String::from_utf8_lossy(&child.name));
        if !names.insert(short_hash(folded.as_bytes())) {
            notes.add(
                FatRule::Name,
                at,
                &child.name,
                "another entry has the same name, or differs by case alone",
            );
        }
        children.push(child);
    }
    orphan(long, bytes.len().saturating_sub(SLOT), notes);
    children
}

/// Adds a violation if there is a long name to which no short one belongs.
fn orphan(long: Option<Long>, at: usize, notes: &mut Notes<'_>) {
    if long.is_some() {
        notes.add(FatRule::LongName, at, b"", "a long name without a short one after it");
    }
}

/// Decodes a slot of a long name, of which `before` was read already.
fn long_slot(slot: &[u8], before: Option<Long>, at: usize, notes: &mut Notes<'_>) -> Option<Long> {
    let number = slot[0] & !LAST;
    let mut long = match (slot[0] & LAST != 0, before) {
        (true, before) => {
            orphan(before, at, notes);
            Long { units: Vec::new(), next: number, sum: slot[13] }
        }
        (false, Some(long)) => long,
        (false, None) => {
            notes.add(FatRule::LongName, at, b"", "a long name without its first slot");
            return None;
        }
    };
    let is_plain = slot[11] == LONG && slot[12] == 0 && word(slot, 26) == 0;
    if number != long.next || number == 0 || number > 20 || slot[13] != long.sum || !is_plain {
        notes.add(FatRule::LongName, at, b"", "the slots of a long name do not belong together");
        return None;
    }
    let units = UNIT_OFFSETS.map(|offset| word(slot, offset));
    long.units.splice(0..0, units);
    long.next -= 1;
    Some(long)
}

/// Returns the units of a long name, and whether a NUL ends it; `None` if its last slot is not
/// filled up as it must be.
fn units(long: &Long) -> Option<(&[u16], bool)> {
    match long.units.iter().position(|unit| *unit == 0) {
        None => Some((&long.units, false)),
        Some(end) => {
            let is_filled = long.units[end + 1..].iter().all(|unit| *unit == 0xffff);
            // A last slot that has only the NUL is that of the strict profile. Readers accept it.
            let is_short = end + SLOT_UNITS >= long.units.len();
            (is_filled && is_short).then_some((&long.units[..end], true))
        }
    }
}

/// Decodes a slot with a short name, which belongs to the long name before it, if there is one.
fn short_slot(
    slot: &[u8],
    long: Option<Long>,
    at: usize,
    profile: Profile,
    notes: &mut Notes<'_>,
) -> SlotChild {
    let mut short = [0; 11];
    short.copy_from_slice(&slot[..11]);
    let mut name = shown(&short, slot[12]);
    let mut has_end = true;
    let is_long = long.is_some();
    if let Some(long) = long {
        let text = units(&long).and_then(|(units, end)| {
            has_end = end;
            String::from_utf16(units).ok()
        });
        match text {
            Some(text) if long.next == 0 && long.sum == sum(&short) => name = text.into_bytes(),
            _ => notes.add(
                FatRule::LongName,
                at,
                &name,
                "the long name before it belongs to another entry",
            ),
        }
    }
    let parts = [&short[..8], &short[8..]].map(|part| {
        let end = part.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        part[..end].iter().all(|byte| is_short(*byte) || *byte >= 0x80)
    });
    if parts != [true, true] || short[0] == b' ' {
        notes.add(FatRule::ShortName, at, &name, "its short name has illegal characters");
    }
    match Name::of(&name, profile) {
        Err(why) => notes.add(FatRule::Name, at, &name, format!("it {why}")),
        Ok(found) if profile == Profile::Mirage => {
            if found.long.is_some() != is_long || (is_long && !has_end) {
                notes.add(
                    FatRule::MirageName,
                    at,
                    &name,
                    "its long name is missing, not needed, or without its NUL",
                );
            }
        }
        Ok(_) => {}
    }
    let mtime = time::decode(word(slot, 24), word(slot, 22));
    if mtime.is_none() {
        notes.add(FatRule::Time, at, &name, "the time of its last change does not exist");
    }
    SlotChild {
        at,
        name,
        short,
        is_directory: slot[11] & DIRECTORY != 0,
        mtime: mtime.unwrap_or(0),
        cluster: u64::from(word(slot, 26)) | u64::from(word(slot, 20)) << 16,
        size: u64::from(word(slot, 28)) | u64::from(word(slot, 30)) << 16,
    }
}
