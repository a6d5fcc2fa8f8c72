//! The pages are wrapped at 100 columns, and functions are documented by what they do.

use crate::source::{SourceFile, files_below, sources};
use freestone_testkit::top;
use std::fmt::Write as _;

const COLUMNS_MAX: usize = 100;
/// How many of a hundred documented functions begin with what they do. It may only become more.
const VERBS_PERCENT_MIN: usize = 90;

/// Words that end like verbs of the third person, and are none where they begin a sentence.
const NO_VERBS: &str = "
    Access Afterwards Alias Always As Bases Bits Blobs Blocks Bytes Chunks Clients Clusters Commands \
    Commits Contents Days Digests Directories Dots Entries Errors Extents Figures Files Formats \
    Frames Has Headers Hints Hours Ids Images Is Items Its Keys Lanes Lengths Less Levels Lines \
    Members Milliseconds Minutes Nanoseconds Nodes Numbers Objects Offsets Options Others Ours \
    Packs Pages Parts Paths Pieces Plus Process Progress Proofs Ranges Records Refs Requests \
    Revisions Rows Seconds Sectors Segments Sizes Slots Stamps Status Tables Texts Theirs Things \
    This Threads Thus Totals Trees Units Us Users Values Various Was Windows Words Workers Yes";

/// Words that are verbs unless one of [`AFTER_NOUNS`] follows.
const VERBS_OR_NOUNS: &str =
    "Counts Labels Limits Links Marks Names Places Runs Steps Stores Sums Times";
const AFTER_NOUNS: &str = "are by of that which";

fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|one| one == word)
}

fn begins_with_verb(documentation: &str) -> bool {
    let mut words = documentation.split(|letter: char| !letter.is_ascii_alphabetic());
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    let is_capital = first.starts_with(|letter: char| letter.is_ascii_uppercase());
    is_capital
        && first.ends_with('s')
        && !has(NO_VERBS, first)
        && !(has(VERBS_OR_NOUNS, first) && has(AFTER_NOUNS, second))
}

/// Whether a line of code, after what documents it, begins a function.
fn is_function(line: &str) -> bool {
    let before = ["pub", "const", "async", "unsafe", "extern", "default", "safe"];
    let words = line.split_whitespace().skip_while(|word| {
        before.contains(word) || word.starts_with("pub(") || word.contains(['"', ')'])
    });
    words.take(1).any(|word| word == "fn")
}

/// Returns the first line of documentation of each documented function, with its number.
fn documented_functions(file: &SourceFile) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut documentation = None;
    // Within an attribute of several lines.
    let mut is_attribute = false;
    for (number, (text, code)) in file.text.lines().zip(file.code.lines()).enumerate() {
        let (text, code) = (text.trim(), code.trim());
        if let Some(line) = text.strip_prefix("///").filter(|_| !text.starts_with("////")) {
            documentation = documentation.or(Some((number + 1, line.trim())));
        } else if is_attribute || code.starts_with('#') {
            is_attribute = !code.ends_with(']');
        } else if !code.is_empty() || text.is_empty() {
            found.extend(documentation.take().filter(|_| is_function(code)));
        }
    }
    found
}

#[test]
fn functions_are_documented_by_what_they_do() {
    let (mut all, mut verbs) = (0, 0);
    for (name, trees) in sources() {
        let (mut of_crate, mut verbs_of_crate) = (0, 0);
        for file in trees.iter().flat_map(|tree| &tree.files) {
            for (line, documentation) in documented_functions(file) {
                of_crate += 1;
                match begins_with_verb(documentation) {
                    true => verbs_of_crate += 1,
                    false => println!("{}:{line}: {documentation}", file.path.display()),
                }
            }
        }
        println!("{name}: {verbs_of_crate} of {of_crate}");
        all += of_crate;
        verbs += verbs_of_crate;
    }
    println!("{verbs} of {all} documented functions begin with a verb: {} %", 100 * verbs / all);
    assert!(
        100 * verbs >= VERBS_PERCENT_MIN * all,
        "{verbs} of {all} documented functions begin with a verb in the third person, which is less \
         than {VERBS_PERCENT_MIN} %; this test, with --nocapture, prints the others"
    );
}

/// Returns the line without the targets of its links, which cannot be broken.
fn without_links(line: &str) -> String {
    let mut parts = line.split("](");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        without += "]";
        without += part.split_once(')').map_or(part, |(_, after)| after);
    }
    without
}

/// Returns the lines of prose that are too long, each with its number.
fn long_lines(page: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (number, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let is_prose = !is_code && !line.starts_with("    ") && !line.trim_start().starts_with('|');
        if is_prose && without_links(line).chars().count() > COLUMNS_MAX {
            found.push((number + 1, line));
        }
    }
    found
}

#[test]
fn prose_is_wrapped() {
    let mut pages = files_below(&top().join("docs"), "md");
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| top().join(name)));
    let mut wrong = String::new();
    for path in &pages {
        let page = std::fs::read_to_string(path).unwrap();
        for (number, line) in long_lines(&page) {
            let path = path.strip_prefix(top()).unwrap().display();
            writeln!(wrong, "{path}:{number}: {line}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "lines of prose over {COLUMNS_MAX} columns:\n{wrong}");
}

/// Returns the tests that a page names as `FILE::TEST`.
fn named_tests(page: &str) -> Vec<(&str, &str)> {
    page.split('`').filter_map(|text| text.split_once(".rs::")).collect()
}

#[test]
fn tests_that_the_pages_name_exist() {
    let mut count = 0;
    for path in files_below(&top().join("docs"), "md") {
        let page = std::fs::read_to_string(&path).unwrap();
        for (file, test) in named_tests(&page) {
            let text =
                std::fs::read_to_string(top().join(format!("{file}.rs"))).unwrap_or_default();
            let is_there = text.contains(&format!("fn {test}()"));
            assert!(is_there, "{}: {file}.rs::{test} does not exist", path.display());
            count += 1;
        }
    }
    assert!(count > 50, "{count} tests are named");
}

#[test]
fn verbs_and_long_lines_are_found() {
    let nouns = ["Counts of all", "Bytes", "The count", "counts", "This counts", "`Counts` it", ""];
    assert!(nouns.iter().all(|text| !begins_with_verb(text)));
    let verbs = ["Counts what is there.", "Returns", "Marks it as read", "Does nothing"];
    assert!(verbs.iter().all(|text| begins_with_verb(text)));
    for line in
        ["pub fn a()", "fn a()", "pub(crate) const unsafe fn a()", "pub(in a::b) async fn a()"]
    {
        assert!(is_function(line), "{line}");
    }
    assert!(
        !["pub struct A;", "const A: fn() = b;", "let a = 1;"].iter().any(|line| is_function(line))
    );

    let long = "word ".repeat(30);
    let link = format!("[here](https://{})", "x".repeat(200));
    let page = format!("{link}\n```\n{long}\n```\n| {long} |\n\n    {long}\n{long}\n");
    assert_eq!(long_lines(&page), [(8, &*long)]);
}
