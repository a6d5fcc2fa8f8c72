//! Paths: bytes, relative, never normalised. In their order `/` comes before every other byte, so
//! that a directory comes right before its contents.

use crate::limits::PATH_BYTES_MAX;
use crate::shown;
use std::cmp::Ordering;

/// Compares two paths in manifest order: byte by byte, where `/` counts as byte 0.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(at) => key(&a[at]).cmp(&key(&b[at])),
        None => a.len().cmp(&b.len()),
    }
}

/// Returns the reason why a path cannot be in a manifest, or `None` if it can: it must be relative,
/// have at most 4095 bytes, no NUL, and no part that is empty, `.` or `..`.
pub fn fault(path: &[u8]) -> Option<&'static str> {
    if path.is_empty() {
        return Some("is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("is longer than 4095 bytes");
    }
    if path.contains(&0) {
        return Some("holds a NUL byte");
    }
    path.split(|byte| *byte == b'/').find_map(|part| match part {
        b"" => Some("has an empty part"),
        b"." | b".." => Some("has a part . or .."),
        _ => None,
    })
}

/// Returns the path of the directory that holds `path`; `None` at the top.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').map(|at| &path[..at])
}

/// Returns true if `path` is below the directory `top`. Every path except the empty one is below
/// the empty path.
pub fn is_below(path: &[u8], top: &[u8]) -> bool {
    if top.is_empty() {
        return !path.is_empty();
    }
    path.len() > top.len() && path.starts_with(top) && path[top.len()] == b'/'
}

/// Returns a path as text for people: UTF-8 as it is, except for the characters that are
/// [unsafe](shown::is_unsafe); these and all other bytes as `\xNN`, `\` doubled.
pub fn display(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for part in path.utf8_chunks() {
        for c in part.valid().chars() {
            if c == '\\' {
                text.push_str("\\\\");
            } else {
                shown::push(&mut text, c);
            }
        }
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_right_before_what_is_in_it() {
        let mut paths = [&b"a.txt"[..], b"a/b", b"a", b"a!", b"a/b/c", b"b", b"a/b!"];
        paths.sort_by(|a, b| compare(a, b));
        assert_eq!(paths, [&b"a"[..], b"a/b", b"a/b/c", b"a/b!", b"a!", b"a.txt", b"b"]);
    }

    #[test]
    fn faults_are_found() {
        for good in [&b"a"[..], b"a/b", b"...", b"\xff\n", b" "] {
            assert_eq!(fault(good), None);
        }
        for bad in [&b""[..], b"/a", b"a/", b"a//b", b".", b"a/../b", b"a\0b", &[b'x'; 4096]] {
            assert!(fault(bad).is_some(), "{}", display(bad));
        }
    }

    #[test]
    fn below_means_inside() {
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b""));
        assert!(!is_below(b"ab", b"a") && !is_below(b"a", b"a") && !is_below(b"", b""));
    }

    #[test]
    fn hostile_names_are_shown_escaped() {
        assert_eq!(display("é\\\n".as_bytes()), "é\\\\\\x0a");
        assert_eq!(display(b"\xffx\x1b[0m"), "\\xffx\\x1b[0m");
        assert_eq!(display("gpj.\u{202e}exe".as_bytes()), "gpj.\\xe2\\x80\\xaeexe");
    }
}
