//! A directory that changes while it is listed, examined and read.

use crate::grown::{Grown, all, failure, show};
use freestone_core::ErrorKind;
use freestone_core::item::{FileOpener, ItemSource};
use freestone_source::directory::{DirectoryOptions, Opener, Reason, Walk, open};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{create_dir, remove_dir, remove_dir_all, remove_file, rename, write};
use std::os::unix::fs::symlink;

/// Opens a directory whose names are listed, but not examined yet.
fn opened(grown: &Grown) -> (Walk, Opener) {
    open(&grown.root(), &DirectoryOptions { skip_special: true, ..DirectoryOptions::default() })
        .unwrap()
}

#[test]
fn what_vanishes_before_it_is_looked_at_was_never_there() {
    let grown = Grown::new(&["a", "b", "c/x", "d", "e -> d"]);
    let (mut walk, _) = opened(&grown);
    for gone in ["b", "e"] {
        remove_file(grown.at(gone)).unwrap();
    }
    remove_dir_all(grown.at("c")).unwrap();
    assert_eq!(show(&all(&mut walk).unwrap()), ["a", "d"]);
    assert_eq!(walk.report().refused_count, 0);
}

#[test]
fn what_becomes_something_else_is_taken_as_what_it_is() {
    let grown = Grown::new(&["directory/x", "file", "link -> file", "moved/x", "other", "target"]);
    let (mut walk, _) = opened(&grown);
    remove_dir_all(grown.at("directory")).unwrap();
    write(grown.at("directory"), "").unwrap();
    remove_file(grown.at("file")).unwrap();
    create_dir(grown.at("file")).unwrap();
    write(grown.at("file/inside"), "").unwrap();
    remove_file(grown.at("link")).unwrap();
    write(grown.at("link"), "").unwrap();
    remove_file(grown.at("other")).unwrap();
    mknodat(CWD, grown.at("other"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rename(grown.at("moved"), grown.at("../moved")).unwrap();
    symlink("../moved", grown.at("moved")).unwrap();
    let items = show(&all(&mut walk).unwrap());
    assert_eq!(items, ["directory", "file/", "file/inside", "link", "target"]);
    let reasons: Vec<_> = walk.report().refused.iter().map(|refusal| refusal.reason).collect();
    assert_eq!(reasons, [Reason::LinkOutside, Reason::Pipe]);
}

#[test]
fn a_directory_that_moves_is_read_where_it_was_opened() {
    let grown = Grown::new(&["a/x", "a/y", "secret/x", "secret/z"]);
    let (mut walk, _) = opened(&grown);
    assert_eq!(walk.next().unwrap().unwrap().path, b"a");
    rename(grown.at("a"), grown.at("../away")).unwrap();
    symlink("secret", grown.at("a")).unwrap();
    assert_eq!(walk.next().unwrap().unwrap().path, b"a/x");
    assert_eq!(walk.next().unwrap().unwrap().path, b"a/y");
}

/// Outer directories are closed while the walk is deep, and opened again by their paths.
#[test]
fn a_directory_that_is_replaced_while_the_walk_is_deep_is_an_error() {
    let deep = format!("a/{}", "d/".repeat(80));
    for replaced in [false, true] {
        let grown = Grown::new(&[&deep, "a/z"]);
        let (mut walk, _) = opened(&grown);
        for _ in 0..81 {
            walk.next().unwrap().unwrap();
        }
        if replaced {
            rename(grown.at("a"), grown.at("../away")).unwrap();
            create_dir(grown.at("a")).unwrap();
            write(grown.at("a/z"), "").unwrap();
            let error = failure(all(&mut walk));
            assert_eq!(error.to_string(), "directory a was replaced while it was read");
        } else {
            assert_eq!(show(&all(&mut walk).unwrap()), ["a/z"]);
        }
    }
}

#[test]
fn a_link_put_in_the_place_of_a_file_or_directory_is_not_followed() {
    let grown = Grown::new(&["a/file", "b/file", "file", "secret"]);
    write(grown.at("../outside"), "secret").unwrap();
    create_dir(grown.at("../away")).unwrap();
    write(grown.at("../away/file"), "secret").unwrap();
    let (mut walk, opener) = opened(&grown);
    all(&mut walk).unwrap();
    for (place, text, path) in [
        ("file", "secret", "file"),
        ("file", "../outside", "file"),
        ("a", "b", "a/file"),
        ("a", "../away", "a/file"),
    ] {
        let kept = grown.at("../kept");
        rename(grown.at(place), &kept).unwrap();
        symlink(text, grown.at(place)).unwrap();
        let error = failure(opener.open(path.as_bytes()));
        assert_eq!(error.kind(), ErrorKind::Conflict, "{place} -> {text}: {error}");
        remove_file(grown.at(place)).unwrap();
        rename(&kept, grown.at(place)).unwrap();
        opener.open(path.as_bytes()).unwrap();
    }
}

#[test]
fn a_listed_link_is_followed_by_the_rules_again() {
    let grown = Grown::new(&["directory/", "file", "link -> file", "other"]);
    write(grown.at("../outside"), "secret").unwrap();
    let (mut walk, opener) = opened(&grown);
    all(&mut walk).unwrap();
    let read = || {
        let mut text = String::new();
        opener.open(b"link")?.read_to_string(&mut text).unwrap();
        Ok(text)
    };
    assert_eq!(read().unwrap(), "file");
    for (text, expected) in [
        ("other", Ok("other")),
        ("../outside", Err("link has become a link that leads out of the directory")),
        ("/etc/passwd", Err("link has become a link that leads out of the directory")),
        ("directory", Err("link has become a link to a directory")),
        ("gone", Err("link has become a link that leads nowhere")),
    ] {
        remove_file(grown.at("link")).unwrap();
        symlink(text, grown.at("link")).unwrap();
        let found = read().map_err(|error: freestone_core::Error| error.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
    }
}

#[test]
fn what_is_no_file_any_more_is_not_read_and_never_waited_for() {
    let grown = Grown::new(&["x"]);
    let (mut walk, opener) = opened(&grown);
    all(&mut walk).unwrap();
    remove_file(grown.at("x")).unwrap();
    assert_eq!(failure(opener.open(b"x")).kind(), ErrorKind::NotFound);
    mknodat(CWD, grown.at("x"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(failure(opener.open(b"x")).kind(), ErrorKind::Conflict);
    remove_file(grown.at("x")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(grown.at("x")).unwrap();
    assert_eq!(failure(opener.open(b"x")).kind(), ErrorKind::Conflict);
    drop(socket);
    remove_file(grown.at("x")).unwrap();
    create_dir(grown.at("x")).unwrap();
    assert_eq!(failure(opener.open(b"x")).kind(), ErrorKind::Conflict);
    remove_dir(grown.at("x")).unwrap();
    write(grown.at("x"), "again").unwrap();
    let mut file = opener.open(b"x").unwrap();
    let mut text = String::new();
    file.seek(2).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ain");
    let stamp = file.stamp().unwrap();
    write(grown.at("x"), "another").unwrap();
    let later = file.stamp().unwrap();
    assert_eq!((later.inode, later.size), (stamp.inode, 7));
}

#[test]
fn no_path_leads_out() {
    let grown = Grown::new(&["a/b"]);
    write(grown.at("../outside"), "secret").unwrap();
    let (_, opener) = opened(&grown);
    for path in ["../outside", "a/../../outside", "/etc/passwd", "", ".", "a//b", "a/b\0"] {
        assert!(opener.open(path.as_bytes()).is_err(), "{path:?}");
    }
}
