//! Where a symbolic link leads, by the rules of a push: to a file inside the directory, or nowhere
//! that can be pushed.
//!
//! A link is followed part by part. What has been followed is a path without links, and each part
//! is opened beneath the directory without following any, so the answer is right whatever changes
//! meanwhile, with or without `openat2`. An absolute link counts as inside where its text begins
//! with the directory's own path, as it was given or in its canonical form. A link that leaves the
//! directory and comes back by `..` leads out: it would elsewhere.

use super::stamp;
use super::tree::{LOOK, Tree};
use crate::report::Reason;
use freestone_core::limits::PATH_BYTES_MAX;
use freestone_core::{Error, Result, path};
use rustix::fs::{FileType, Stat, fstat, readlinkat};
use rustix::io::Errno;

/// How many links one may lead through; the kernel gives up at the same number.
const LINKS_MAX: usize = 40;

/// Where a link leads.
pub(super) enum LinkTarget {
    /// To a regular file inside; this is its path without links, and what it is.
    File(Vec<u8>, Stat),
    /// To something that cannot be pushed.
    Refused(Reason),
}

/// Follows `text`, the text of the link at `link`, of which all parents are directories.
///
/// # Errors
/// The file system fails, or forbids looking.
pub(super) fn follow(tree: &Tree, link: &[u8], text: &[u8]) -> Result<LinkTarget> {
    let mut here = path::parent(link).unwrap_or_default().to_vec();
    let mut parts = Vec::new();
    let mut links = 1;
    if !push_parts(tree, text, &mut here, &mut parts) {
        return Ok(LinkTarget::Refused(Reason::LinkOutside));
    }
    while let Some(part) = parts.pop() {
        match &part[..] {
            b"" | b"." => continue,
            b".." if here.is_empty() => return Ok(LinkTarget::Refused(Reason::LinkOutside)),
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
        let cannot = |errno: Errno| {
            let (link, here) = (path::display(link), path::display(&here));
            Error::io(format!("link {link}: {here} cannot be looked at"), errno.into())
        };
        if here.len() > PATH_BYTES_MAX {
            return Ok(LinkTarget::Refused(Reason::LinkDangling));
        }
        let file = match tree.open_at(&here, LOOK) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {
                return Ok(LinkTarget::Refused(Reason::LinkDangling));
            }
            Err(errno) => return Err(cannot(errno)),
        };
        let stat = fstat(&file).map_err(cannot)?;
        if tree.leaves_out(&here) {
            return Ok(LinkTarget::Refused(Reason::LinkToLeftOut));
        }
        match stamp::kind(&stat) {
            FileType::Directory => {}
            FileType::Symlink if links == LINKS_MAX => {
                return Ok(LinkTarget::Refused(Reason::LinkCyclic));
            }
            FileType::Symlink => {
                links += 1;
                let text = readlinkat(&file, c"", Vec::new()).map_err(cannot)?;
                here.truncate(parent_length);
                if !push_parts(tree, text.to_bytes(), &mut here, &mut parts) {
                    return Ok(LinkTarget::Refused(Reason::LinkOutside));
                }
            }
            // Something behind a file, be it only a slash.
            _ if !parts.is_empty() => return Ok(LinkTarget::Refused(Reason::LinkDangling)),
            FileType::RegularFile => return Ok(LinkTarget::File(here, stat)),
            _ => return Ok(LinkTarget::Refused(Reason::LinkToSpecial)),
        }
    }
    Ok(LinkTarget::Refused(Reason::LinkToDirectory))
}

/// Puts the parts of `text` on top of `parts`, the first one last, and goes `here` to the top if
/// it is absolute; `false` if it leads out.
fn push_parts(tree: &Tree, text: &[u8], here: &mut Vec<u8>, parts: &mut Vec<Vec<u8>>) -> bool {
    let mut text = text;
    if text.starts_with(b"/") {
        let Some(below) = tree.below(text) else { return false };
        here.clear();
        text = below;
    }
    parts.extend(text.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    /// What a link leads to, in a form that can be compared.
    fn followed(tree: &Tree, link: &str, text: &str) -> Result<String, Reason> {
        match follow(tree, link.as_bytes(), text.as_bytes()).unwrap() {
            LinkTarget::File(path, stat) => {
                assert_eq!(stamp::kind(&stat), FileType::RegularFile);
                Ok(String::from_utf8(path).unwrap())
            }
            LinkTarget::Refused(reason) => Err(reason),
        }
    }

    fn both(root: &Path) -> [Tree; 2] {
        let open = || Tree::open(root, &[root.join("store"), root.join("out.img")]).unwrap();
        [open(), open().without_openat2()]
    }

    #[test]
    fn links_lead_where_the_rules_say() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(root.join("store")).unwrap();
        for file in ["f", "a/g", "a/b/h", "store/pack", "out.img", "../outside"] {
            std::fs::write(root.join(file), file).unwrap();
        }
        symlink("../f", root.join("a/to_f")).unwrap();
        symlink("a/b", root.join("to_b")).unwrap();
        symlink("round", root.join("round")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let absolute = |rest: &str| format!("{}{rest}", root.display());
        for tree in both(&root) {
            for (link, text, expected) in [
                ("l", "f", Ok("f")),
                ("l", "./a//b/./h", Ok("a/b/h")),
                ("a/b/l", "../g", Ok("a/g")),
                ("a/b/l", "../../f", Ok("f")),
                ("a/b/l", "../to_f", Ok("f")),
                ("l", "to_b/h", Ok("a/b/h")),
                // Up from where the link to a directory leads, not from where it stands.
                ("l", "to_b/../g", Ok("a/g")),
                ("l", &absolute("/a/g"), Ok("a/g")),
                ("a/b/l", &absolute("//./a/g"), Ok("a/g")),
                ("l", &absolute(""), Err(Reason::LinkToDirectory)),
                ("l", &absolute("2/a/g"), Err(Reason::LinkOutside)),
                ("l", &absolute("/../outside"), Err(Reason::LinkOutside)),
                ("l", "/etc/passwd", Err(Reason::LinkOutside)),
                ("l", "../outside", Err(Reason::LinkOutside)),
                ("l", "../root/f", Err(Reason::LinkOutside)),
                ("a/b/l", "../../../root/f", Err(Reason::LinkOutside)),
                ("l", "a", Err(Reason::LinkToDirectory)),
                ("l", "to_b", Err(Reason::LinkToDirectory)),
                ("a/l", "..", Err(Reason::LinkToDirectory)),
                ("l", "missing", Err(Reason::LinkDangling)),
                ("l", "missing/../f", Err(Reason::LinkDangling)),
                ("l", "f/", Err(Reason::LinkDangling)),
                ("l", "f/x", Err(Reason::LinkDangling)),
                ("l", "f/../a/g", Err(Reason::LinkDangling)),
                ("round", "round", Err(Reason::LinkCyclic)),
                ("l", "round/x", Err(Reason::LinkCyclic)),
                ("l", "socket", Err(Reason::LinkToSpecial)),
                ("l", "store/pack", Err(Reason::LinkToLeftOut)),
                ("l", "out.img", Err(Reason::LinkToLeftOut)),
                ("l", "store/../f", Err(Reason::LinkToLeftOut)),
            ] {
                let expected = expected.map(str::to_owned);
                assert_eq!(followed(&tree, link, text), expected, "{link} -> {text}");
            }
            let long = format!("{}f", "./".repeat(2040));
            assert_eq!(followed(&tree, "l", &long), Ok("f".to_owned()));
            let deep = format!("{}f", "a/".repeat(3000));
            assert_eq!(followed(&tree, "l", &deep), Err(Reason::LinkDangling));
        }
    }

    #[test]
    fn as_many_links_are_followed_as_the_kernel_follows() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        std::fs::write(root.join("0"), "").unwrap();
        for number in 1..=LINKS_MAX + 1 {
            symlink((number - 1).to_string(), root.join(number.to_string())).unwrap();
        }
        for tree in both(root) {
            for (number, exists) in [(LINKS_MAX, true), (LINKS_MAX + 1, false)] {
                let text = (number - 1).to_string();
                assert_eq!(followed(&tree, &number.to_string(), &text).is_ok(), exists);
                assert_eq!(root.join(number.to_string()).metadata().is_ok(), exists);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever links there are: a file that is found is the one that the kernel finds, and
        /// one that the kernel finds inside is found unless the way goes through the outside.
        #[test]
        fn the_kernel_agrees(texts in prop::collection::vec("(\\.\\.?/|[a-d]/|/){0,4}[a-d.]{1,2}", 8)) {
            let temporary = tempfile::tempdir().unwrap();
            let root = temporary.path().join("a");
            std::fs::create_dir_all(root.join("a/b")).unwrap();
            for (place, text) in ["b", "c", "d", "a/a", "a/c", "a/b/a", "a/b/b"].iter().zip(&texts) {
                symlink(text, root.join(place)).unwrap();
            }
            for file in ["a/d", "a/b/c", "a/b/d"] {
                std::fs::write(root.join(file), file).unwrap();
            }
            for tree in both(&root) {
                for (link, text) in
                    ["b", "c", "d", "a/a", "a/c", "a/b/a", "a/b/b"].into_iter().zip(&texts)
                {
                    let kernel = root.join(link).metadata().ok();
                    let inode = kernel.as_ref().filter(|it| it.is_file()).map(MetadataExt::ino);
                    match follow(&tree, link.as_bytes(), text.as_bytes()).unwrap() {
                        LinkTarget::File(path, stat) => {
                            prop_assert_eq!(Some(stat.st_ino), inode);
                            let path = std::str::from_utf8(&path).unwrap();
                            let canonical = root.join(link).canonicalize().unwrap();
                            prop_assert_eq!(canonical, root.canonicalize().unwrap().join(path));
                        }
                        LinkTarget::Refused(Reason::LinkOutside) => {}
                        LinkTarget::Refused(Reason::LinkToDirectory) => {
                            prop_assert!(kernel.is_some_and(|it| it.is_dir()));
                        }
                        LinkTarget::Refused(_) => prop_assert!(kernel.is_none()),
                    }
                }
            }
        }
    }
}
