//! The rules of freestone's own layout, beyond those of the readers.

use super::header::Header;
use super::member::Member;
use super::members::RawMember;
use super::rule::TarRule;
use crate::tar::layout::{FIRST_UNIT, fillers_of_nothing};
use crate::tar::{Align, TarOptions};
use crate::violation::Violations;
use freestone_core::limits::{BLOCK_BYTES, USTAR_SIZE_MAX};
use freestone_core::measure::filler;
use freestone_core::tar1::{self, Shape};
use freestone_manifest::placement_fault;

const UNIT: u64 = 512;

/// A check of the layout of an image whose head says that freestone wrote it.
pub(super) struct OwnLayout {
    options: TarOptions,
    previous: Option<(Vec<u8>, bool)>,
    /// The fillers before the next member: the offset of the first, and their number.
    fillers: Option<(u64, u64)>,
}

/// The fields that are the same in every header, each with the text of the violation.
const SAME: [(usize, &[u8], &str); 7] = [
    (108, b"0000000\x000000000\0", "the owner is not 0"),
    (157, &[0; 100], "there is a link"),
    (257, b"ustar\x0000", "the magic is not ustar's"),
    (265, &[0; 64], "the owner has a name"),
    (329, b"0000000\x000000000\0", "there is a device number"),
    (500, &[0; 12], "the bytes after the prefix are not zero"),
    (135, b"\0", "the size is not written in the usual way"),
];

/// Returns true if a text field holds `text` and NULs after it.
fn holds(field: &[u8], text: &[u8]) -> bool {
    field.strip_prefix(text).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

/// Returns the differences of a header from one that freestone writes with this mode, `size` and
/// `mtime`.
fn field_faults(header: &Header, mode: &[u8], size: u64, mtime: i64) -> Vec<&'static str> {
    let block = &header.block;
    let octal = |number: u64| format!("{number:011o}\0").into_bytes();
    let mut faults: Vec<_> = SAME
        .iter()
        .filter(|(offset, bytes, _)| !block[*offset..].starts_with(bytes))
        .map(|(_, _, what)| *what)
        .collect();
    if !holds(&block[100..108], mode) {
        faults.push("the mode is a different one");
    }
    // The checksum is right, but readers skip spaces before it.
    let summed = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
    let sum: u32 = summed.map(|byte| u32::from(*byte)).sum();
    if block[148..156] != format!("{sum:06o}\0 ").into_bytes() {
        faults.push("the checksum is not written in the usual way");
    }
    if block[124..136] != octal(size) {
        faults.push("the size is not written in the usual way");
    }
    if block[136..148] != octal(mtime.unsigned_abs()) {
        faults.push("the time is not written in the usual way");
    }
    faults
}

impl OwnLayout {
    pub(super) fn new(options: TarOptions) -> Self {
        Self { options, previous: None, fillers: None }
    }

    /// Checks a filler.
    pub(super) fn filler(&mut self, raw: &RawMember, violations: &mut Violations) {
        let (_, count) = self.fillers.get_or_insert((raw.start, 0));
        *count += 1;
        let block = &raw.header.block;
        let is_plain = raw.pax.is_none() && !raw.is_long;
        if !is_plain || !holds(&block[..100], b"./") || !holds(&block[345..500], b"") {
            let what = "it is not just a header named ./";
            violations.add(TarRule::Fillers, raw.offset, None, what);
        }
        let mut faults = field_faults(&raw.header, b"0000755", 0, 0);
        if raw.header.kind != b'5' {
            faults.push("the kind is a different one");
        }
        for fault in faults {
            violations.add(TarRule::Fields, raw.offset, None, fault);
        }
    }

    /// Checks a file or directory.
    pub(super) fn member(&mut self, raw: &RawMember, member: &Member, violations: &mut Violations) {
        let size = (!member.is_directory).then_some(member.size);
        let mut add = |rule, what: String| {
            violations.add(rule, raw.offset, Some(&member.path), what);
        };

        let previous =
            self.previous.as_ref().map(|(path, is_directory)| (&path[..], *is_directory));
        match placement_fault(previous, &member.path) {
            Some(fault) if fault.contains("order") => add(TarRule::Order, format!("it {fault}")),
            Some(fault) => add(TarRule::Parents, format!("it {fault}")),
            None => {}
        }
        self.previous = Some((member.path.clone(), member.is_directory));

        let is_aligned = self.options.align() == Align::Blocks && tar1::is_aligned(size);
        let (start, fillers) = self.fillers.take().unwrap_or((raw.start, 0));
        let headers = (raw.data - raw.start) / UNIT;
        let wanted = if is_aligned { filler(start / UNIT + headers) } else { 0 };
        if fillers != wanted {
            add(TarRule::Fillers, format!("there are {fillers} fillers before it, not {wanted}"));
        }
        if is_aligned && !raw.data.is_multiple_of(BLOCK_BYTES) {
            add(TarRule::Alignment, format!("its data start at {}", raw.data));
        }

        for fault in own_header_faults(raw, member) {
            add(TarRule::Fields, fault.into());
        }
        match Shape::of(&member.path, size) {
            None => add(TarRule::PaxNeed, "pax records cannot hold its path".into()),
            Some(shape) => {
                for fault in pax_faults(raw, member, &shape) {
                    add(TarRule::PaxNeed, fault.into());
                }
            }
        }
    }

    /// Checks that no fillers are left at the end of the archive.
    pub(super) fn end(&self, violations: &mut Violations) {
        let (offset, count) = self.fillers.unwrap_or((FIRST_UNIT * UNIT, 0));
        let members = u64::from(self.previous.is_some());
        let wanted = fillers_of_nothing(members);
        if count != wanted {
            let what = format!("there are {count} fillers before the end, not {wanted}");
            violations.add(TarRule::Fillers, offset, None, what);
        }
    }
}

/// Returns the differences of a member's headers from those that freestone writes.
fn own_header_faults(raw: &RawMember, member: &Member) -> Vec<&'static str> {
    let mode: &[u8] = if member.executable { b"0000755" } else { b"0000644" };
    let size = if member.size > USTAR_SIZE_MAX { 0 } else { member.size };
    let mut faults = field_faults(&raw.header, mode, size, member.mtime);
    if raw.header.kind != if member.is_directory { b'5' } else { b'0' } {
        faults.push("the kind is not written in the usual way");
    }
    if member.is_directory && !member.executable {
        faults.push("the mode is a different one");
    }
    if let Some((header, payload, _)) = &raw.pax {
        faults.extend(field_faults(header, b"0000644", payload.len() as u64, 0));
        if !holds(&header.block[..100], b"././@PaxHeader") || !holds(&header.block[345..500], b"") {
            faults.push("the x header has a different name");
        }
    }
    faults
}

/// Returns the differences of name, prefix and pax from `shape`, which the path and the size have.
fn pax_faults(raw: &RawMember, member: &Member, shape: &Shape) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if raw.is_long {
        faults.push("an L or K header comes before it");
    }
    if raw.pax.as_ref().map_or(&[][..], |(_, payload, _)| payload) != shape.pax {
        faults.push("its pax payload is a different one");
    }
    let (prefix, name) = match shape.split {
        Some(slash) => (&shape.name[..slash], shape.name[slash + 1..].to_vec()),
        None if shape.pax_path => (&[][..], name_beside_pax(&member.path, member.is_directory)),
        None => (&[][..], shape.name.clone()),
    };
    let block = &raw.header.block;
    if !holds(&block[..100], &name) || !holds(&block[345..500], prefix) {
        faults.push("its name or prefix is a different one");
    }
    if raw.name != shape.name {
        faults.push("its name begins with ./ or /");
    }
    faults
}

/// Returns the name field of a path that is in the pax records: the path cut to 100 bytes, with the
/// slash of a directory and never another slash at the end.
fn name_beside_pax(path: &[u8], is_directory: bool) -> Vec<u8> {
    let mut name = path[..path.len().min(if is_directory { 99 } else { 100 })].to_vec();
    if name.ends_with(b"/") {
        name.pop();
    }
    if is_directory {
        name.push(b'/');
    }
    name
}
