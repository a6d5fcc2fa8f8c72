//! A strict model of the programs that read tar images: what none of them stumbles over.
//!
//! The rules were found by feeding images to MirageOS's reader (ocaml-tar 3.3.0), GNU tar,
//! bsdtar, busybox and Python's `tarfile`, and by reading their sources; each is a [`Rule`]. An
//! image that breaks none is read alike by all of them. An image that says that freestone wrote
//! it must keep the rules of freestone's layout as well ([`Rule::is_own`]), which leave one
//! way to write each manifest.
//!
//! The model reads a block at a time. It shares with the writer what an entry needs in front of
//! it ([`freestone_core::tar1`]) and the head ([`identify`]), and otherwise nothing.

mod header;
mod member;
mod members;
mod own;
mod rule;
mod seen;
mod spelling;

pub use member::Member;
pub use rule::{Rule, Violation, Violations};

use super::layout::FIRST_UNIT;
use crate::report::{self, Container, Found};
use crate::violation;
use crate::{Format, HEAD_BYTES, Identity, ImageName, ReadAt, identify};
use freestone_core::Result;
use freestone_core::limits::{BLOCK_BYTES, TAR_BLOCK_BYTES};
use members::{Members, RawMember, Step};
use own::Own;
use seen::Seen;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the image says it is, if freestone wrote it.
    pub name: Option<ImageName>,
    /// How many files it holds.
    pub files: u64,
    /// How many directories it holds.
    pub directories: u64,
    /// How many bytes the files have.
    pub bytes: u64,
    /// Where the last member ends, in bytes; `None` if the archive could not be read to its end.
    pub end: Option<u64>,
    /// The rules it breaks.
    pub violations: Violations,
}

/// Checks a tar image against the rules, and gives `each` its files and directories in their
/// order. Another program's archive is checked against the readers' rules alone.
///
/// # Errors
/// The image cannot be read, or what `each` returns. Broken rules are no errors.
pub fn check<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    each: &mut dyn FnMut(&Member) -> Result<()>,
) -> Result<Report> {
    let mut report = Report { name: name(image)?, ..Report::default() };
    let options = report.name.and_then(|name| match name.format {
        Format::Tar(options) => Some(options),
        _ => None,
    });
    let mut own = options.map(Own::new);
    let mut seen = Seen::new();
    let mut members = Members::new(image);
    loop {
        let violations = &mut report.violations;
        match members.next(violations)? {
            Step::Global(0) => {}
            Step::Global(offset) => {
                if own.is_some() {
                    violations.add(Rule::Head, offset, None, "a second g header");
                }
            }
            Step::Member(raw) => {
                if let Some(member) = member(image, &raw, &mut own, violations)? {
                    seen.add(image, raw.offset, (&member.path, member.is_directory), violations)?;
                    if member.is_directory {
                        report.directories += 1;
                    } else {
                        report.files += 1;
                        report.bytes = report.bytes.saturating_add(member.size);
                    }
                    each(&member)?;
                }
            }
            Step::End(end) => {
                report.end = Some(end);
                if let Some(own) = &own {
                    own.end(violations);
                }
                break;
            }
            Step::Broken => break,
        }
    }
    let mut wanted = image.length();
    if let (Some(options), Some(end)) = (options, report.end) {
        wanted = match options.image_length(end) {
            Ok(length) => length,
            Err(error) => {
                report.violations.add(Rule::Size, 0, None, error.to_string());
                wanted
            }
        };
        if image.length() < wanted || (image.length() > wanted && container == Container::File) {
            let what = format!("{} bytes instead of {wanted}", image.length());
            report.violations.add(Rule::Size, 0, None, what);
        }
    }
    if let Some(end) = report.end {
        tail(image, end, wanted.min(image.length()), own.is_some(), &mut report.violations)?;
    }
    if !image.length().is_multiple_of(BLOCK_BYTES) {
        let what = format!("a length of {} bytes", image.length());
        report.violations.add(Rule::Length, image.length(), None, what);
    }
    Ok(report)
}

/// As [`check`], with what is found told as for any format.
pub(crate) fn report<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<report::Report> {
    // The first member that ends behind a byte has it, or its headers have; the head is nobody's.
    let head = FIRST_UNIT * TAR_BLOCK_BYTES;
    let found = check(image, container, &mut |member| {
        each(Found { path: member.path.clone(), bytes: head..member.data + member.size })
    })?;
    let mut violations = violation::Violations::default();
    for violation in found.violations.kept() {
        violations.add(violation::Violation {
            rule: violation.rule.name(),
            why: violation.rule.why(),
            offset: violation.offset,
            path: violation.path.clone(),
            what: violation.what.clone(),
        });
    }
    violations.count_more(found.violations.count());
    Ok(report::Report {
        name: found.name,
        files: found.files,
        directories: found.directories,
        bytes: found.bytes,
        is_whole: found.end.is_some(),
        violations,
    })
}

/// What the image says it is.
fn name<R: ReadAt + ?Sized>(image: &R) -> Result<Option<ImageName>> {
    let mut head = [0; HEAD_BYTES];
    let length = usize::try_from(image.length()).unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
    image.read_at(0, &mut head[..length])?;
    match identify(&head[..length]) {
        Identity::Image(name) => Ok(Some(name)),
        _ => Ok(None),
    }
}

/// Checks a member by itself; gives what readers show of it, `None` if that is nothing.
fn member<R: ReadAt + ?Sized>(
    image: &R,
    raw: &RawMember,
    own: &mut Option<Own>,
    violations: &mut Violations,
) -> Result<Option<Member>> {
    let is_directory = raw.name.ends_with(b"/");
    let path = Some(&raw.name[..]);
    if is_directory != (raw.header.kind == b'5') && matches!(raw.header.kind, b'0' | b'5' | 0) {
        let what = "its kind says otherwise than the end of its name";
        violations.add(Rule::DirectorySlash, raw.offset, path, what);
    }
    if is_directory && raw.size != 0 {
        let what = format!("a directory of {} bytes", raw.size);
        violations.add(Rule::DirectoryData, raw.offset, path, what);
    }
    if own.is_some() {
        let payload = raw.pax.iter().map(|(header, _, at)| (at + 512 + header.size, raw.offset));
        for (start, end) in payload.chain([(raw.data + raw.size, raw.end)]) {
            if let Some(offset) = first_nonzero(image, start, end)? {
                violations.add(Rule::Padding, offset, path, "the last block is not padded with 0");
            }
        }
    }
    if spelling::is_filler(&raw.name) {
        if let Some(own) = own {
            own.filler(raw, violations);
        }
        return Ok(None);
    }
    if let Some(fault) = spelling::fault(&raw.name) {
        violations.add(Rule::Name, raw.offset, path, fault);
    }
    let Some((spelled, _)) = spelling::path(&raw.name) else { return Ok(None) };
    let member = Member {
        path: spelled.to_vec(),
        is_directory,
        executable: raw.header.executable,
        mtime: raw.mtime,
        size: if is_directory { 0 } else { raw.size },
        data: raw.data,
    };
    if let Some(own) = own {
        own.member(raw, &member, violations);
    }
    Ok(Some(member))
}

/// Checks what stands behind the last member, which ends at `end`: a whole zero block at least;
/// zeros up to `wanted` in an image of freestone's.
fn tail<R: ReadAt + ?Sized>(
    image: &R,
    end: u64,
    wanted: u64,
    is_own: bool,
    violations: &mut Violations,
) -> Result<()> {
    let block_end = end
        .checked_next_multiple_of(BLOCK_BYTES)
        .and_then(|block| block.checked_add(BLOCK_BYTES))
        .filter(|block_end| *block_end <= image.length());
    match block_end {
        None => {
            let what = "the image ends before a whole zero block does";
            violations.add(Rule::Tail, end, None, what);
        }
        Some(block_end) => {
            if let Some(offset) = first_nonzero(image, end, block_end)? {
                let what = "something stands in the block behind the last member";
                violations.add(Rule::Tail, offset, None, what);
            }
        }
    }
    if is_own && let Some(offset) = first_nonzero(image, end, wanted)? {
        violations.add(Rule::Padding, offset, None, "something stands behind the last member");
    }
    Ok(())
}

/// Where the first byte that is not zero stands, from `start` to before `end`.
fn first_nonzero<R: ReadAt + ?Sized>(image: &R, start: u64, end: u64) -> Result<Option<u64>> {
    const PIECE: usize = 64 << 10;
    let mut piece = Vec::new();
    let mut at = start;
    while at < end {
        piece.resize(usize::try_from(end - at).unwrap_or(PIECE).min(PIECE), 0);
        image.read_at(at, &mut piece)?;
        if let Some(index) = piece.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + index as u64));
        }
        at += piece.len() as u64;
    }
    Ok(None)
}
