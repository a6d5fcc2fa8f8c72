//! The parts of a member besides its header and its bytes: pax headers, long names, sparse maps.

use super::input::{BLOCK, DISAGREEMENT, Input};
use super::member::{MemberFields, malformed};
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result, path, pax};
use tar::Header;

/// The longest pax header or long name, in bytes.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
/// The most blocks of GNU's map of a sparse file after its header. They hold 1.3 million extents.
pub(super) const SPARSE_BLOCKS_MAX: usize = 1 << 16;

/// Skips the rest of a sparse file's map: blocks after the header, which its size does not count.
pub(super) fn skip_sparse_map(input: &mut Input, header: &Header) -> Result<()> {
    const FLAG_IN_HEADER: usize = 482;
    const FLAG_IN_BLOCK: usize = 504;
    let mut continues = header.as_bytes()[FLAG_IN_HEADER] != 0;
    // In other formats the flag is a byte of the path, but some readers use it as a flag even
    // there.
    if continues && header.as_gnu().is_none() {
        let shown = path::display(&header.path_bytes());
        return Err(Error::refused(format!(
            "{}: {shown} is a sparse file in a tar format without sparse files",
            input.name
        ))
        .hint(DISAGREEMENT));
    }
    for _ in 0..SPARSE_BLOCKS_MAX {
        if !continues {
            return Ok(());
        }
        let mut block = [0; BLOCK];
        if input.read(&mut block)? < BLOCK {
            return Err(input.ends_early());
        }
        continues = block[FLAG_IN_BLOCK] != 0;
    }
    if !continues {
        return Ok(());
    }
    let shown = path::display(&header.path_bytes());
    Err(Error::refused(format!(
        "{}: the sparse file {shown} has a map of more than {SPARSE_BLOCKS_MAX} blocks",
        input.name
    ))
    .hint("write the archive again without --sparse"))
}

/// The bytes of a pax header or a long name.
pub(super) struct Extended(Vec<u8>);

pub(super) fn extended(input: &mut Input, size: u64) -> Result<Extended> {
    if size > EXTENDED_BYTES_MAX {
        return Err(Error::refused(format!(
            "{}: a header of {size} bytes; the limit is {EXTENDED_BYTES_MAX}",
            input.name
        )));
    }
    let mut bytes = vec![0; to_usize(size)];
    if input.read(&mut bytes)? < bytes.len() {
        return Err(input.ends_early());
    }
    Ok(Extended(bytes))
}

impl Extended {
    /// Returns a long name, which ends before the first NUL.
    pub(super) fn text(self) -> Vec<u8> {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        self.0[..end].to_vec()
    }

    pub(super) fn pax(self, said: &mut MemberFields, input: &Input) -> Result<()> {
        let records = pax::records(&self.0);
        for (key, value) in records.ok_or_else(|| malformed(input, "a pax field", input.at))? {
            match key {
                // A field without a value counts as absent.
                b"path" | b"linkpath" | b"size" if value.is_empty() => {}
                b"path" => said.path = Some(value.to_vec()),
                b"linkpath" => said.link = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    let size = text.and_then(|text| text.parse().ok());
                    said.size = Some(size.ok_or_else(|| malformed(input, "a size", input.at))?);
                }
                b"GNU.sparse.name" => {
                    if !value.is_empty() {
                        said.path = Some(value.to_vec());
                    }
                    said.sparse = true;
                }
                key if key.starts_with(b"GNU.sparse.") => said.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}
