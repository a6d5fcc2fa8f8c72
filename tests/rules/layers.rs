//! The crates use each other only as `docs/architecture.md` says, and none holds too much.

use crate::source::{code_of, crate_names, files_below, test_ranges};
use freestone_testkit::top;
use std::collections::{BTreeMap, BTreeSet};

/// No crate but `cli` holds more of all source lines, tests left out.
const PERCENT_MAX: usize = 15;
/// Crates that hold more all the same. None is added.
const LARGER: &[&str] = &[];
/// Crates that do no I/O.
const PURE: [&str; 4] = ["core", "format", "manifest", "image"];

/// Returns what a crate's manifest says that it depends on; not for its tests.
fn dependencies(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(top().join("crates").join(name).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let table = manifest.get("dependencies").and_then(|table| table.as_table());
    table.into_iter().flat_map(toml::Table::keys).cloned().collect()
}

/// Returns those dependencies of a crate that are freestone's own.
fn used_by(name: &str) -> BTreeSet<String> {
    let names = dependencies(name).into_iter();
    names.filter_map(|name| name.strip_prefix("freestone-").map(String::from)).collect()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let page = std::fs::read_to_string(top().join("docs/architecture.md")).unwrap();
    let rows = page.split_once("| crate | holds | may use |").unwrap().1.lines().skip(2);
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows.take_while(|row| row.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let may_use = cells[2].split(',').map(|word| word.trim().to_string());
        allowed.insert(cells[0].trim_matches('`').into(), may_use.collect());
    }
    for name in crate_names() {
        assert!(
            allowed.contains_key(&name),
            "docs/architecture.md: the table of crates has no row `{name}`"
        );
    }
    for (name, allowed) in &allowed {
        assert!(
            crate_names().contains(name),
            "docs/architecture.md: the table of crates has a row `{name}`, but there is no such crate"
        );
        if allowed.contains("all") {
            continue;
        }
        let used = used_by(name);
        assert!(used.is_subset(allowed), "{name} uses {used:?}, but may use {allowed:?}");
    }
}

#[test]
fn only_the_working_index_knows_rocksdb_and_only_sinks_and_stores_know_disks() {
    for name in crate_names().iter().filter(|name| *name != "working") {
        assert!(!dependencies(name).contains("rocksdb"), "{name}");
    }
    for name in PURE {
        for path in files_below(&top().join("crates").join(name).join("src"), "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests of a pure crate may read files.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for word in ["std::fs", "std::net", "SystemTime", "Instant::now"] {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn formats_depend_on_core_alone() {
    assert_eq!(used_by("format"), BTreeSet::from(["core".to_owned()]));
}

/// Returns the lines of a crate's sources that are not tests.
fn line_count(name: &str) -> usize {
    let files = files_below(&top().join("crates").join(name).join("src"), "rs");
    let lines = files.iter().filter(|path| path.file_name().is_none_or(|name| name != "tests.rs"));
    let lines = lines.map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = code_of(&text);
        let tests = test_ranges(&code).into_iter();
        let of_tests: usize = tests.map(|range| code[range].lines().count()).sum();
        text.lines().count() - of_tests
    });
    lines.sum()
}

#[test]
fn no_crate_but_the_program_holds_too_much() {
    let counts: BTreeMap<String, usize> =
        crate_names().into_iter().map(|name| (name.clone(), line_count(&name))).collect();
    let all: usize = counts.values().sum();
    for (name, count) in &counts {
        println!("{name}: {count} lines, {:.1} %", 100.0 * *count as f64 / all as f64);
        let is_larger = 100 * count > PERCENT_MAX * all && name != "cli";
        match (is_larger, LARGER.contains(&name.as_str())) {
            (true, false) => {
                panic!("{name} has {count} of {all} lines, over {PERCENT_MAX} %: divide it")
            }
            (false, true) => panic!("{name} is small enough now: remove it from LARGER"),
            _ => {}
        }
    }
}
