//! Rust's source files as the rules see them: their code without comments, texts and tests, as
//! tokens, and the modules of a crate with what each imports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Returns all files below a directory whose names end with `.EXTENSION`, sorted.
pub fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the names of the directories in `crates/` that are crates.
pub fn crate_names() -> BTreeSet<String> {
    let entries = fs::read_dir(freestone_testkit::top().join("crates")).unwrap();
    let entries = entries.map(Result::unwrap);
    // A crate that is moved leaves its empty directory in other checkouts.
    let crates = entries.filter(|entry| entry.path().join("Cargo.toml").exists());
    crates.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Returns each crate's name with the modules of its library and of its program, tests left out.
pub fn sources() -> &'static BTreeMap<String, Vec<Tree>> {
    static SOURCES: OnceLock<BTreeMap<String, Vec<Tree>>> = OnceLock::new();
    let read = |name: String| {
        let source = freestone_testkit::top().join("crates").join(&name).join("src");
        let roots = ["lib.rs", "main.rs"].map(|root| source.join(root)).into_iter();
        let roots = roots.filter(|root| root.exists());
        (name, roots.map(|root| Tree::read(&root, false)).collect())
    };
    SOURCES.get_or_init(|| crate_names().into_iter().map(read).collect())
}

/// Returns the source with spaces in place of comments and of what is in quotes, byte for byte at
/// the same offset.
pub fn code_of(text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let rest = &text.as_bytes()[at..];
        let before = at.checked_sub(1).map_or(b' ', |at| code[at]);
        let (kept, end) = match rest {
            [b'/', b'/', ..] => (0, line_length(rest)),
            [b'/', b'*', ..] => (0, comment_length(rest)),
            [b'"', ..] => (1, quoted_length(rest)),
            [b'r', b'"' | b'#', ..] if before == b'b' || !is_word(before) => {
                (1, raw_text_length(rest).unwrap_or(1))
            }
            [b'\'', ..] => (1, character_length(text, at)),
            _ => (1, 1),
        };
        for byte in &mut code[at + kept..at + end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += end;
    }
    String::from_utf8(code).unwrap()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Returns the length of `r"..."` or `r#"..."#`; none of a raw identifier such as `r#type`.
fn raw_text_length(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"", &b"#".repeat(hashes)[..]].concat();
    let body = &rest[hashes + 2..];
    let at = body.windows(end.len()).position(|window| window == end)?;
    Some(hashes + 2 + at + end.len())
}

/// Returns the length of a character such as `'x'` or `'\n'`; 1 for the sign of a lifetime.
fn character_length(text: &str, at: usize) -> usize {
    let mut rest = text[at + 1..].char_indices();
    match rest.next() {
        Some((_, '\\')) => {
            rest.next();
            rest.find(|(_, letter)| *letter == '\'').map_or(1, |(end, _)| end + 2)
        }
        Some(_) => match rest.next() {
            Some((end, '\'')) => end + 2,
            _ => 1,
        },
        None => 1,
    }
}

/// A word or a sign of the code.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    /// Where it begins, in bytes.
    pub at: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.bytes().all(is_word) && !self.text.as_bytes()[0].is_ascii_digit()
    }
}

/// Divides code, as of [`code_of`], into its words and signs; `::` is one sign.
pub fn tokens_of(code: &str) -> Vec<Token> {
    let bytes = code.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            byte if is_word(byte) => bytes[at..].iter().take_while(|byte| is_word(**byte)).count(),
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            _ => code[at..].chars().next().unwrap().len_utf8(),
        };
        tokens.push(Token { text: code[at..at + length].into(), at });
        at += length;
    }
    tokens
}

/// Returns the token after the group that opens at `from`.
fn after_group(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &*token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Returns the token after the item, with its attributes, that begins at `from`.
fn after_item(tokens: &[Token], from: usize) -> usize {
    let mut at = from;
    let is_use = |at: usize| {
        let mut words = tokens[at..].iter().take(6).map(|token| &*token.text);
        words.find(|word| !["pub", "(", ")", "crate", "super", "in"].contains(word)) == Some("use")
    };
    while at < tokens.len() && tokens[at].text == "#" {
        at = after_group(tokens, at + 1);
    }
    let ends_with_sign = at < tokens.len() && is_use(at);
    while at < tokens.len() {
        match &*tokens[at].text {
            ";" => return at + 1,
            "{" if !ends_with_sign => return after_group(tokens, at),
            "(" | "[" | "{" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Returns the ranges of bytes that are compiled for tests alone.
pub fn test_ranges(code: &str) -> Vec<std::ops::Range<usize>> {
    let tokens = tokens_of(code);
    let mut ranges = Vec::new();
    let mut at = 0;
    while at + 2 < tokens.len() {
        let is_cfg = tokens[at].text == "#" && tokens[at + 2].text == "cfg";
        if !is_cfg {
            at += 1;
            continue;
        }
        let attribute = &tokens[at..after_group(&tokens, at + 1)];
        let has = |word: &str| attribute.iter().any(|token| token.text == word);
        if has("test") && !has("not") {
            let end = after_item(&tokens, at);
            let last = &tokens[end - 1];
            ranges.push(tokens[at].at..last.at + last.text.len());
            at = end;
        } else {
            at += attribute.len();
        }
    }
    ranges
}

/// A source file.
pub struct SourceFile {
    /// From the top folder.
    pub path: PathBuf,
    pub text: String,
    /// The text with spaces in place of comments and quoted text, and of tests if these are left
    /// out.
    pub code: String,
}

impl SourceFile {
    pub fn read(path: &Path, with_tests: bool) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut code = code_of(&text);
        if !with_tests {
            for range in test_ranges(&code) {
                let blank = |letter: char| if letter == '\n' { '\n' } else { ' ' };
                let blanks: String = code[range.clone()].chars().map(blank).collect();
                if blanks.len() == range.len() {
                    code.replace_range(range, &blanks);
                }
            }
        }
        let path = path.strip_prefix(freestone_testkit::top()).unwrap_or(path).to_owned();
        Self { path, text, code }
    }

    /// Returns the number of the line at an offset, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

/// A path such as `crate::a::B`, by its segments; `*` is the last of a glob.
pub type NamePath = Vec<String>;

/// A name that a `use` brings into a module.
pub struct Import {
    pub path: NamePath,
    pub name: String,
    /// Others may take it from here: `pub use`, `pub(crate) use`, ...
    pub is_public: bool,
    pub at: usize,
}

/// A module: a file or a part of one.
pub struct Module {
    pub file: usize,
    pub children: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Names of what is defined in it.
    pub defined: BTreeSet<String>,
    /// Paths of two segments and more in its code, apart from imports, with their offsets.
    pub paths: Vec<(NamePath, usize)>,
    /// All words of its code, apart from imports.
    pub words: BTreeSet<String>,
}

/// The modules that a root file leads to.
pub struct Tree {
    pub files: Vec<SourceFile>,
    /// By their paths from the root; that of the root is empty.
    pub modules: BTreeMap<NamePath, Module>,
    with_tests: bool,
}

const KEYWORDS_OF_DEFINITIONS: [&str; 8] =
    ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];

impl Tree {
    /// Reads a root, such as `src/lib.rs`, and the files of its modules.
    pub fn read(root: &Path, with_tests: bool) -> Self {
        let mut tree = Self { files: Vec::new(), modules: BTreeMap::new(), with_tests };
        let directory = root.parent().unwrap().to_owned();
        tree.read_file(root, Vec::new(), &directory);
        tree
    }

    /// Reads the file of the module `name`; the files of its children are below `directory`.
    fn read_file(&mut self, path: &Path, name: NamePath, directory: &Path) {
        let file = SourceFile::read(path, self.with_tests);
        let tokens = tokens_of(&file.code);
        let number = self.files.len();
        let text = file.text.clone();
        self.files.push(file);
        let reading = Reading { number, text: &text, path, tokens: &tokens };
        self.read_module(&reading, 0..tokens.len(), name, directory);
    }

    fn read_module(
        &mut self,
        reading: &Reading<'_>,
        range: std::ops::Range<usize>,
        name: NamePath,
        directory: &Path,
    ) {
        let mut module = Module {
            file: reading.number,
            children: BTreeSet::new(),
            imports: Vec::new(),
            defined: BTreeSet::new(),
            paths: Vec::new(),
            words: BTreeSet::new(),
        };
        let tokens = reading.tokens;
        let word = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
        let mut given_path = None;
        let mut at = range.start;
        while at < range.end {
            let before = at.checked_sub(1).map_or("", word);
            let is_module = word(at) == "mod" && tokens.get(at + 1).is_some_and(Token::is_name);
            if word(at) == "#" && word(at + 2) == "path" {
                let quoted = reading.text[tokens[at].at..].split('"').nth(1).unwrap();
                given_path = Some(quoted.to_owned());
                at = after_group(tokens, at + 1);
            } else if is_module && ["{", ";"].contains(&word(at + 2)) {
                let child = word(at + 1).to_owned();
                module.children.insert(child.clone());
                let child_name = [&name[..], std::slice::from_ref(&child)].concat();
                if word(at + 2) == "{" {
                    let end = after_group(tokens, at + 2);
                    self.read_module(reading, at + 3..end - 1, child_name, &directory.join(&child));
                    at = end;
                } else {
                    let below = reading.path.parent().unwrap();
                    let (path, directory) = match given_path.take() {
                        Some(path) => {
                            (below.join(&path), below.join(path).parent().unwrap().into())
                        }
                        None => file_of(directory, &child),
                    };
                    self.read_file(&path, child_name, &directory);
                    at += 3;
                }
            } else if word(at) == "use" && before != "<" && before != "+" {
                let end = after_item(tokens, at);
                let is_public = before == "pub" || before == ")";
                let mut uses = Uses { tokens, at: at + 1, is_public, found: Vec::new() };
                uses.take(Vec::new());
                module.imports.extend(uses.found);
                at = end;
            } else {
                if tokens[at].is_name() {
                    module.words.insert(word(at).into());
                    if KEYWORDS_OF_DEFINITIONS.contains(&before) {
                        module.defined.insert(word(at).into());
                    }
                    let mut path = vec![word(at).to_owned()];
                    let begin = at;
                    while word(at + 1) == "::" && tokens.get(at + 2).is_some_and(Token::is_name) {
                        at += 2;
                        path.push(word(at).into());
                    }
                    if path.len() > 1 && !["::", "."].contains(&before) {
                        module.paths.push((path, tokens[begin].at));
                    }
                }
                at += 1;
            }
        }
        self.modules.insert(name, module);
    }

    /// Finds the file that a path leads to from a module: the one that defines what it names,
    /// whichever modules hand it on. None of what is not this crate's.
    pub fn file_of(&self, from: &[String], path: &[String]) -> Option<usize> {
        self.find(from, path, 0).and_then(|found| match found {
            Found::Item(module) => Some(self.modules[&module].file),
            Found::Module(_) => None,
        })
    }

    /// Finds what a path names, seen from a module.
    fn find(&self, from: &[String], path: &[String], depth: usize) -> Option<Found> {
        if depth > 20 {
            return None;
        }
        let first = path.first()?;
        let mut module = match &**first {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            name => {
                // A child, or what an import has brought.
                match self.find_in(from, name, depth, true)? {
                    Found::Module(module) => module,
                    item => return Some(item),
                }
            }
        };
        for name in &path[1..] {
            module = match &**name {
                "super" => module[..module.len().checked_sub(1)?].to_vec(),
                "self" => module,
                "*" => return Some(Found::Item(module)),
                name => match self.find_in(&module, name, depth, false) {
                    Some(Found::Module(module)) => module,
                    item => return item,
                },
            };
        }
        Some(Found::Module(module))
    }

    /// Finds a name of a module. What it does not know it takes for the module's own, unless the
    /// name may be another crate's.
    fn find_in(
        &self,
        module_name: &[String],
        name: &str,
        depth: usize,
        may_be_foreign: bool,
    ) -> Option<Found> {
        let module = &self.modules[module_name];
        if module.children.contains(name) {
            return Some(Found::Module([module_name, &[name.to_owned()]].concat()));
        }
        let own = || Some(Found::Item(module_name.to_vec()));
        if module.defined.contains(name) {
            return own();
        }
        if let Some(import) = module.imports.iter().find(|import| import.name == name) {
            // `use name::{self}` is of another crate, and would lead here again.
            let is_foreign = import.path[0] == name;
            return if is_foreign { None } else { self.find(module_name, &import.path, depth + 1) };
        }
        for import in module.imports.iter().filter(|import| import.name == "*") {
            let path = &import.path[..import.path.len() - 1];
            if let Some(Found::Module(other)) = self.find(module_name, path, depth + 1)
                && other != module_name
                && self.modules[&other].knows(name)
            {
                return self.find_in(&other, name, depth + 1, false);
            }
        }
        if may_be_foreign { None } else { own() }
    }
}

impl Module {
    fn knows(&self, name: &str) -> bool {
        self.children.contains(name)
            || self.defined.contains(name)
            || self.imports.iter().any(|import| import.is_public && import.name == name)
    }
}

/// What a path names.
enum Found {
    Module(NamePath),
    /// An item of this module.
    Item(NamePath),
}

/// What is read of a file.
struct Reading<'a> {
    number: usize,
    text: &'a str,
    path: &'a Path,
    tokens: &'a [Token],
}

/// Returns the file of a module without a path of its own, and where its children's files are.
fn file_of(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let below = directory.join(name);
    let flat = directory.join(format!("{name}.rs"));
    if flat.exists() { (flat, below) } else { (below.join("mod.rs"), below) }
}

/// Reads what follows `use`.
struct Uses<'a> {
    tokens: &'a [Token],
    at: usize,
    is_public: bool,
    found: Vec<Import>,
}

impl Uses<'_> {
    fn word(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| &*token.text)
    }

    /// Reads one tree: a path, and what its end names.
    fn take(&mut self, mut path: NamePath) {
        let begin = self.tokens[self.at.min(self.tokens.len() - 1)].at;
        if self.word() == "::" {
            // Another crate.
            path.push(String::new());
            self.at += 1;
        }
        loop {
            if self.word() == "{" {
                self.at += 1;
                while self.word() != "}" {
                    self.take(path.clone());
                    if self.word() == "," {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            path.push(self.word().into());
            self.at += 1;
            if self.word() != "::" {
                break;
            }
            self.at += 1;
        }
        let mut name = path.last().unwrap().clone();
        if name == "self" && path.len() > 1 {
            path.pop();
            name = path.last().unwrap().clone();
        }
        if self.word() == "as" {
            self.at += 1;
            name = self.word().into();
            self.at += 1;
        }
        self.found.push(Import { path, name, is_public: self.is_public, at: begin });
    }
}
