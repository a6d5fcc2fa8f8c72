//! Taking the slots of a directory apart.

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
/// Bits of byte 12 that say that base or extension is in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// A file or directory of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotChild {
    /// Where its short entry stands in the directory, in bytes.
    pub(super) at: usize,
    pub(super) name: Vec<u8>,
    pub(super) short: Short,
    pub(super) is_directory: bool,
    pub(super) mtime: i64,
    pub(super) cluster: u64,
    pub(super) size: u64,
}

/// Where violations are noted: the directory's path, and where a byte of it is in the image.
pub(super) struct Notes<'a> {
    pub(super) path: &'a [u8],
    pub(super) offset_of: &'a dyn Fn(usize) -> u64,
    pub(super) violations: &'a mut Violations,
}

impl Notes<'_> {
    pub(super) fn add(&mut self, rule: FatRule, at: usize, name: &[u8], what: impl Into<String>) {
        let path = match self.path {
            b"" => name.to_vec(),
            path => [path, b"/", name].concat(),
        };
        self.violations.add(rule, (self.offset_of)(at), Some(&path), what);
    }
}

/// A long name in the making: its units, by slot from the last, and what is still to come.
struct Long {
    units: Vec<u16>,
    next: u8,
    sum: u8,
}

fn word(slot: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([slot[at], slot[at + 1]])
}

/// The name that a short entry shows by itself.
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

/// What is in a directory, `.` and `..` apart, which it begins with unless it is the root.
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
                notes.add(FatRule::MirageName, at, b"", "a label, which is shown as a file");
            }
            continue;
        }
        let child = short_slot(slot, long.take(), at, profile, notes);
        if !shorts.insert(child.short) {
            notes.add(FatRule::ShortName, at, &child.name, "its short name came before");
        }
        let folded = fold(&String::from_utf8_lossy(&child.name));
        if !names.insert(short_hash(folded.as_bytes())) {
            notes.add(
                FatRule::Name,
                at,
                &child.name,
                "another differs by case alone, or not at all",
            );
        }
        children.push(child);
    }
    orphan(long, bytes.len().saturating_sub(SLOT), notes);
    children
}

fn orphan(long: Option<Long>, at: usize, notes: &mut Notes<'_>) {
    if long.is_some() {
        notes.add(FatRule::LongName, at, b"", "a long name without its short one behind it");
    }
}

fn long_slot(slot: &[u8], before: Option<Long>, at: usize, notes: &mut Notes<'_>) -> Option<Long> {
    let number = slot[0] & !LAST;
    let mut long = match (slot[0] & LAST != 0, before) {
        (true, before) => {
            orphan(before, at, notes);
            Long { units: Vec::new(), next: number, sum: slot[13] }
        }
        (false, Some(long)) => long,
        (false, None) => {
            notes.add(FatRule::LongName, at, b"", "it begins in the middle");
            return None;
        }
    };
    let is_plain = slot[11] == LONG && slot[12] == 0 && word(slot, 26) == 0;
    if number != long.next || number == 0 || number > 20 || slot[13] != long.sum || !is_plain {
        notes.add(FatRule::LongName, at, b"", "its slots do not belong together");
        return None;
    }
    let units = UNIT_OFFSETS.map(|offset| word(slot, offset));
    long.units.splice(0..0, units);
    long.next -= 1;
    Some(long)
}

/// The units of a whole long name; `None` if what fills it up is wrong. Whether it has a NUL.
fn units(long: &Long) -> Option<(&[u16], bool)> {
    match long.units.iter().position(|unit| *unit == 0) {
        None => Some((&long.units, false)),
        Some(end) => {
            let is_filled = long.units[end + 1..].iter().all(|unit| *unit == 0xffff);
            // A last slot with nothing but the NUL is the strict profile's, and no reader's error.
            let is_short = end + SLOT_UNITS >= long.units.len();
            (is_filled && is_short).then_some((&long.units[..end], true))
        }
    }
}

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
            _ => notes.add(FatRule::LongName, at, &name, "the long name in front is another's"),
        }
    }
    let parts = [&short[..8], &short[8..]].map(|part| {
        let end = part.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        part[..end].iter().all(|byte| is_short(*byte) || *byte >= 0x80)
    });
    if parts != [true, true] || short[0] == b' ' {
        notes.add(FatRule::ShortName, at, &name, "its short name is made of other characters");
    }
    match Name::of(&name, profile) {
        Err(why) => notes.add(FatRule::Name, at, &name, format!("it {why}")),
        Ok(found) if profile == Profile::Mirage => {
            if found.long.is_some() != is_long || (is_long && !has_end) {
                notes.add(
                    FatRule::MirageName,
                    at,
                    &name,
                    "its long name is missing, too much, or cut",
                );
            }
        }
        Ok(_) => {}
    }
    let mtime = time::decode(word(slot, 24), word(slot, 22));
    if mtime.is_none() {
        notes.add(FatRule::Time, at, &name, "the time of its last change is none");
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
