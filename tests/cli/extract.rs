//! Taking files out of a store again.

use crate::program::Home;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn what_was_pushed_comes_out_again() {
    let home = Home::with_revisions();
    let mut sparse = vec![0; 4 << 20];
    sparse[2 << 20] = 1;
    home.write("site/sparse", &sparse);
    home.write("site/zeros", &vec![0; 3 << 20]);
    home.write("site/nothing", b"");
    home.write(OsStr::from_bytes(b"site/\xff\n"), b"odd");
    fs::create_dir(home.path("site/empty")).unwrap();
    home.ok(["push", "site", "--mtime", "1234567890"]);
    home.ok(["extract", "main", "out"]);
    let diff = std::process::Command::new("diff")
        .args(["-r", "site", "out"])
        .current_dir(home.path(""))
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    for name in ["docs", "docs/deep", "empty", "index.html", "run.sh", "sparse", "zeros"] {
        let metadata = fs::metadata(home.path("out").join(name)).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_234_567_890, 0), "{name}");
    }
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("out/run.sh") & 0o100, 0o100);
    assert_eq!(mode("out/index.html") & 0o111, 0);
    assert!(fs::metadata(home.path("out/sparse")).unwrap().blocks() * 512 < 3 << 20, "has holes");
    assert_eq!(home.names(""), ["out", "site", "store"]);
}

#[test]
fn a_part_comes_out_without_what_it_is_in() {
    let home = Home::with_revisions();
    fs::create_dir(home.path("out")).unwrap();
    let inode = fs::metadata(home.path("out")).unwrap().ino();
    home.ok(["extract", "main~1:docs/", "out"]);
    assert_eq!(home.names("out"), ["a.txt", "deep"]);
    assert_eq!(fs::metadata(home.path("out")).unwrap().ino(), inode, "an empty one is filled");
}

#[test]
fn nothing_is_left_of_what_fails() {
    let home = Home::with_revisions();
    home.write("mine/file", b"mine");
    home.fails(7, ["extract", "main", "mine"]);
    assert_eq!(home.read("mine/file"), b"mine");
    // All bytes of contents gone bad, in the middle of the packs.
    let mut damaged = false;
    for folder in fs::read_dir(home.path("store/packs")).unwrap() {
        for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
            let pack = pack.unwrap().path();
            let mut bytes = fs::read(&pack).unwrap();
            if let Some(at) = bytes.windows(10).position(|bytes| bytes == b"#!/bin/sh\n") {
                bytes[at] ^= 1;
                fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
                fs::write(&pack, bytes).unwrap();
                damaged = true;
            }
        }
    }
    assert!(damaged, "a small content lies raw in its pack");
    fs::create_dir(home.path("empty")).unwrap();
    for place in ["new", "empty"] {
        let said = home.fails(3, ["extract", "main", place]);
        assert!(said.starts_with("freestone: run.sh: "), "{said}");
    }
    assert!(home.names("empty").is_empty());
    assert_eq!(home.names(""), ["empty", "mine", "site", "store"]);
    home.ok(["extract", "main:docs", "docs"]);
}
