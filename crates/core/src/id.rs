//! Names made by hashing: 32-byte BLAKE3 ids and 20-byte SHA-1 names.

use crate::{Error, ErrorKind, Result};
use std::fmt;

/// A BLAKE3 hash that names and proves a chunk, content, node, revision or pack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 32]);

/// The plain SHA-1 of a content: what `sha1sum` prints. It is a name, not a proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha1(pub [u8; 20]);

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str, what: &str) -> Result<[u8; N]> {
    let wrong = || {
        let digits = 2 * N;
        Error::new(ErrorKind::Usage, format!("{text:?} is not a {what} ({digits} hex digits)"))
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (hex_digit(pair[0]), hex_digit(pair[1]));
        *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl Id {
    /// Parses 64 hex digits, of either case.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if `text` is anything else.
    pub fn parse(text: &str) -> Result<Self> {
        parse_hex(text, "BLAKE3 id").map(Self)
    }

    /// Returns the first 8 bytes as a big-endian number: evenly distributed, and in the order of
    /// the ids.
    pub fn head(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }
}

impl Sha1 {
    /// Parses 40 hex digits, of either case.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if `text` is anything else.
    pub fn parse(text: &str) -> Result<Self> {
        parse_hex(text, "SHA-1").map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_nonsense_is_refused() {
        let id = Id(std::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        assert_eq!(Id::parse(&id.to_string()).unwrap(), id);
        assert_eq!(Id::parse(&id.to_string().to_uppercase()).unwrap(), id);
        for bad in ["", "0", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }
}
