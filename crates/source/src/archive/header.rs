//! The members of an archive, one after the other.

use super::input::{Input, Shared};
use crate::report::Reason;
use freestone_core::limits::PATH_BYTES_MAX;
use freestone_core::{Error, ErrorKind, Result, path};
use std::sync::{Arc, Mutex, PoisonError};
use tar::{EntryType, Header, PaxExtensions};

const BLOCK: usize = 512;
/// The longest pax header or long name that is read.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;

/// A member.
pub(super) struct Member {
    /// As it stands there.
    pub(super) path: Vec<u8>,
    /// Bytes that follow.
    pub(super) size: u64,
    pub(super) what: What,
}

/// What a member is.
pub(super) enum What {
    Directory,
    File { executable: bool },
    Link(Vec<u8>),
    HardLink(Vec<u8>),
    Refused(Reason),
}

/// What headers before a member say of it.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Reads members.
pub(super) struct Members {
    input: Shared,
    /// Where the next header is.
    next: u64,
    ended: bool,
}

impl Members {
    pub(super) fn new(input: Input) -> Self {
        Self { input: Arc::new(Mutex::new(input)), next: 0, ended: false }
    }

    pub(super) fn input(&self) -> &Shared {
        &self.input
    }

    /// The next member; what was left of the one before is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let mut said = Said::default();
        while !self.ended {
            let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
            skip(&mut input, self.next)?;
            let mut block = [0; BLOCK];
            let length = input.read(&mut block)?;
            let is_first = self.next == 0;
            if length < BLOCK || block == [0; BLOCK] {
                if is_first && length == 0 {
                    return Err(Error::refused(format!(
                        "{} is empty, and no tar archive",
                        input.name
                    )));
                }
                if length > 0 && length < BLOCK {
                    return Err(if is_first { no_archive(&input) } else { input.ends_early() });
                }
                self.ended = true;
                // Who writes into a pipe should not fail for what follows the end.
                while input.read(&mut block)? == BLOCK {}
                break;
            }
            let header = Header::from_byte_slice(&block);
            if !is_sound(header) {
                let at = self.next;
                return Err(if is_first {
                    no_archive(&input)
                } else {
                    Error::corrupt(format!("{}: no header of a member at byte {at}", input.name))
                });
            }
            let kind = header.entry_type();
            let own_size =
                header.entry_size().map_err(|_| malformed(&input, "a size", self.next))?;
            let size = match kind {
                EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink => own_size,
                _ => said.size.unwrap_or(own_size),
            };
            let end = input.at.checked_add(size).and_then(|end| end.checked_next_multiple_of(512));
            self.next = end.ok_or_else(|| malformed(&input, "a size", self.next))?;
            match kind {
                EntryType::XHeader => extended(&mut input, size)?.pax(&mut said, &input)?,
                EntryType::GNULongName => said.path = Some(extended(&mut input, size)?.text()),
                EntryType::GNULongLink => said.link = Some(extended(&mut input, size)?.text()),
                // What it says holds for no path; names of volumes.
                EntryType::XGlobalHeader => {}
                _ if kind.as_byte() == b'V' => {}
                _ => return member(header, said, size, &input).map(Some),
            }
        }
        Ok(None)
    }
}

fn no_archive(input: &Input) -> Error {
    Error::refused(format!("{} is no tar archive", input.name))
        .hint("a directory is pushed by its path, and a git repository with --git")
}

fn malformed(input: &Input, what: &str, at: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("{}: the header at byte {at} has {what} that makes no sense", input.name),
    )
}

fn is_sound(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum = |byte: &u8| u32::from(*byte);
    let without = bytes[..148].iter().chain(&bytes[156..]).map(sum).sum::<u32>() + 8 * 32;
    header.cksum().is_ok_and(|said| said == without)
}

fn skip(input: &mut Input, to: u64) -> Result<()> {
    let mut buffer = [0; 16 << 10];
    while input.at < to {
        let length = usize::try_from(to - input.at).unwrap_or(usize::MAX).min(buffer.len());
        if input.read(&mut buffer[..length])? < length {
            return Err(input.ends_early());
        }
    }
    Ok(())
}

/// The bytes of an extended header.
struct Extended(Vec<u8>);

fn extended(input: &mut Input, size: u64) -> Result<Extended> {
    if size > EXTENDED_BYTES_MAX {
        return Err(Error::refused(format!(
            "{}: a header of {size} bytes, and {EXTENDED_BYTES_MAX} are enough",
            input.name
        )));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    if input.read(&mut bytes)? < bytes.len() {
        return Err(input.ends_early());
    }
    Ok(Extended(bytes))
}

impl Extended {
    /// A long name: it ends before the first NUL.
    fn text(self) -> Vec<u8> {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        self.0[..end].to_vec()
    }

    fn pax(self, said: &mut Said, input: &Input) -> Result<()> {
        for field in PaxExtensions::new(&self.0) {
            let field = field.map_err(|_| malformed(input, "a pax field", input.at))?;
            let value = field.value_bytes();
            match field.key_bytes() {
                b"path" => said.path = Some(value.to_vec()),
                b"linkpath" => said.link = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    let size = text.and_then(|text| text.parse().ok());
                    said.size = Some(size.ok_or_else(|| malformed(input, "a size", input.at))?);
                }
                b"GNU.sparse.name" => {
                    said.path = Some(value.to_vec());
                    said.sparse = true;
                }
                key if key.starts_with(b"GNU.sparse.") => said.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn member(header: &Header, said: Said, size: u64, input: &Input) -> Result<Member> {
    let kind = header.entry_type();
    let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link =
        || said.link.clone().or_else(|| header.link_name_bytes().map(|text| text.into_owned()));
    // Before there were types, a slash at the end told a directory.
    let is_old_directory = kind.as_byte() == 0 && path.ends_with(b"/");
    let what = match kind {
        _ if said.sparse => What::Refused(Reason::Sparse),
        EntryType::Directory => What::Directory,
        EntryType::Regular | EntryType::Continuous if is_old_directory => What::Directory,
        EntryType::Regular | EntryType::Continuous => {
            let mode = header.mode().map_err(|_| malformed(input, "a mode", input.at))?;
            What::File { executable: mode & 0o100 != 0 }
        }
        EntryType::Link => What::HardLink(link().unwrap_or_default()),
        EntryType::Symlink => What::Link(link().unwrap_or_default()),
        EntryType::Char | EntryType::Block => What::Refused(Reason::Device),
        EntryType::Fifo => What::Refused(Reason::Pipe),
        EntryType::GNUSparse => What::Refused(Reason::Sparse),
        _ if kind.as_byte() == b'M' => What::Refused(Reason::Continued),
        // GNU's directory with the names of what it held.
        _ if kind.as_byte() == b'D' => What::Directory,
        _ => What::Refused(Reason::Unknown),
    };
    let has_none = matches!(what, What::HardLink(_) | What::Link(_))
        || (matches!(what, What::Directory) && kind.as_byte() != b'D')
        || matches!(what, What::Refused(Reason::Device | Reason::Pipe));
    if has_none && size > 0 {
        let shown = path::display(&path);
        return Err(Error::refused(format!(
            "{}: {shown} is no file, yet {size} bytes are said to follow it",
            input.name
        ))
        .hint("readers of tar do not agree on where such an archive goes on; write it anew"));
    }
    Ok(Member { path, size, what })
}

/// A path without `.` parts and needless slashes; empty for the archive's top.
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
