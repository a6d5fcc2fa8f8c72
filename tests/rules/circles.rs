//! No file of a crate imports a file that, directly or through others, imports it.

use crate::source::{Tree, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The circles that remain, by crate and files from its `src`. Remove the line of each that is
/// broken; add none. A file that moves to another crate takes its line along.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    // An error names ids, and reading an id can fail.
    ("core", &["error.rs", "id.rs", "unreadable.rs"]),
    // A tree makes its cursors.
    ("manifest", &["cursor.rs", "tree.rs"]),
];

/// Where a file imports another: the numbers of both, with one of the paths and its line.
type Edges = BTreeMap<usize, BTreeMap<usize, String>>;

/// Finds which files import which. A module that only hands on what another defines is passed
/// through: neither is it imported, nor does it import that other.
fn edges(tree: &Tree) -> Edges {
    let mut edges = Edges::new();
    for (name, module) in &tree.modules {
        let imports = module.imports.iter();
        // Handed on, unless it is used here, too.
        let used =
            imports.filter(|import| !import.is_public || module.words.contains(&import.name));
        let used = used.map(|import| (&import.path, import.at));
        let paths = module.paths.iter().map(|(path, at)| (path, *at));
        for (path, at) in used.chain(paths) {
            let Some(file) = tree.file_of(name, path) else { continue };
            if file != module.file {
                let line = tree.files[module.file].line(at);
                let note = || format!("{} in line {line}", path.join("::"));
                edges.entry(module.file).or_default().entry(file).or_insert_with(note);
            }
        }
    }
    edges
}

/// Returns the files that `from` leads to.
fn reached(edges: &Edges, from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(file) = left.pop() {
        for next in edges.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(*next) {
                left.push(*next);
            }
        }
    }
    found
}

/// Returns the largest sets of files of which each leads to each other.
fn circles(edges: &Edges) -> BTreeSet<BTreeSet<usize>> {
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        edges.keys().map(|file| (*file, reached(edges, *file))).collect();
    let leads = |from: &usize, to: &usize| reached.get(from).is_some_and(|set| set.contains(to));
    let in_circle = edges.keys().filter(|file| leads(file, file));
    in_circle
        .map(|file| edges.keys().filter(|other| leads(file, other) && leads(other, file)))
        .map(|circle| circle.copied().collect())
        .collect()
}

/// Returns a crate's circles: by files, with a text for each that says what imports what.
fn circles_of(name: &str, trees: &[Tree]) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    for tree in trees {
        let edges = edges(tree);
        let source = format!("crates/{name}/src");
        let file = |number: usize| {
            let path = tree.files[number].path.strip_prefix(&source).unwrap();
            path.to_str().unwrap().to_owned()
        };
        for circle in circles(&edges) {
            let mut text = String::new();
            for from in &circle {
                for (to, note) in edges[from].iter().filter(|(to, _)| circle.contains(to)) {
                    writeln!(text, "    {} -> {}: {note}", file(*from), file(*to)).unwrap();
                }
            }
            let mut files: Vec<String> = circle.iter().map(|number| file(*number)).collect();
            files.sort();
            found.push((files, text));
        }
    }
    found.sort();
    found
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let mut wrong = String::new();
    let mut unneeded: BTreeSet<(&str, &[&str])> = EXCEPTIONS.iter().copied().collect();
    for (name, trees) in sources() {
        for (files, text) in circles_of(name, trees) {
            let known = EXCEPTIONS.iter().find(|(of, known)| of == name && *known == files);
            print!("({name:?}, &{files:?}),\n{text}");
            match known {
                Some(known) => _ = unneeded.remove(known),
                None => writeln!(wrong, "a new circle: ({name:?}, &{files:?})\n{text}").unwrap(),
            }
        }
    }
    for (name, files) in unneeded {
        writeln!(wrong, "broken, so remove it from EXCEPTIONS: ({name:?}, &{files:?})").unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A library of whose files some import each other, by every way that there is.
const LIBRARY: &[(&str, &str)] = &[
    // It declares modules, hands on what they define, and has what one of them uses.
    ("lib.rs", "mod a; mod b; mod c; mod d; mod e; mod f; pub use a::A; pub fn root() {}"),
    ("a.rs", "use crate::root; pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
    // By way of a name that another module hands on, and by a path in the code.
    ("b.rs", "mod in_b; pub use in_b::InB; pub fn b() { crate::c::c(); }"),
    ("b/in_b.rs", "pub struct InB; fn b() { super::b() }"),
    ("c.rs", "use super::b; pub fn c(_: &b::InB) {}"),
    // By an import of all, from a module within a file, and in what a macro is given.
    ("d.rs", "use super::e::*; pub fn d<'a>(_: &'a str) {}"),
    ("e.rs", "pub mod inner { pub fn e() { list!(super::super::d::d); } } pub struct E;"),
    // Not in comments and texts, and not where another crate is meant.
    ("f.rs", r##"use d::D; /* crate::a::A */ const F: &str = r#"crate::a::A"#; // crate::a::A"##),
];

#[test]
fn circles_are_found_whichever_way_files_import_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in LIBRARY {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tree = Tree::read(&folder.path().join("lib.rs"), false);
    let edges = edges(&tree);
    let name = |number: &usize| tree.files[*number].path.file_stem().unwrap().to_str().unwrap();
    let all = edges.iter().flat_map(|(from, to)| to.keys().map(move |to| (from, to)));
    let found: BTreeSet<(&str, &str)> = all.map(|(from, to)| (name(from), name(to))).collect();
    let expected = [("a", "lib"), ("b", "c"), ("in_b", "b"), ("c", "in_b"), ("d", "e"), ("e", "d")];
    assert_eq!(found, BTreeSet::from(expected));
    let circles: Vec<Vec<&str>> =
        circles(&edges).iter().map(|circle| circle.iter().map(name).collect()).collect();
    assert_eq!(circles, [vec!["b", "in_b", "c"], vec!["d", "e"]]);
}
