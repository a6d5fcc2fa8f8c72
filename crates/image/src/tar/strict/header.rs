//! Decoding a header of 512 bytes, and the records of a pax payload.

use super::rule::TarRule;
use freestone_core::pax::PaxRecord;

/// The length of a header.
pub(super) const BLOCK: usize = 512;

/// A header whose checksum is right and whose numbers are octal.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) block: [u8; BLOCK],
    pub(super) kind: u8,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) executable: bool,
}

/// Returns the bytes of a text field before its first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// Reads an octal number with zeros or spaces before it and NULs or spaces after it. An empty one
/// is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.iter().any(|byte| *byte != 0 && *byte != b' ') {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit - b'0';
        (digit < 8).then_some(())?;
        number.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

/// The number fields: name, offset, length. The last two count only if the magic is that of ustar.
const NUMBERS: [(&str, usize, usize); 7] = [
    ("mode", 100, 8),
    ("owner", 108, 8),
    ("group", 116, 8),
    ("size", 124, 12),
    ("time", 136, 12),
    ("major number", 329, 8),
    ("minor number", 337, 8),
];

impl Header {
    /// Decodes a header. The error is the rule that it breaks, and how.
    pub(super) fn decode(block: [u8; BLOCK]) -> Result<Self, (TarRule, String)> {
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        match octal(&block[148..156]) {
            Some(stored) if stored == sum => {}
            Some(stored) => {
                return Err((
                    TarRule::Checksum,
                    format!("the checksum is {stored:o}, not {sum:o}"),
                ));
            }
            None => return Err((TarRule::Checksum, "the checksum is not octal".into())),
        }
        let is_ustar = block[257..].starts_with(b"ustar");
        let mut numbers = [0; NUMBERS.len()];
        let known = if is_ustar { NUMBERS.len() } else { NUMBERS.len() - 2 };
        for (number, (name, offset, length)) in numbers.iter_mut().zip(NUMBERS).take(known) {
            let value = octal(&block[offset..offset + length]);
            *number = value.ok_or_else(|| (TarRule::Octal, format!("the {name} is not octal")))?;
        }
        // Twelve octal digits are 36 bits.
        let mtime = i64::try_from(numbers[4]).unwrap_or(0);
        let executable = numbers[0] & 0o100 != 0;
        Ok(Self { kind: block[156], size: numbers[3], mtime, executable, block })
    }

    /// Returns prefix and name, joined as readers join them.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix =
            if self.block[257..].starts_with(b"ustar") { text(&self.block[345..500]) } else { b"" };
        match (prefix, name) {
            (b"", name) => name.to_vec(),
            (prefix, b"") => prefix.to_vec(),
            (prefix, name) => [prefix, b"/", name].concat(),
        }
    }
}

/// The values of a member's pax payload.
#[derive(Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<i64>,
}

impl Pax {
    /// Decodes a member's records, of which the first of each key counts. The error says which
    /// value is malformed.
    pub(super) fn decode(records: &[PaxRecord<'_>]) -> Result<Self, &'static str> {
        let first = |key: &[u8]| records.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        let number = |value: &[u8]| {
            let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(value).ok().filter(|_| is_number)?.parse::<u64>().ok()
        };
        let size = match first(b"size") {
            Some(value) => Some(number(value).ok_or("the pax size is not a number")?),
            None => None,
        };
        let mtime = match first(b"mtime") {
            Some(value) => {
                let whole = value.split(|byte| *byte == b'.').next().unwrap_or(value);
                let seconds = number(whole.strip_prefix(b"-").unwrap_or(whole));
                let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
                let seconds = seconds.ok_or("the pax mtime is not a number")?;
                Some(if whole.starts_with(b"-") { -seconds } else { seconds })
            }
            None => None,
        };
        Ok(Self { path: first(b"path").map(<[u8]>::to_vec), size, mtime })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::pax::records;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_octal_and_nothing_else() {
        for (field, number) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"\0\0\0\0", Some(0)),
            (b"0000648\0", None),
            (b"\x80\0\0\0\0\0\x01\0", None),
            (b"12 34", None),
            (b"-1", None),
            (b"0x10", None),
        ] {
            assert_eq!(octal(field), number, "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in "[0-9 =ab\n]{0,40}") {
            if let Some(records) = records(payload.as_bytes()) {
                let _ = Pax::decode(&records);
            }
        }
    }
}
