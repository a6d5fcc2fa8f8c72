//! Walking over an archive as its readers do: one header after the other, one block at a time.

use super::header::{BLOCK, Header, Pax};
use super::rule::TarRule;
use crate::read::ReadAt;
use crate::violation::Violations;
use freestone_core::Result;
use freestone_core::limits::PAX_PAYLOAD_BYTES_MAX;
use freestone_core::pax::records;
use freestone_core::wire::to_usize;
use std::collections::HashSet;

/// The longest payload that is read. The strict readers take shorter ones only; the model reads
/// longer ones to continue after them.
const PAYLOAD_READ_MAX: u64 = 64 << 10;

/// A member with everything that its headers say of it.
#[derive(Clone)]
pub(super) struct RawMember {
    /// The offset of its first header, which is that of its payload if it has one.
    pub(super) start: u64,
    /// The offset of its own header.
    pub(super) offset: u64,
    pub(super) header: Header,
    /// The `x` header before it, the payload, and the offset of that header.
    pub(super) pax: Option<(Header, Vec<u8>, u64)>,
    /// Whether an `L` or `K` header comes before it.
    pub(super) is_long: bool,
    /// The whole name as readers see it.
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) mtime: i64,
    /// The offset of its data, and the offset after the padded data.
    pub(super) data: u64,
    pub(super) end: u64,
}

/// The next thing in an archive.
pub(super) enum NextItem {
    /// A `g` header with its payload, at this offset.
    Global(u64),
    Member(Box<RawMember>),
    /// Two zero blocks, at this offset.
    End(u64),
    /// Something after which no reader can continue.
    Broken,
}

/// A walk over the members of an archive.
pub(super) struct Members<'a, R: ?Sized> {
    image: &'a R,
    at: u64,
}

/// The values that the headers before a member give it.
#[derive(Default)]
struct Pending {
    start: Option<u64>,
    pax: Option<(Header, Vec<u8>, u64)>,
    said: Pax,
    long_name: Option<Vec<u8>>,
    is_long: bool,
}

impl<'a, R: ReadAt + ?Sized> Members<'a, R> {
    pub(super) fn new(image: &'a R) -> Self {
        Self { image, at: 0 }
    }

    /// Reads the block at `offset`; `None` if it is not inside the image.
    fn block(&self, offset: u64) -> Result<Option<[u8; BLOCK]>> {
        if offset.checked_add(BLOCK as u64).is_none_or(|end| end > self.image.length()) {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.image.read_at(offset, &mut block)?;
        Ok(Some(block))
    }

    /// Returns the offset after `size` bytes at `offset`, padded; `None` if that is not inside the
    /// image.
    fn padded_end(&self, offset: u64, size: u64) -> Option<u64> {
        let end = size.checked_next_multiple_of(BLOCK as u64)?.checked_add(offset)?;
        (end <= self.image.length()).then_some(end)
    }

    /// Returns the next thing in the archive, and adds the rules that it breaks.
    pub(super) fn next(&mut self, violations: &mut Violations) -> Result<NextItem> {
        let mut pending = Pending::default();
        loop {
            let offset = self.at;
            let Some(block) = self.block(offset)? else {
                violations.add(
                    TarRule::End,
                    offset,
                    None,
                    "the image ends before its archive does",
                );
                return Ok(NextItem::Broken);
            };
            if block == [0; BLOCK] {
                if pending.start.is_some() {
                    let what = "a zero block follows the header of a payload";
                    violations.add(TarRule::PaxFollower, offset, None, what);
                }
                match self.block(offset + BLOCK as u64)? {
                    Some(next) if next == [0; BLOCK] => return Ok(NextItem::End(offset)),
                    Some(_) => {
                        violations.add(
                            TarRule::LoneZeroBlock,
                            offset,
                            None,
                            "one zero block, and other blocks after it",
                        );
                        self.at += BLOCK as u64;
                        continue;
                    }
                    None => {
                        let what = "one zero block where two should end the archive";
                        violations.add(TarRule::End, offset, None, what);
                        return Ok(NextItem::Broken);
                    }
                }
            }
            let header = match Header::decode(block) {
                Ok(header) => header,
                Err((rule, what)) => {
                    violations.add(rule, offset, None, what);
                    return Ok(NextItem::Broken);
                }
            };
            if matches!(header.kind, b'x' | b'g' | b'L' | b'K') {
                let is_global = header.kind == b'g';
                if !self.payload(header, &mut pending, violations)? {
                    return Ok(NextItem::Broken);
                }
                if is_global {
                    return Ok(NextItem::Global(offset));
                }
                continue;
            }
            return Ok(self.member(header, pending, violations));
        }
    }

    /// Reads the payload after `header`. Returns false if nothing can be read after it.
    fn payload(
        &mut self,
        header: Header,
        pending: &mut Pending,
        violations: &mut Violations,
    ) -> Result<bool> {
        let offset = self.at;
        let kind = char::from(header.kind);
        let Some(end) = self.padded_end(offset + BLOCK as u64, header.size) else {
            let what = format!("the payload of {} bytes ends beyond the image", header.size);
            violations.add(TarRule::Inside, offset, None, what);
            return Ok(false);
        };
        if !(1..=PAX_PAYLOAD_BYTES_MAX as u64).contains(&header.size) {
            let what = format!("the {kind} header has a payload of {} bytes", header.size);
            violations.add(TarRule::Payload, offset, None, what);
        }
        if pending.pax.is_some() {
            let what = format!("a header of kind {kind} follows an x header");
            violations.add(TarRule::PaxFollower, offset, None, what);
        }
        pending.start.get_or_insert(offset);
        self.at = end;
        let mut payload = Vec::new();
        if header.size <= PAYLOAD_READ_MAX {
            // It is at most 64 KiB, see above.
            payload.resize(to_usize(header.size), 0);
            self.image.read_at(offset + BLOCK as u64, &mut payload)?;
        }
        match header.kind {
            b'L' | b'K' => {
                if header.name() != b"././@LongLink" {
                    let what = format!("the {kind} header has another name");
                    violations.add(TarRule::LongName, offset, None, what);
                }
                pending.is_long = true;
                if header.kind == b'L' {
                    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
                    payload.truncate(end);
                    pending.long_name = Some(payload);
                }
            }
            _ => {
                pending.said = pax(offset, header.kind == b'g', &payload, violations);
                if header.kind == b'x' {
                    pending.pax = Some((header, payload, offset));
                }
            }
        }
        Ok(true)
    }

    /// Returns the member with this header, and adds the rules that it breaks.
    fn member(
        &mut self,
        header: Header,
        pending: Pending,
        violations: &mut Violations,
    ) -> NextItem {
        let offset = self.at;
        let name = pending.said.path.or(pending.long_name).unwrap_or_else(|| header.name());
        let size = pending.said.size.unwrap_or(header.size);
        let mtime = pending.said.mtime.unwrap_or(header.mtime);
        let data = offset + BLOCK as u64;
        let Some(end) = self.padded_end(data, size) else {
            let what = format!("its {size} bytes end beyond the image");
            violations.add(TarRule::Inside, offset, Some(&name), what);
            return NextItem::Broken;
        };
        if !matches!(header.kind, b'0' | b'5' | 0) {
            let what = format!("a member of kind {:?}", char::from(header.kind));
            violations.add(TarRule::MemberKind, offset, Some(&name), what);
        }
        self.at = end;
        NextItem::Member(Box::new(RawMember {
            start: pending.start.unwrap_or(offset),
            offset,
            header,
            pax: pending.pax,
            is_long: pending.is_long,
            name,
            size,
            mtime,
            data,
            end,
        }))
    }
}

/// Decodes the records of a payload, and adds the rules that they break.
fn pax(offset: u64, is_global: bool, payload: &[u8], violations: &mut Violations) -> Pax {
    let Some(records) = records(payload) else {
        violations.add(TarRule::PaxRecords, offset, None, "the payload is not made of pax records");
        return Pax::default();
    };
    let mut seen = HashSet::new();
    for (key, _) in &records {
        let key_text = String::from_utf8_lossy(key);
        if !seen.insert(key) {
            let what = format!("the key {key_text:?} is repeated");
            violations.add(TarRule::PaxRepeated, offset, None, what);
        }
        if is_global && *key != b"comment" {
            let what = format!("a g header sets {key_text:?}");
            violations.add(TarRule::GlobalComment, offset, None, what);
        }
    }
    if is_global {
        return Pax::default();
    }
    let value = |key: &[u8]| records.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
    let is_text = value(b"path").is_none_or(|path| std::str::from_utf8(path).is_ok());
    if !is_text && value(b"hdrcharset") != Some(b"BINARY") {
        let what = "the path is not UTF-8, and no hdrcharset=BINARY says so";
        violations.add(TarRule::PaxCharset, offset, None, what);
    }
    Pax::decode(&records).unwrap_or_else(|what| {
        violations.add(TarRule::PaxRecords, offset, None, what);
        Pax::default()
    })
}
