//! A public type's name is found by searching for it: it stands in at most two crates.

use crate::source::{SourceFile, sources, tokens_of};
use freestone_testkit::top;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Returns the names of the types that a file defines as `pub`.
fn public_types(file: &SourceFile) -> BTreeSet<String> {
    let tokens = tokens_of(&file.code);
    let words: Vec<&str> = tokens.iter().map(|token| &*token.text).collect();
    let kinds = ["struct", "enum", "union", "trait", "type"];
    let types = words.windows(3).filter(|three| three[0] == "pub" && kinds.contains(&three[1]));
    types.map(|three| three[2].to_owned()).collect()
}

/// Returns the crates in which each public type's name stands.
fn crates_of_names() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, trees) in sources() {
        let files = trees.iter().flat_map(|tree| &tree.files);
        for public in files.flat_map(public_types) {
            found.entry(public).or_default().insert(name.clone());
        }
    }
    found
}

/// Reads the table of `docs/terms.md` that begins with `| type | crates |`, if there is one: names,
/// and the crates of each.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(top().join("docs/terms.md")).unwrap();
    let table = page.split_once("| type | crates | why |").map_or("", |(_, table)| table);
    let rows = table.lines().skip(2);
    let rows = rows.take_while(|row| row.starts_with('|')).map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 3 && !cells[2].is_empty(), "a reason is missing: {row}");
        let crates = cells[1].split(',').map(|word| word.trim().to_owned());
        (cells[0].trim_matches('`').to_owned(), crates.collect())
    });
    rows.collect()
}

#[test]
fn a_public_types_name_stands_in_two_crates_at_most() {
    let allowed = allowed();
    let found = crates_of_names();
    let mut wrong = String::new();
    for (name, crates) in &found {
        if crates.len() > 2 && !allowed.get(name).is_some_and(|known| crates.is_subset(known)) {
            writeln!(
                wrong,
                "{name} is a public type of {crates:?}: give it a name that says which"
            )
            .unwrap();
        }
    }
    for name in allowed.keys() {
        if found.get(name).is_none_or(|crates| crates.len() <= 2) {
            writeln!(wrong, "{name} is in two crates at most: remove it from docs/terms.md")
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
