//! Decoding headers and pax payloads as ocaml-tar does.

/// The length of a header.
pub(super) const BLOCK: usize = 512;

/// The fields of a header, with those that pax records override.
pub(super) struct Fields {
    pub(super) name: Vec<u8>,
    pub(super) kind: u8,
    pub(super) size: u64,
    pub(super) mtime: i64,
}

/// The values of pax records that matter here.
#[derive(Clone, Default)]
pub(super) struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<i64>,
}

/// Returns the bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

/// Reads a number as `Int64.of_string ("0o0" ^ trim field)` does, with NULs taken for spaces.
fn octal(field: &[u8]) -> Result<u64, &'static str> {
    let is_space = |byte: &u8| matches!(byte, b' ' | 0 | b'\t' | b'\n' | b'\r' | 12);
    let start = field.iter().position(|byte| !is_space(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    field[start..end].iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'7' => {
            number.checked_mul(8).map(|n| n + u64::from(byte - b'0')).ok_or("a number overflows")
        }
        _ => Err("a number is not octal"),
    })
}

impl Fields {
    /// Decodes a header as `Header.unmarshal` does.
    pub(super) fn decode(block: &[u8; BLOCK], pax: &Pax) -> Result<Self, &'static str> {
        let sum = block[..148].iter().chain(b"        ").chain(&block[156..]);
        let sum: u64 = sum.map(|byte| u64::from(*byte)).sum();
        if octal(&block[148..156])? != sum {
            return Err("a checksum is wrong");
        }
        let is_ustar = block[257..].starts_with(b"ustar");
        let prefix = if is_ustar { text(&block[345..500]) } else { b"" };
        let name = match (&pax.path, prefix, text(&block[..100])) {
            (Some(path), _, _) => path.clone(),
            (None, prefix, b"") => prefix.to_vec(),
            (None, b"", name) => name.to_vec(),
            // `Filename.concat`
            (None, prefix, name) if prefix.ends_with(b"/") => [prefix, name].concat(),
            (None, prefix, name) => [prefix, b"/", name].concat(),
        };
        let mut others = vec![100..108, 108..116, 116..124];
        if is_ustar {
            others.extend([329..337, 337..345]);
        }
        for field in others {
            octal(&block[field])?;
        }
        let size = match pax.size {
            Some(size) => size,
            None => octal(&block[124..136])?,
        };
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => i64::try_from(octal(&block[136..148])?).map_err(|_| "a time overflows")?,
        };
        Ok(Self { name, kind: block[156], size, mtime })
    }
}

impl Pax {
    /// Decodes a payload as `Header.Extended.unmarshal` does: keys that are not in it come from
    /// `global`.
    pub(super) fn decode(payload: &[u8], global: &Self) -> Result<Self, &'static str> {
        const MALFORMED: &str = "a pax record is malformed";
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
        let mut at = 0;
        while at < payload.len() {
            let find = |from: usize, byte: u8| {
                let found = payload[from..].iter().position(|b| *b == byte);
                found.map(|index| from + index).ok_or(MALFORMED)
            };
            let space = find(at, b' ')?;
            let length = decimal(&payload[at..space]).map_err(|_| MALFORMED)?;
            let length = usize::try_from(length).map_err(|_| MALFORMED)?;
            let equals = find(space, b'=')?;
            let end = at.checked_add(length).and_then(|end| end.checked_sub(1)).ok_or(MALFORMED)?;
            let value = payload.get(equals + 1..end).ok_or(MALFORMED)?;
            pairs.push((&payload[space + 1..equals], value));
            at = end + 1;
        }
        let first = |key: &[u8]| pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        let mut pax = global.clone();
        if let Some(value) = first(b"path") {
            pax.path = Some(text(value).to_vec());
        }
        if let Some(value) = first(b"size") {
            pax.size = Some(decimal(value)?);
        }
        if let Some(value) = first(b"mtime") {
            let seconds = decimal(value.split(|byte| *byte == b'.').next().unwrap_or(value))?;
            pax.mtime = Some(i64::try_from(seconds).map_err(|_| "a time overflows")?);
        }
        Ok(pax)
    }
}

fn decimal(text: &[u8]) -> Result<u64, &'static str> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| is_number);
    number.and_then(|text| text.parse().ok()).ok_or("a pax number is malformed")
}
