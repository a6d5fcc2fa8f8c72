//! Symbolic links: which become files, which are refused, and what opening them reads.

use crate::grown::Grown;
use freestone_core::item::{FileOpener, Item, ItemKind};
use freestone_source::directory::{DirectoryOptions, Reason, Refusal, open};
use std::os::unix::fs::symlink;

fn link_of(item: &Item) -> Option<&str> {
    match &item.kind {
        ItemKind::File { link, .. } => {
            link.as_deref().map(|text| std::str::from_utf8(text).unwrap())
        }
        ItemKind::Directory => None,
    }
}

#[test]
fn a_link_to_a_file_is_that_file_and_keeps_its_text() {
    let grown = Grown::new(&["a/file", "b/chain -> ../to_file", "to_file -> a/file"]);
    symlink(grown.at("a/file"), grown.at("to_file_absolute")).unwrap();
    crate::grown::touch(&grown.at("a/file"), 77, 0);
    let items = grown.items(&DirectoryOptions::default());
    let find = |path: &str| items.iter().find(|item| item.path == path.as_bytes()).unwrap();
    let stamp = |item: &Item| match item.kind {
        ItemKind::File { stamp, .. } => stamp,
        ItemKind::Directory => panic!("{item:?}"),
    };
    let file = find("a/file");
    assert_eq!(link_of(file), None);
    for (path, text) in [
        ("to_file", Some("a/file")),
        ("b/chain", Some("../to_file")),
        // An absolute text is valid on this machine only.
        ("to_file_absolute", None),
    ] {
        let link = find(path);
        assert_eq!(link_of(link), text, "{path}");
        assert_eq!((stamp(link), link.mtime), (stamp(file), 77), "{path}");
    }
    let (mut walk, opener) = open(&grown.root(), &DirectoryOptions::default()).unwrap();
    crate::grown::all(&mut walk).unwrap();
    for path in ["to_file", "b/chain", "to_file_absolute"] {
        let mut opened = opener.open(path.as_bytes()).unwrap();
        let mut text = String::new();
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a/file");
        assert_eq!(opened.stamp().unwrap(), stamp(file));
    }
}

#[test]
fn each_other_link_is_refused_and_all_are_listed_at_once() {
    let grown = Grown::new(&[
        "a/b/file",
        "cyclic -> cyclic2",
        "cyclic2 -> cyclic",
        "dangling -> missing",
        "file",
        "out_absolute -> /etc/passwd",
        "out_and_in -> ../root/file",
        "out_by_link -> a/b/up/file",
        "outside -> ../outside",
        "special -> /dev/null",
        "to_directory -> a/b",
        "to_top -> .",
        "a/b/up -> ../../..",
        "fine -> a/b/file",
    ]);
    std::fs::write(grown.at("../outside"), "").unwrap();
    let expected = [
        ("a/b/up", "a link that leads out of the directory"),
        ("cyclic", "a link that leads in a circle"),
        ("cyclic2", "a link that leads in a circle"),
        ("dangling", "a link that leads nowhere"),
        ("out_absolute", "a link that leads out of the directory"),
        ("out_and_in", "a link that leads out of the directory"),
        ("out_by_link", "a link that leads out of the directory"),
        ("outside", "a link that leads out of the directory"),
        ("special", "a link that leads out of the directory"),
        ("to_directory", "a link to a directory"),
        ("to_top", "a link to a directory"),
    ];
    let expected = expected.map(|(path, reason)| format!("{path}: {reason}"));
    assert_eq!(grown.refused(), expected);
    let (items, report) = grown.skipping();
    assert_eq!(items, ["a/", "a/b/", "a/b/file", "file", "fine"]);
    assert_eq!(report.refused_count, 11);
    let first = Refusal { path: b"a/b/up".to_vec(), reason: Reason::LinkOutside };
    assert_eq!(report.refused[0], first);
    assert_eq!(report.refused.len(), 11);
}

#[test]
fn only_listed_links_are_followed_when_opening() {
    let grown = Grown::new(&["listed -> target", "target", "late"]);
    let (mut walk, opener) = open(&grown.root(), &DirectoryOptions::default()).unwrap();
    crate::grown::all(&mut walk).unwrap();
    assert!(opener.open(b"listed").is_ok());
    std::fs::remove_file(grown.at("late")).unwrap();
    symlink("target", grown.at("late")).unwrap();
    let error = crate::grown::failure(opener.open(b"late"));
    assert_eq!(error.kind(), freestone_core::ErrorKind::Conflict);
    assert!(error.to_string().starts_with("late was a file"), "{error}");
}
