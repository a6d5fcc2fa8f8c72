//! Follows symbolic links, by one set of rules for all sources: to a file inside the source, or
//! nowhere that can be pushed.
//!
//! A link is followed part by part, so that links on the way are followed, too. A link that leaves
//! the source and comes back by `..` leads out, because elsewhere the source has another name. A
//! text that begins with `/` leads out of a commit or an archive; in a directory it may lead back
//! in.

use crate::report::Reason;
use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::{Result, path};

/// The most links that are followed from one link. The kernel has the same limit.
pub(crate) const LINKS_MAX: usize = 40;

/// The kind of a path of the source, without following a link there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, with its text.
    Link(Vec<u8>),
    /// Something that cannot be pushed, such as a device.
    Special,
    /// Something that must not be pushed.
    LeftOut,
}

/// Follows `text`, the text of the link at `link`, in a source where an absolute text leads out.
/// `look` returns the kind of a path that has no links on the way. Returns the path of the file
/// that the link leads to, or the reason why the link cannot be pushed.
///
/// # Errors
/// `look` failed; its error is returned.
pub fn follow(
    link: &[u8],
    text: &[u8],
    look: &mut dyn FnMut(&[u8]) -> Result<Found>,
) -> Result<Result<Vec<u8>, Reason>> {
    if text.len() > LINK_BYTES_MAX {
        return Ok(Err(Reason::LinkLong));
    }
    follow_inside(link, text, &|_| None, look)
}

/// Follows a link as [`follow`] does, whatever the length of its text, in a source where an
/// absolute text may lead inside: `inside` returns the part of it that is below the source's top,
/// or `None` if it leads out.
///
/// # Errors
/// `look` failed; its error is returned.
pub(crate) fn follow_inside(
    link: &[u8],
    text: &[u8],
    inside: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    look: &mut dyn FnMut(&[u8]) -> Result<Found>,
) -> Result<Result<Vec<u8>, Reason>> {
    let mut here = path::parent(link).unwrap_or_default().to_vec();
    let mut parts = Vec::new();
    let mut links = 1;
    if !push_parts(text, inside, &mut here, &mut parts) {
        return Ok(Err(Reason::LinkOutside));
    }
    while let Some(part) = parts.pop() {
        match &part[..] {
            b"" | b"." => continue,
            b".." if here.is_empty() => return Ok(Err(Reason::LinkOutside)),
            b".." => {
                here.truncate(path::parent(&here).map_or(0, <[u8]>::len));
                continue;
            }
            _ => {}
        }
        let parent_length = here.len();
        if !here.is_empty() {
            here.push(b'/');
        }
        here.extend_from_slice(&part);
        if here.len() > PATH_BYTES_MAX || here.contains(&0) {
            return Ok(Err(Reason::LinkDangling));
        }
        match look(&here)? {
            Found::LeftOut => return Ok(Err(Reason::LinkToLeftOut)),
            Found::Nothing => return Ok(Err(Reason::LinkDangling)),
            Found::Directory => {}
            Found::Link(_) if links == LINKS_MAX => return Ok(Err(Reason::LinkCyclic)),
            Found::Link(text) => {
                links += 1;
                here.truncate(parent_length);
                if text.len() > LINK_BYTES_MAX || !push_parts(&text, inside, &mut here, &mut parts)
                {
                    return Ok(Err(Reason::LinkOutside));
                }
            }
            // A file with something after it, even if it is only a slash.
            _ if !parts.is_empty() => return Ok(Err(Reason::LinkDangling)),
            Found::File => return Ok(Ok(here)),
            Found::Special => return Ok(Err(Reason::LinkToSpecial)),
        }
    }
    Ok(Err(if text.is_empty() { Reason::LinkDangling } else { Reason::LinkToDirectory }))
}

/// Appends the parts of `text` to `parts`, the first one last. If `text` is absolute, moves `here`
/// to the top. Returns false if it leads out.
fn push_parts(
    text: &[u8],
    inside: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    here: &mut Vec<u8>,
    parts: &mut Vec<Vec<u8>>,
) -> bool {
    let below = match text.starts_with(b"/") {
        false => text.to_vec(),
        true => match inside(text) {
            Some(below) => {
                here.clear();
                below
            }
            None => return false,
        },
    };
    parts.extend(below.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_the_rules_of_directories_say() {
        let mut look = |path: &[u8]| {
            Ok(match path {
                b"f" | b"a/g" | b"a/b/h" => Found::File,
                b"a" | b"a/b" => Found::Directory,
                b"to_b" => Found::Link(b"a/b".to_vec()),
                b"a/to_f" => Found::Link(b"../f".to_vec()),
                b"round" => Found::Link(b"round".to_vec()),
                b"absolute" => Found::Link(b"/f".to_vec()),
                b"sub" => Found::Special,
                _ => Found::Nothing,
            })
        };
        for (link, text, expected) in [
            ("l", "f", Ok("f")),
            ("l", "./a//b/./h", Ok("a/b/h")),
            ("a/b/l", "../g", Ok("a/g")),
            ("a/b/l", "../../to_b/../g", Ok("a/g")),
            ("l", "a/to_f", Ok("f")),
            ("l", "/f", Err(Reason::LinkOutside)),
            ("l", "absolute", Err(Reason::LinkOutside)),
            ("l", "../f", Err(Reason::LinkOutside)),
            ("a/l", "../../f", Err(Reason::LinkOutside)),
            ("l", "a", Err(Reason::LinkToDirectory)),
            ("a/l", "..", Err(Reason::LinkToDirectory)),
            ("l", "to_b", Err(Reason::LinkToDirectory)),
            ("l", "", Err(Reason::LinkDangling)),
            ("l", "missing/../f", Err(Reason::LinkDangling)),
            ("l", "f/", Err(Reason::LinkDangling)),
            ("l", "f\0", Err(Reason::LinkDangling)),
            ("round", "round", Err(Reason::LinkCyclic)),
            ("l", "sub", Err(Reason::LinkToSpecial)),
        ] {
            let found = follow(link.as_bytes(), text.as_bytes(), &mut look).unwrap();
            let expected = expected.map(|path| path.as_bytes().to_vec());
            assert_eq!(found, expected, "{link} -> {text}");
        }
        let long = vec![b'.'; LINK_BYTES_MAX + 1];
        assert_eq!(follow(b"l", &long, &mut look).unwrap(), Err(Reason::LinkLong));
    }
}
