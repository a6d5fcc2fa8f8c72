//! Every Rust file is reached from the root of a program or of a library: what is not is never
//! compiled, and a test in it never runs.

use crate::source::{Tree, crate_names, files_below};
use freestone_testkit::top;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Returns the roots that cargo finds by itself in `tests`, `examples` or `benches` of a crate.
fn found_by_cargo(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let roots = entries.map(|entry| entry.unwrap().path()).filter_map(|path| match path.is_dir() {
        true => Some(path.join("main.rs")).filter(|path| path.exists()),
        false => Some(path).filter(|path| path.extension().is_some_and(|end| end == "rs")),
    });
    roots.collect()
}

/// Returns the roots that the manifest in a directory names, and those that cargo finds by itself.
fn roots(directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let mut roots = vec![directory.join("src/lib.rs"), directory.join("src/main.rs")];
    roots.push(directory.join("build.rs"));
    roots.retain(|path| path.exists());
    for (kind, folder, switch) in [
        ("test", "tests", "autotests"),
        ("example", "examples", "autoexamples"),
        ("bench", "benches", "autobenches"),
        ("bin", "src/bin", "autobins"),
    ] {
        let named = manifest.get(kind).and_then(|value| value.as_array()).into_iter().flatten();
        let paths = named.filter_map(|entry| entry.get("path")?.as_str());
        roots.extend(paths.map(|path| directory.join(path)));
        let package = manifest["package"].as_table().unwrap();
        if package.get(switch).and_then(toml::Value::as_bool) != Some(false) {
            roots.extend(found_by_cargo(&directory.join(folder)));
        }
    }
    roots
}

#[test]
fn every_file_is_compiled() {
    let mut reached = BTreeSet::new();
    let mut there: BTreeSet<PathBuf> =
        files_below(&top().join("tests"), "rs").into_iter().collect();
    let crates = crate_names().into_iter().map(|name| top().join("crates").join(name));
    for directory in crates.chain([top().join("fuzz")]) {
        there.extend(files_below(&directory, "rs"));
        for root in roots(&directory) {
            let tree = Tree::read(&root, true);
            let paths = tree.files.iter().map(|file| top().join(&file.path));
            reached.extend(paths.map(|path| path.canonicalize().unwrap()));
        }
    }
    let is_reached = |path: &PathBuf| reached.contains(&path.canonicalize().unwrap());
    let lost: Vec<_> = there.iter().filter(|path| !is_reached(path)).collect();
    assert!(lost.is_empty(), "neither declared by `mod` nor named in a Cargo.toml: {lost:#?}");
}

/// One program for each theme is enough: each takes its time to be linked.
#[test]
fn the_programs_tests_are_few_programs() {
    let text = std::fs::read_to_string(top().join("crates/cli/Cargo.toml")).unwrap();
    assert!(text.matches("[[test]]").count() <= 6);
}
