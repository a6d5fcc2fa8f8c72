//! The deepest tree that paths allow is listed with few open files. The test is alone in its
//! process, because it lowers the limit of the process.

use freestone_core::item::{FileOpener, ItemSource};
use freestone_source::directory::{DirectoryOptions, open};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, getrlimit, setrlimit};

#[test]
fn two_thousand_directories_deep_need_a_hundred_open_files() {
    let temporary = tempfile::tempdir().unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut directory = openat(CWD, temporary.path(), flags, Mode::empty()).unwrap();
    for _ in 0..2_047 {
        mkdirat(&directory, "d", Mode::RWXU).unwrap();
        // The name after the directory makes the walk return to the outer directory.
        openat(&directory, "e", OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap();
        directory = openat(&directory, "d", flags, Mode::empty()).unwrap();
    }
    openat(&directory, "f", OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap();
    drop(directory);

    let before = getrlimit(Resource::Nofile);
    let mut low = before;
    low.current = Some(100);
    setrlimit(Resource::Nofile, low).unwrap();
    let (mut walk, opener) = open(temporary.path(), &DirectoryOptions::default()).unwrap();
    let (mut count, mut longest) = (0, Vec::new());
    while let Some(item) = walk.next().unwrap() {
        count += 1;
        if item.path.len() > longest.len() {
            longest = item.path;
        }
    }
    assert_eq!((count, longest.len()), (2 * 2_047 + 1, 4_095));
    opener.open(&longest).unwrap();
    setrlimit(Resource::Nofile, before).unwrap();

    // Removing all of it in one call would open a file for each level.
    let (outer, inner) = (temporary.path().join("d"), temporary.path().join("inner"));
    while std::fs::rename(outer.join("d"), &inner).is_ok() {
        std::fs::remove_dir_all(&outer).unwrap();
        std::fs::rename(&inner, &outer).unwrap();
    }
    temporary.close().unwrap();
}
