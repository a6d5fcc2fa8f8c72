//! The page that lists every limit, with its reason.

use crate::source::{crate_names, files_below};
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "\
# Limits

Every length, depth and count that a store, a network or a command line names is bounded. This page
lists the bounds as they stand in the code, each with its reason; a test keeps it up to date. Those
marked *format* are frozen with version 1. [format.md](format.md#limits) lists what a reader of
another program needs.
";

/// A constant that bounds something.
struct Limit {
    name: String,
    value: String,
    why: String,
}

/// Returns the limits that a source file declares, in their order; tests are left out.
fn limits(path: &Path) -> Vec<Limit> {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut why: Vec<&str> = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(doc) = trimmed.strip_prefix("///") {
            why.push(doc.trim());
            continue;
        }
        if trimmed.starts_with("#[") {
            continue;
        }
        let declared = trimmed.find("const ").and_then(|at| trimmed[at + 6..].split_once(':'));
        if let Some((name, rest)) = declared.filter(|(name, _)| name.ends_with("_MAX")) {
            let mut whole = rest.to_owned();
            while !whole.contains(';') {
                whole.push(' ');
                whole.push_str(lines.next().unwrap_or(";").trim());
            }
            let value = whole.split_once('=').map_or("", |(_, value)| value);
            let value = value.trim().trim_end_matches(';').trim();
            assert!(!why.is_empty(), "{}: {name} has no reason", path.display());
            found.push(Limit { name: name.into(), value: value.into(), why: why.join(" ") });
        }
        why.clear();
    }
    found
}

/// Returns text that may stand in a cell of a table: links to items become their names.
fn cell(text: &str) -> String {
    let mut cell = text.replace('|', "\\|");
    while let Some(at) = cell.find("](") {
        let end = cell[at..].find(')').map_or(cell.len(), |end| at + end + 1);
        let link = &cell[at + 2..end.saturating_sub(1)];
        match link.contains("::") {
            true => cell.replace_range(at..end, "]"),
            false => break,
        }
    }
    cell.replace("[`", "`").replace("`]", "`")
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for name in crate_names().into_iter().filter(|name| name != "testkit") {
        let source = freestone_testkit::top().join("crates").join(&name).join("src");
        let mut rows = String::new();
        for path in files_below(&source, "rs") {
            let shown = path.strip_prefix(&source).unwrap().display().to_string();
            for limit in limits(&path) {
                let (value, why) = (cell(&limit.value), cell(&limit.why));
                writeln!(rows, "| `{}` in `{shown}` | `{value}` | {why} |", limit.name).unwrap();
            }
        }
        if !rows.is_empty() {
            writeln!(page, "\n## {name}\n\n| limit | value | reason |\n|---|---|---|").unwrap();
            page.push_str(&rows);
        }
    }
    page
}

#[test]
fn the_page_of_limits_is_complete_and_right() {
    let path = freestone_testkit::top().join("docs/limits.md");
    let page = page();
    if std::env::var_os("FREESTONE_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(kept.lines()).find(|(now, kept)| now != kept);
    assert!(
        page == kept,
        "docs/limits.md is not what the code says: run this test with \
         FREESTONE_UPDATE_SNAPSHOTS=1 and look at what changed. First: {differs:?}",
    );
}
