//! What is in a directory that others may write to is opened through `freestone_files`.
//!
//! A path that is joined and opened follows whatever links somebody put there in between. So the
//! sources open files by paths only where this list says why that is right.

use crate::source::{SourceFile, crate_names, files_below};
use freestone_testkit::top;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Calls that take a path.
const CALLS: &[&str] = &[
    "fs::read(",
    "fs::write(",
    "fs::read_dir(",
    "fs::read_to_string(",
    "fs::read_link(",
    "fs::create_dir(",
    "fs::create_dir_all(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::rename(",
    "fs::metadata(",
    "fs::symlink_metadata(",
    "fs::set_permissions(",
    "fs::hard_link(",
    "fs::copy(",
    "fs::canonicalize(",
    ".canonicalize(",
    "DirBuilder::new(",
    "File::open(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions::new(",
    "openat(",
    "openat2(",
];

/// The files that may use them, each with the reason. Remove the line of each that no longer does;
/// add none but for paths that the user gave or that belong to the system.
const ALLOWED: &[(&str, &str)] = &[
    ("backend/src/directory.rs", "creates the root of a store, whose path the user gave"),
    ("cli/src/command/git/write.rs", "the list of what was written, in the user's repository"),
    ("cli/src/command/init.rs", "the host's name, and the root of a new store"),
    ("cli/src/command/inspect.rs", "the image that the user named"),
    ("cli/src/command/man.rs", "the directory that the user named"),
    ("cli/src/command/mount/background.rs", "/dev/null"),
    ("cli/src/command/mount/owner.rs", "a table of the kernel"),
    ("cli/src/command/push/archive.rs", "the archive that the user named"),
    ("cli/src/command/push/directory.rs", "the name of the directory that the user named"),
    ("cli/src/command/status.rs", "adds up lengths of files and opens none"),
    ("cli/src/command/which.rs", "the file that the user named"),
    ("cli/src/config.rs", "the user's configuration"),
    ("cli/src/upstreams.rs", "the list of upstreams that this user named"),
    ("files/src/caches.rs", "creates the folder of the user's caches"),
    ("files/src/folder.rs", "opens folders for all others"),
    ("files/src/resolve.rs", "resolves names for all others"),
    ("git/src/alternates.rs", "directories that the repository names, as git follows them"),
    ("git/src/own_file.rs", "files of the repository, opened without waiting"),
    ("git/src/refs.rs", "refs of the repository that the user named, links as git reads them"),
    ("git/src/repository.rs", "whose the repository is that the user named"),
    ("git/src/variables.rs", "directories that the environment of a git hook names"),
    ("git/src/write.rs", "the repository that the user named"),
    ("git/src/write/object.rs", "the repository that the user named"),
    ("mount/src/mounted.rs", "the mount point, and tables of the kernel"),
    ("remote/src/pusher.rs", "the id of this machine"),
    ("remote/src/settings.rs", "the user's settings"),
    ("serve/src/listen.rs", "the socket that the user named"),
    ("sink/src/compare.rs", "the image that the user named"),
    ("sink/src/device.rs", "the device that the user named"),
    ("sink/src/update/hold.rs", "tables of the kernel"),
    ("source/src/directory/tree.rs", "the name of the directory that the user named"),
    ("source/src/directory/walk.rs", "opens a name of the directory that is being listed"),
    ("source/src/exclude.rs", "the file of patterns that the user named"),
    ("store/src/store.rs", "the root of a new store, whose path the user gave"),
];

/// Returns the calls in a file, outside of its tests.
fn calls(code: &str) -> BTreeSet<&'static str> {
    let is_whole = |call: &str| {
        code.match_indices(call).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            call.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    CALLS.iter().copied().filter(|call| is_whole(call)).collect()
}

#[test]
fn files_are_opened_by_path_only_where_the_list_says_why() {
    let mut wrong = String::new();
    let mut found = BTreeSet::new();
    for name in crate_names().iter().filter(|name| *name != "testkit") {
        for path in files_below(&top().join("crates").join(name).join("src"), "rs") {
            let file = path.strip_prefix(top().join("crates")).unwrap().display().to_string();
            if file.ends_with("tests.rs") {
                continue;
            }
            let calls = calls(&SourceFile::read(&path, false).code);
            if calls.is_empty() {
                continue;
            }
            if ALLOWED.iter().any(|(allowed, _)| *allowed == file) {
                found.insert(file);
            } else {
                writeln!(wrong, "{file} uses {calls:?}: use freestone_files::Folder").unwrap();
            }
        }
    }
    for (file, _) in ALLOWED.iter().filter(|(file, _)| !found.contains(*file)) {
        writeln!(wrong, "{file} opens nothing by path: remove it from the list").unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
}
