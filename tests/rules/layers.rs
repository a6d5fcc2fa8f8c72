//! The crates use each other only as `docs/architecture.md` says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use freestone_testkit::top;
use std::collections::{BTreeMap, BTreeSet};

/// What a crate's manifest says that it depends on, of freestone's crates; not for its tests.
fn used_by(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(top().join("crates").join(name).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let names = manifest.get("dependencies").and_then(|table| table.as_table()).unwrap().keys();
    names.filter_map(|name| name.strip_prefix("freestone-")).map(String::from).collect()
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
    let crates: BTreeSet<String> = std::fs::read_dir(top().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(crates, allowed.keys().cloned().collect());
    for (name, allowed) in &allowed {
        if allowed.contains("all") {
            continue;
        }
        let used = used_by(name);
        assert!(used.is_subset(allowed), "{name} uses {used:?}, but may use {allowed:?}");
    }
}

#[test]
fn only_the_working_index_knows_rocksdb_and_only_sinks_and_stores_know_disks() {
    for folder in std::fs::read_dir(top().join("crates")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        if name == "working" {
            continue;
        }
        let path = top().join("crates").join(&name).join("Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        assert!(!dependencies.contains_key("rocksdb"), "{name}");
    }
    for name in ["core", "format", "manifest", "image"] {
        let mut files = vec![top().join("crates").join(name).join("src")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests of a pure crate may read files.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for word in ["std::fs", "std::net", "SystemTime", "Instant::now"] {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}
