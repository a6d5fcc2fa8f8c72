//! Paths that are not pushed: version control, patterns, the store itself.

use crate::grown::{Grown, all, failure, show};
use freestone_core::ErrorKind;
use freestone_source::directory::{DirectoryOptions, open};
use std::os::unix::fs::symlink;

#[test]
fn version_control_is_left_out_and_nothing_that_resembles_it() {
    let grown = Grown::new(&[
        ".git/config",
        ".gitattributes",
        ".gitignore",
        ".hg/store",
        ".svn/x",
        ".well-known/security.txt",
        "CVS",
        "a/.fslckout",
        "a/.git",
        "a/CVS/Entries",
        "a/_darcs/patches/x",
        "git",
        "wiki/CVS/index.html",
        "wiki/_darcs/x",
    ]);
    let kept = [
        ".gitattributes",
        ".gitignore",
        ".well-known/",
        ".well-known/security.txt",
        "CVS",
        "a/",
        "git",
        "wiki/",
        "wiki/CVS/",
        "wiki/CVS/index.html",
        "wiki/_darcs/",
        "wiki/_darcs/x",
    ];
    let mut walk = grown.walk(&DirectoryOptions::default());
    assert_eq!(show(&all(&mut walk).unwrap()), kept);
    assert_eq!(walk.report().version_control_count, 7);
    let everything = grown
        .shown(&DirectoryOptions { keep_version_control: true, ..DirectoryOptions::default() });
    assert_eq!(everything.len(), 25);
    assert!(everything.contains(&".git/config".to_owned()));
}

#[test]
fn patterns_leave_out_files_and_whole_directories() {
    let grown = Grown::new(&[
        "a/cache/x",
        "a/keep.bak",
        "a/x.bak",
        "b/cache",
        "drafts/dangling -> missing",
        "drafts/x",
        "linked -> drafts/x",
        "b/drafts",
    ]);
    let excludes = ["*.bak", "!keep.bak", "cache/", "/drafts"].map(str::to_owned).to_vec();
    let options = DirectoryOptions { excludes, ..DirectoryOptions::default() };
    let mut walk = grown.walk(&options);
    // The target of a link to it is still inside, so the link is pushed as that file.
    let kept = ["a/", "a/keep.bak", "b/", "b/cache", "b/drafts", "linked"];
    assert_eq!(show(&all(&mut walk).unwrap()), kept);
    assert_eq!(walk.report().excluded_count, 3);
}

#[test]
fn a_directory_that_is_left_out_is_not_even_opened() {
    let grown = Grown::new(&["a", "closed/x"]);
    let options =
        DirectoryOptions { excludes: vec!["closed".to_owned()], ..DirectoryOptions::default() };
    let mut walk = grown.walk(&options);
    std::fs::remove_dir_all(grown.at("closed")).unwrap();
    symlink("/nonexistent", grown.at("closed")).unwrap();
    assert_eq!(show(&all(&mut walk).unwrap()), ["a"]);
    assert_eq!(walk.report().excluded_count, 1);
}

#[test]
fn a_bad_pattern_is_an_error_of_usage() {
    let grown = Grown::new(&[]);
    let options =
        DirectoryOptions { excludes: vec!["a[".to_owned()], ..DirectoryOptions::default() };
    let error = failure(open(&grown.root(), &options));
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("\"a[\""), "{error}");
}

#[test]
fn the_store_and_the_output_inside_are_left_out_and_links_to_them_refused() {
    let grown =
        Grown::new(&["a/store/packs/x", "a/storefront", "b", "to_store -> a/store/packs/x"]);
    let by_link = grown.root().with_file_name("by_link");
    symlink(grown.at("a"), &by_link).unwrap();
    let leave_out = vec![
        by_link.join("store"),
        // It does not exist yet when the walk begins.
        grown.at("a/out.img"),
        grown.root().with_file_name("elsewhere"),
    ];
    let options = DirectoryOptions { leave_out, skip_special: true, ..DirectoryOptions::default() };
    let mut walk = grown.walk(&options);
    std::fs::write(grown.at("a/out.img"), "").unwrap();
    assert_eq!(show(&all(&mut walk).unwrap()), ["a/", "a/storefront", "b"]);
    assert_eq!(walk.report().left_out_count, 2);
    assert_eq!(walk.report().refused[0].path, b"to_store");
}

#[test]
fn a_top_that_must_not_be_pushed_is_an_error() {
    let grown = Grown::new(&["a"]);
    let options = DirectoryOptions { leave_out: vec![grown.root()], ..DirectoryOptions::default() };
    assert_eq!(failure(open(&grown.root(), &options)).kind(), ErrorKind::Usage);
    // A directory inside the store is pushed; it is not the store.
    let outer = grown.root().parent().unwrap().to_owned();
    let options = DirectoryOptions { leave_out: vec![outer], ..DirectoryOptions::default() };
    assert_eq!(grown.shown(&options), ["a"]);
}
