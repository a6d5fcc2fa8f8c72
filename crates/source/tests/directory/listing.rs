//! The fields of items, and directories that cannot be listed.

use crate::grown::{Grown, all, failure, touch};
use freestone_core::ErrorKind;
use freestone_core::item::{FileOpener, ItemKind, ItemSource};
use freestone_source::directory::{DirectoryOptions, open};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn an_item_tells_what_the_file_is() {
    let grown = Grown::new(&["a/b", "x"]);
    touch(&grown.at("a/b"), -2, 500_000_000);
    touch(&grown.at("x"), 1_700_000_000, 999_999_999);
    touch(&grown.at("a"), 12, 0);
    for (mode, executable) in [(0o644, false), (0o700, true), (0o655, false), (0o100, true)] {
        set_mode(&grown.at("x"), mode);
        let items = grown.items(&DirectoryOptions::default());
        assert_eq!(items.len(), 3);
        assert_eq!((items[0].mtime, &items[0].kind), (12, &ItemKind::Directory));
        assert_eq!(items[1].mtime, -2, "whole seconds, downwards");
        assert_eq!(items[2].mtime, 1_700_000_000);
        let ItemKind::File { executable: found, stamp, link } = &items[2].kind else {
            panic!("{items:?}")
        };
        let metadata = grown.at("x").metadata().unwrap();
        assert_eq!((*found, link), (executable, &None), "{mode:o}");
        assert_eq!((stamp.device, stamp.inode), (metadata.dev(), metadata.ino()));
        assert_eq!((stamp.size, stamp.mtime_ns), (1, 1_700_000_000_999_999_999));
        assert_eq!(stamp.ctime_ns, metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec());
    }
}

#[test]
fn an_empty_directory_has_no_items_and_the_end_stays_the_end() {
    let mut walk = Grown::new(&[]).walk(&DirectoryOptions::default());
    assert_eq!(all(&mut walk).unwrap(), []);
    assert_eq!(all(&mut walk).unwrap(), []);
}

#[test]
fn a_top_that_is_no_directory_is_refused_with_a_hint() {
    let grown = Grown::new(&["file", "in -> missing"]);
    for (path, kind) in [
        (grown.at("file"), ErrorKind::Usage),
        (grown.at("file/below"), ErrorKind::Usage),
        (grown.at("missing"), ErrorKind::NotFound),
        (grown.at("in"), ErrorKind::NotFound),
        ("".into(), ErrorKind::Usage),
    ] {
        let error = failure(open(&path, &DirectoryOptions::default()));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.hint_text().is_some());
    }
}

#[test]
fn the_top_may_be_a_link_to_a_directory() {
    let grown = Grown::new(&["a/b"]);
    let link = grown.root().with_file_name("current");
    symlink("root", &link).unwrap();
    // Absolute links lead inside by either name of the directory.
    symlink(link.join("a/b"), grown.at("by_link")).unwrap();
    symlink(grown.at("a/b"), grown.at("by_name")).unwrap();
    let (mut walk, opener) = open(&link, &DirectoryOptions::default()).unwrap();
    assert_eq!(crate::grown::show(&all(&mut walk).unwrap()), ["a/", "a/b", "by_link", "by_name"]);
    let mut text = String::new();
    opener.open(b"by_link").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "a/b");
}

/// Runs `test` as an unprivileged user in a separate thread: root may read everything.
fn unprivileged(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
            }
            test();
        });
        thread.join().unwrap();
    });
}

#[test]
fn what_cannot_be_read_is_named() {
    let grown = Grown::new(&["a/closed/x", "a/listed/x", "a/secret"]);
    let outer = grown.root().parent().unwrap().to_owned();
    set_mode(&outer, 0o755);
    for (path, closed, open_again, complaint) in [
        ("a/closed", 0o000, 0o755, "a/closed cannot be opened"),
        ("a/listed", 0o444, 0o755, "a/listed/x cannot be looked at"),
    ] {
        set_mode(&grown.at(path), closed);
        let mut error = None;
        unprivileged(|| {
            let mut walk = grown.walk(&DirectoryOptions::default());
            error = all(&mut walk).err();
            assert!(walk.next().is_err(), "an error ends the walk");
        });
        set_mode(&grown.at(path), open_again);
        let error = error.unwrap();
        assert_eq!(error.to_string(), complaint);
        assert!(error.hint_text().unwrap().contains("--exclude"));
    }
    set_mode(&grown.at("a/secret"), 0o000);
    let mut error = None;
    let (_, opener) = open(&grown.root(), &DirectoryOptions::default()).unwrap();
    unprivileged(|| error = opener.open(b"a/secret").err());
    assert_eq!(error.unwrap().to_string(), "file a/secret cannot be opened");
    set_mode(&grown.root(), 0o000);
    let mut error = None;
    unprivileged(|| error = open(&grown.root(), &DirectoryOptions::default()).err());
    set_mode(&grown.root(), 0o755);
    assert!(error.unwrap().to_string().ends_with("root cannot be opened"));
}

#[test]
fn a_path_may_have_4095_bytes_and_no_more() {
    let grown = Grown::new(&[]);
    let name = "n".repeat(255);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut directory = openat(CWD, grown.root(), flags, Mode::empty()).unwrap();
    for _ in 0..15 {
        mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = openat(&directory, &name, flags, Mode::empty()).unwrap();
    }
    // Fifteen names and slashes are 3,840 bytes.
    mkdirat(&directory, "m".repeat(255), Mode::RWXU).unwrap();
    let last = openat(&directory, "m".repeat(255), flags, Mode::empty()).unwrap();
    let file = OFlags::WRONLY | OFlags::CREATE;
    openat(&directory, &name, file, Mode::RWXU).unwrap();
    let (items, report) = grown.skipping();
    assert_eq!(items.len(), 17);
    assert_eq!(report.refused_count, 0);
    let (_, opener) = open(&grown.root(), &DirectoryOptions::default()).unwrap();
    opener.open(format!("{}{name}", format!("{name}/").repeat(15)).as_bytes()).unwrap();

    openat(&last, "x", file, Mode::RWXU).unwrap();
    let refused = grown.refused();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].ends_with("m/x: a path of more than 4095 bytes"), "{refused:?}");
    let (items, report) = grown.skipping();
    assert_eq!((items.len(), report.refused_count), (17, 1));
}
