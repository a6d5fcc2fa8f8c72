//! Every path is listed once and in manifest order, with any names and with little memory.

use crate::grown::{Grown, all};
use freestone_core::item::{Item, ItemKind};
use freestone_core::path;
use freestone_source::directory::{DirectoryOptions, open};
use freestone_testkit::cases;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Generates names of few bytes, which sort around `/` or are not text, and some long ones.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(&b"ab.-! \n\x01\\\xff\xc3"[..]);
    let long = prop::sample::select(&b"ab"[..]).prop_map(|byte| vec![byte; 255]);
    prop_oneof![9 => prop::collection::vec(byte, 1..4), 1 => long]
        .prop_filter("no name", |name| !matches!(&name[..], b"." | b".."))
}

/// Generates paths of files; all parts before the last are directories.
fn tree() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    prop::collection::vec(prop::collection::vec(name(), 1..5), 0..60)
}

/// Creates the files that do not collide with others. Returns the list that a walk should return,
/// with `true` for directories.
fn grow(root: &Path, files: &[Vec<Vec<u8>>]) -> BTreeMap<Vec<Vec<u8>>, bool> {
    let mut expected: BTreeMap<Vec<Vec<u8>>, bool> = BTreeMap::new();
    for parts in files {
        let is_file = |parts: &[Vec<u8>]| expected.get(parts) == Some(&false);
        if expected.contains_key(parts) || (1..parts.len()).any(|end| is_file(&parts[..end])) {
            continue;
        }
        let place = |parts: &[Vec<u8>]| root.join(OsStr::from_bytes(&parts.join(&b'/')));
        for end in 1..parts.len() {
            if expected.insert(parts[..end].to_vec(), true).is_none() {
                std::fs::create_dir(place(&parts[..end])).unwrap();
            }
        }
        std::fs::write(place(parts), "").unwrap();
        expected.insert(parts.clone(), false);
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(96, 1000)))]

    /// The model sorts paths as lists of names. That equals the order of `path::compare`, in which
    /// `/` is below all bytes.
    #[test]
    fn all_paths_come_once_and_in_order(files in tree(), memory_bytes in 0_usize..2_000) {
        let grown = Grown::new(&[]);
        let expected: Vec<_> = grow(&grown.root(), &files)
            .into_iter()
            .map(|(parts, is_directory)| (parts.join(&b'/'), is_directory))
            .collect();
        for memory_bytes in [memory_bytes, DirectoryOptions::default().memory_bytes] {
            let items = grown.items(&DirectoryOptions { memory_bytes, ..DirectoryOptions::default() });
            for pair in items.windows(2) {
                prop_assert!(path::compare(&pair[0].path, &pair[1].path).is_lt());
            }
            let found = items.into_iter().map(|item| (item.path, item.kind == ItemKind::Directory));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected.clone());
        }
    }
}

#[test]
fn hostile_names_are_listed_as_they_are() {
    let names: [&[u8]; 9] =
        [b"\x01", b"\n", b" ", b"*", b"--help", b"-rf", b"...", b"a\\", b"\xff\xfe"];
    let grown = Grown::new(&[]);
    for name in names {
        std::fs::write(grown.at(name), "").unwrap();
    }
    let mut sorted = names.map(<[u8]>::to_vec);
    sorted.sort();
    let listed: Vec<_> =
        grown.items(&DirectoryOptions::default()).into_iter().map(|item| item.path).collect();
    assert_eq!(listed, sorted);
}

/// With this little memory 20,000 names need 300 runs, so they are merged in two rounds, and nested
/// directories with many names share the file.
#[test]
fn names_that_are_too_many_for_memory_come_in_the_same_order() {
    let grown = Grown::new(&[]);
    let mut last = grown.root();
    for depth in 0..3 {
        for number in 0..[20_000, 3_000, 500][depth] {
            std::fs::write(last.join(format!("{}", (number * 7919) % 20_011)), "").unwrap();
        }
        last = last.join("2-directory");
        std::fs::create_dir(&last).unwrap();
    }
    let in_memory = grown.items(&DirectoryOptions::default());
    assert_eq!(in_memory.len(), 23_503);
    let spill_dir = tempfile::tempdir().unwrap();
    let options = DirectoryOptions {
        memory_bytes: 2 << 10,
        spill_dir: spill_dir.path().to_owned(),
        ..DirectoryOptions::default()
    };
    let mut walk = grown.walk(&options);
    let mut names = std::fs::read_dir(spill_dir.path()).unwrap();
    assert!(names.next().is_none(), "the temporary file has no name");
    let spilled: Vec<Item> = all(&mut walk).unwrap();
    assert!(spilled == in_memory, "the order differs");
}

#[test]
fn without_a_place_for_the_temporary_file_it_is_said_which() {
    let paths: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let grown = Grown::new(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let options = DirectoryOptions {
        memory_bytes: 100,
        spill_dir: "/nonexistent/spill".into(),
        ..DirectoryOptions::default()
    };
    let error = crate::grown::failure(open(&grown.root(), &options));
    assert!(error.to_string().contains("/nonexistent/spill"), "{error}");
}
