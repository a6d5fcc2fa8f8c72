//! Hints: what is there, for those who cannot list. Never authority; see `docs/format.md`.
//!
//! Lines of text, the last of which says `end`, how many were before it, and the first hex digits
//! of their hash: what is cut off or damaged is not a hint. `index/latest` has a line
//! `<segment's file name> <length>` for each live segment, `refs/latest` one for each ref, its
//! folder, and `refs/<name>/latest` the number of the newest entry.

use freestone_core::digest;

/// The name of the hint in a folder.
pub const NAME: &str = "latest";
/// Hex digits of the check, which damage is known by.
const CHECK_DIGITS: usize = 16;
/// The longest hint that is read.
pub const BYTES_MAX: u64 = 16 << 20;

/// Returns the bytes of a hint with these lines.
pub fn encode(lines: &[String]) -> Vec<u8> {
    let mut text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    text.push_str(&format!("end {} {}\n", lines.len(), check(&text)));
    text.into_bytes()
}

/// Returns the check of the lines before the end.
fn check(text: &str) -> String {
    digest::plain(text.as_bytes()).to_string()[..CHECK_DIGITS].to_owned()
}

/// Returns the lines of a hint; `None` if it is cut off or none at all.
pub fn decode(bytes: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    let (body, end) = text.split_at(start);
    let (count, found) = end.strip_prefix("end ")?.split_once(' ')?;
    let lines: Vec<&str> = body.split_terminator('\n').collect();
    (count.parse() == Ok(lines.len()) && found == check(body)).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_whole_or_none() {
        for lines in [vec![], vec!["a 1"], vec!["a 1", "b 22"]] {
            let owned: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let bytes = encode(&owned);
            assert_eq!(decode(&bytes), Some(lines));
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), None, "{end}");
                let mut damaged = bytes.clone();
                damaged[end] ^= 1;
                assert_eq!(decode(&damaged), None, "{end}");
            }
        }
        assert_eq!(decode(b"end 1\n"), None);
        assert_eq!(decode(b"\xff\nend 1\n"), None);
    }
}
