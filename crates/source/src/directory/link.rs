//! Follows a symbolic link of a directory that is pushed, by the rules of [`crate::follow`].
//!
//! Each part of the way is opened beneath the directory without following any link, so the answer
//! is right whatever changes meanwhile, with or without `openat2`. An absolute link leads inside if
//! its text begins with the directory's own path, as it was given or in its canonical form.

use super::stamp;
use super::tree::{LOOK, Tree};
use crate::follow::{Found, follow_inside};
use crate::report::Reason;
use freestone_core::{Error, Result, path};
use rustix::fs::{FileType, Stat, fstat, readlinkat};
use rustix::io::Errno;

/// The target of a link.
pub(super) enum LinkTarget {
    /// A regular file inside the directory: its path without links, and its status.
    File(Vec<u8>, Stat),
    /// The link cannot be pushed.
    Refused(Reason),
}

/// Follows `text`, the text of the link at `link`. All directories that contain the link must be
/// real ones, not links.
///
/// # Errors
/// The file system fails, or the user may not examine a part of the way.
pub(super) fn follow(tree: &Tree, link: &[u8], text: &[u8]) -> Result<LinkTarget> {
    let mut file = None;
    let inside = |text: &[u8]| tree.below(text).map(<[u8]>::to_vec);
    let target = follow_inside(link, text, &inside, &mut |here| {
        let cannot = |errno: Errno| {
            let (link, here) = (path::display(link), path::display(here));
            Error::io(format!("link {link}: {here} cannot be looked at"), errno.into())
        };
        let opened = match tree.open_at(here, LOOK) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {
                return Ok(Found::Nothing);
            }
            Err(errno) => return Err(cannot(errno)),
        };
        let stat = fstat(&opened).map_err(cannot)?;
        if tree.leaves_out(here) {
            return Ok(Found::LeftOut);
        }
        Ok(match stamp::kind(&stat) {
            FileType::Directory => Found::Directory,
            FileType::Symlink => {
                let text = readlinkat(&opened, c"", Vec::new()).map_err(cannot)?;
                Found::Link(text.into_bytes())
            }
            FileType::RegularFile => {
                file = Some(stat);
                Found::File
            }
            _ => Found::Special,
        })
    })?;
    Ok(match (target, file) {
        (Ok(path), Some(stat)) => LinkTarget::File(path, stat),
        (Ok(_), None) => LinkTarget::Refused(Reason::LinkDangling),
        (Err(reason), _) => LinkTarget::Refused(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::LINKS_MAX;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    /// Returns the target of a link, in a form that can be compared.
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
                // `..` starts at the target of a link to a directory, not at the link.
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

        /// With any links: a file that is found is the one that the kernel finds, and a file that
        /// the kernel finds inside is found unless the way leads through the outside.
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
