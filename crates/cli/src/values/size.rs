//! Sizes and counts as people write and read them. Units are powers of 1024.

use freestone_core::{Error, ErrorKind, Result};

const UNITS: [(&str, u32); 4] = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];

/// The text about sizes in the help.
pub const TEXT: &str = "\
Sizes are in bytes, or end in K, M, G or T (or KiB, MiB, …): powers of 1024, so 1M is 1048576.";

/// Parses a size such as `4096`, `1M` or `1MiB`.
///
/// # Errors
/// [`ErrorKind::Usage`] if `text` is anything else, or does not fit in 64 bits.
pub fn parse(text: &str) -> Result<u64> {
    let wrong = || {
        Error::new(ErrorKind::Usage, format!("{text:?} is not a size"))
            .hint("give a number of bytes, or a number with K, M, G or T, such as 4096, 1M or 1MiB")
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = unit.strip_suffix("iB").filter(|unit| !unit.is_empty()).unwrap_or(unit);
    if unit.is_empty() {
        return Ok(number);
    }
    let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, shift) = known.ok_or_else(wrong)?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Parses a size as [`parse`] does, for clap.
///
/// # Errors
/// The text is not valid; the error is a message for people.
pub fn argument(text: &str) -> Result<u64, String> {
    parse(text).map_err(|error| {
        let hint = error.hint_text().map(|hint| format!("; {hint}"));
        format!("{error}{}", hint.unwrap_or_default())
    })
}

/// Renders a size for people: `17 B`, `1.5 KiB`, `23 MiB`.
pub fn show(bytes: u64) -> String {
    let mut shown = (bytes, "B");
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    for (name, shift) in units {
        if bytes >> shift == 0 {
            break;
        }
        // Tenths are shown below 10 units; everything is rounded.
        let unit = 1u128 << shift;
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        if tenths < 100 {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        let whole = (u128::from(bytes) + unit / 2) / unit;
        shown = (u64::try_from(whole).unwrap_or(u64::MAX), name);
    }
    format!("{} {}", shown.0, shown.1)
}

/// Renders a number of things for people: `1 file`, `12,345 files`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    format!("{shown} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1024),
            ("1k", 1024),
            ("1M", 1 << 20),
            ("3MiB", 3 << 20),
            ("10G", 10 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for wrong in ["", "M", "1MB", "-1", "1.5M", "1 M", "1X", "1iB", "99999999999T", "0x10"] {
            assert_eq!(parse(wrong).unwrap_err().kind(), ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10_235, "10 KiB"),
            (24 << 20, "24 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1_234_567, "file", "files"), "1,234,567 files");
    }
}
