//! One member of an archive, as its header and the headers before it describe it.

use super::input::{DISAGREEMENT, Input};
use crate::report::Reason;
use freestone_core::limits::PATH_BYTES_MAX;
use freestone_core::{Error, ErrorKind, Result, path};
use tar::{EntryType, Header};

/// A member of an archive: a path, and what the archive has for it.
pub(super) struct Member {
    /// The path as the archive has it.
    pub(super) path: Vec<u8>,
    /// The number of bytes that follow the header.
    pub(super) size: u64,
    pub(super) what: MemberKind,
}

/// The kind of a member.
pub(super) enum MemberKind {
    Directory,
    File { executable: bool },
    Link(Vec<u8>),
    HardLink(Vec<u8>),
    Refused(Reason),
}

/// Fields of a member that come from headers before its own.
#[derive(Default)]
pub(super) struct MemberFields {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: bool,
}

pub(super) fn malformed(input: &Input, what: &str, at: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("{}: the header at byte {at} has {what} that is not valid", input.name),
    )
}

pub(super) fn member(
    header: &Header,
    said: MemberFields,
    size: u64,
    input: &Input,
) -> Result<Member> {
    let kind = header.entry_type();
    let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link =
        || said.link.clone().or_else(|| header.link_name_bytes().map(|text| text.into_owned()));
    // Before headers had types, a slash at the end marked a directory. GNU tar still applies that
    // to all regular files.
    let is_old_directory = path.ends_with(b"/");
    let what = match kind {
        _ if said.sparse => MemberKind::Refused(Reason::Sparse),
        EntryType::Directory => MemberKind::Directory,
        EntryType::Regular | EntryType::Continuous if is_old_directory => MemberKind::Directory,
        EntryType::Regular | EntryType::Continuous => {
            let mode = header.mode().map_err(|_| malformed(input, "a mode", input.at))?;
            MemberKind::File { executable: mode & 0o100 != 0 }
        }
        EntryType::Link => MemberKind::HardLink(link().unwrap_or_default()),
        EntryType::Symlink => MemberKind::Link(link().unwrap_or_default()),
        EntryType::Char | EntryType::Block => MemberKind::Refused(Reason::Device),
        EntryType::Fifo => MemberKind::Refused(Reason::Pipe),
        EntryType::GNUSparse => MemberKind::Refused(Reason::Sparse),
        _ if kind.as_byte() == b'M' => MemberKind::Refused(Reason::Continued),
        // GNU's directory that lists the names in it.
        _ if kind.as_byte() == b'D' => MemberKind::Directory,
        _ => MemberKind::Refused(Reason::Unknown),
    };
    let has_none = matches!(what, MemberKind::HardLink(_) | MemberKind::Link(_))
        || (matches!(what, MemberKind::Directory) && kind.as_byte() != b'D')
        || matches!(what, MemberKind::Refused(Reason::Device | Reason::Pipe));
    if has_none && size > 0 {
        let shown = path::display(&path);
        return Err(Error::refused(format!(
            "{}: {shown} is not a file, but its header announces {size} bytes",
            input.name
        ))
        .hint(DISAGREEMENT));
    }
    Ok(Member { path, size, what })
}

/// Removes `.` parts and superfluous slashes from a path. Returns an empty path for the archive's
/// top.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, Reason> {
    if path.starts_with(b"/") {
        return Err(Reason::PathOutside);
    }
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut clean = Vec::with_capacity(path.len());
    parts.try_for_each(|part| {
        if part == b".." {
            return Err(Reason::PathOutside);
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
        Ok(())
    })?;
    match path::fault(&clean) {
        _ if clean.is_empty() => Ok(clean),
        None => Ok(clean),
        Some(_) if clean.len() > PATH_BYTES_MAX => Err(Reason::PathLong),
        Some(_) => Err(Reason::PathNul),
    }
}
