//! Where a symbolic link leads in a source that is no directory of this machine: a commit, or an
//! archive. The rules are those of [`crate::directory`]; a text that begins with `/` leads out.

use crate::report::Reason;
use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::{Result, path};

/// How many links one may lead through; the kernel gives up at the same number.
const LINKS_MAX: usize = 40;

/// What stands at a path of the source.
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
    /// Something that cannot be pushed.
    Special,
}

/// Follows `text`, the text of the link at `link`; `look` tells what stands at a path without
/// links on the way. Gives the path of the file that it leads to, or why there is none.
///
/// # Errors
/// What `look` returns.
pub fn follow(
    link: &[u8],
    text: &[u8],
    look: &mut dyn FnMut(&[u8]) -> Result<Found>,
) -> Result<Result<Vec<u8>, Reason>> {
    if text.len() > LINK_BYTES_MAX {
        return Ok(Err(Reason::LinkLong));
    }
    let mut here = path::parent(link).unwrap_or_default().to_vec();
    let mut parts = Vec::new();
    let mut links = 1;
    if !push_parts(text, &mut parts) {
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
            Found::Nothing => return Ok(Err(Reason::LinkDangling)),
            Found::Directory => {}
            Found::Link(_) if links == LINKS_MAX => return Ok(Err(Reason::LinkCyclic)),
            Found::Link(text) => {
                links += 1;
                here.truncate(parent_length);
                if text.len() > LINK_BYTES_MAX || !push_parts(&text, &mut parts) {
                    return Ok(Err(Reason::LinkOutside));
                }
            }
            // Something behind a file, be it only a slash.
            _ if !parts.is_empty() => return Ok(Err(Reason::LinkDangling)),
            Found::File => return Ok(Ok(here)),
            Found::Special => return Ok(Err(Reason::LinkToSpecial)),
        }
    }
    Ok(Err(if text.is_empty() { Reason::LinkDangling } else { Reason::LinkToDirectory }))
}

/// Puts the parts of `text` on top of `parts`, the first one last; `false` if it is absolute.
fn push_parts(text: &[u8], parts: &mut Vec<Vec<u8>>) -> bool {
    parts.extend(text.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
    !text.starts_with(b"/")
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
