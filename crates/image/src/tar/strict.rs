//! A strict model of the programs that read tar images: the rules that make all of them read an
//! image alike.
//!
//! The rules were found by giving images to MirageOS's reader (ocaml-tar 3.3.0), GNU tar, bsdtar,
//! busybox and Python's `tarfile`, and by reading their sources. Each is a [`TarRule`]. All of
//! these programs read an image that breaks no rule alike. An image that says that freestone wrote
//! it must also keep the rules of freestone's layout ([`TarRule::is_own`]), which allow one way to
//! write each manifest.
//!
//! The model reads a block at a time. It shares with the writer only the head and the rule which
//! headers an entry needs ([`freestone_core::tar1`]).

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
use freestone_core::limits::{BLOCK_BYTES, USTAR_SIZE_MAX};
use members::{Members, NextItem, RawMember};
use own::OwnLayout;
use seen::Seen;

/// Checks a tar image against the rules, and calls `each` for its files and directories in their
/// order. An archive of another program is checked against the readers' rules only.
///
/// # Errors
/// The image cannot be read, or `each` fails. A broken rule is not an error.
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
    let (mut has_global, mut has_member, mut beyond_octal) = (false, false, 0u64);
    loop {
        let violations = &mut report.violations;
        match members.next(violations)? {
            NextItem::Global(0) => has_global = true,
            NextItem::Global(offset) => {
                has_global = true;
                if own.is_some() {
                    violations.add(TarRule::Head, offset, None, "a second g header");
                }
            }
            NextItem::Member(raw) => {
                has_member = true;
                if let Some(member) = member(image, &raw, &mut own, violations)? {
                    seen.add(image, raw.offset, (&member.path, member.is_directory), violations)?;
                    if member.is_directory {
                        report.directories += 1;
                    } else {
                        report.files += 1;
                        beyond_octal += u64::from(member.size > USTAR_SIZE_MAX);
                        report.bytes = report.bytes.saturating_add(member.size);
                    }
                    each(&member)?;
                }
            }
            NextItem::End(at) => {
                end = Some(at);
                if has_global && !has_member {
                    violations.add(TarRule::Empty, at, None, "there is only a g header");
                }
                if let Some(own) = &own {
                    own.end(violations);
                }
                break;
            }
            NextItem::Broken => break,
        }
    }
    if beyond_octal > 0 {
        // MirageOS takes no other spelling of such a size than in pax.
        let what = format!(
            "{beyond_octal} of the files have 8 GiB or more: busybox and GRUB read neither them nor what \
             comes after them"
        );
        report.notes.push(what);
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

/// Checks one member. Returns what readers show of it; `None` if they show nothing.
fn member<R: ReadAt + ?Sized>(
    image: &R,
    raw: &RawMember,
    own: &mut Option<OwnLayout>,
    violations: &mut Violations,
) -> Result<Option<Member>> {
    let is_directory = raw.name.ends_with(b"/");
    let path = Some(&raw.name[..]);
    if is_directory != (raw.header.kind == b'5') && matches!(raw.header.kind, b'0' | b'5' | 0) {
        let what = "its kind and the end of its name contradict each other";
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
                    "the last block is not padded with zeros",
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

/// Checks what follows the last member, which ends at `end`: at least a whole zero block, and in an
/// image that freestone wrote zeros up to `wanted`.
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
            let what = "the image ends before the end of a whole zero block";
            violations.add(TarRule::Tail, end, None, what);
        }
        Some(block_end) => {
            if let Some(offset) = first_nonzero(image, end..block_end)? {
                let what = "the block after the last member is not zero";
                violations.add(TarRule::Tail, offset, None, what);
            }
        }
    }
    if is_own && let Some(offset) = first_nonzero(image, end..wanted)? {
        violations.add(
            TarRule::Padding,
            offset,
            None,
            "the bytes after the last member are not zero",
        );
    }
    Ok(())
}
