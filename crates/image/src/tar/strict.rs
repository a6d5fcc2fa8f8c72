//! A strict model of the programs that read tar images: what none of them stumbles over.
//!
//! The rules were found by feeding images to MirageOS's reader (ocaml-tar 3.3.0), GNU tar,
//! bsdtar, busybox and Python's `tarfile`, and by reading their sources; each is a [`TarRule`]. An
//! image that breaks none is read alike by all of them. An image that says that freestone wrote
//! it must keep the rules of freestone's layout as well ([`TarRule::is_own`]), which leave one
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
pub use rule::TarRule;

use super::header::name_in;
use crate::format::{FormatOptions, read_head};
use crate::read::{ReadAt, first_nonzero};
use crate::report::{CheckReport, Container};
use crate::violation::Violations;
use freestone_core::Result;
use freestone_core::limits::BLOCK_BYTES;
use members::{Members, NextItem, RawMember};
use own::OwnLayout;
use seen::Seen;

/// Checks a tar image against the rules, and gives `each` its files and directories in their
/// order. Another program's archive is checked against the readers' rules alone.
///
/// # Errors
/// The image cannot be read, or what `each` returns. Broken rules are no errors.
pub fn check<R: ReadAt + ?Sized>(
    image: &R,
    container: Container,
    each: &mut dyn FnMut(&Member) -> Result<()>,
) -> Result<CheckReport> {
    let known = name_in(&read_head(image)?);
    let options = known.map(|(options, _)| options);
    let name = known.map(|(options, root)| options.image_name(&root));
    let mut report = CheckReport { name, ..CheckReport::default() };
    let mut own = options.map(OwnLayout::new);
    let mut seen = Seen::new();
    let mut members = Members::new(image);
    let mut end = None;
    loop {
        let violations = &mut report.violations;
        match members.next(violations)? {
            NextItem::Global(0) => {}
            NextItem::Global(offset) => {
                if own.is_some() {
                    violations.add(TarRule::Head, offset, None, "a second g header");
                }
            }
            NextItem::Member(raw) => {
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
            NextItem::End(at) => {
                end = Some(at);
                if let Some(own) = &own {
                    own.end(violations);
                }
                break;
            }
            NextItem::Broken => break,
        }
    }
    report.is_whole = end.is_some();
    let mut wanted = image.length();
    if let (Some(options), Some(end)) = (options, end) {
        wanted = match options.image_length(end) {
            Ok(length) => length,
            Err(error) => {
                report.violations.add(TarRule::Size, 0, None, error.to_string());
                wanted
            }
        };
        if image.length() < wanted || (image.length() > wanted && container == Container::File) {
            let what = format!("{} bytes instead of {wanted}", image.length());
            report.violations.add(TarRule::Size, 0, None, what);
        }
    }
    if let Some(end) = end {
        tail(image, end, wanted.min(image.length()), own.is_some(), &mut report.violations)?;
    }
    if !image.length().is_multiple_of(BLOCK_BYTES) {
        let what = format!("a length of {} bytes", image.length());
        report.violations.add(TarRule::Length, image.length(), None, what);
    }
    Ok(report)
}

/// Checks a member by itself; gives what readers show of it, `None` if that is nothing.
fn member<R: ReadAt + ?Sized>(
    image: &R,
    raw: &RawMember,
    own: &mut Option<OwnLayout>,
    violations: &mut Violations,
) -> Result<Option<Member>> {
    let is_directory = raw.name.ends_with(b"/");
    let path = Some(&raw.name[..]);
    if is_directory != (raw.header.kind == b'5') && matches!(raw.header.kind, b'0' | b'5' | 0) {
        let what = "its kind says otherwise than the end of its name";
        violations.add(TarRule::DirectorySlash, raw.offset, path, what);
    }
    if is_directory && raw.size != 0 {
        let what = format!("a directory of {} bytes", raw.size);
        violations.add(TarRule::DirectoryData, raw.offset, path, what);
    }
    if own.is_some() {
        let payload = raw.pax.iter().map(|(header, _, at)| (at + 512 + header.size, raw.offset));
        for (start, end) in payload.chain([(raw.data + raw.size, raw.end)]) {
            if let Some(offset) = first_nonzero(image, start..end)? {
                violations.add(
                    TarRule::Padding,
                    offset,
                    path,
                    "the last block is not padded with 0",
                );
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
        violations.add(TarRule::Name, raw.offset, path, fault);
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
            violations.add(TarRule::Tail, end, None, what);
        }
        Some(block_end) => {
            if let Some(offset) = first_nonzero(image, end..block_end)? {
                let what = "something stands in the block behind the last member";
                violations.add(TarRule::Tail, offset, None, what);
            }
        }
    }
    if is_own && let Some(offset) = first_nonzero(image, end..wanted)? {
        violations.add(TarRule::Padding, offset, None, "something stands behind the last member");
    }
    Ok(())
}
