//! Patterns of paths that are left out of a source, as in a `.gitignore`.
//!
//! | pattern | leaves out |
//! |---|---|
//! | `*.bak` | files and directories with such a name, anywhere |
//! | `/drafts`, `./drafts`, `notes/old` | that path, counted from the top |
//! | `**/x/y` | `x/y` anywhere |
//! | `cache/` | directories of that name, with their contents |
//! | `!keep.bak` | nothing: it keeps a path that an earlier pattern left out |
//!
//! The last pattern that matches decides. A directory that is left out is not read, so no pattern
//! can keep a path in it. `*` and `?` stand for bytes other than `/`; `[…]`, `{a,b}` and `\` before
//! a special character are supported.

use freestone_core::{Error, ErrorKind, Result};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest file of patterns.
const PATTERN_BYTES_MAX: u64 = 16 << 20;

/// A compiled list of patterns.
pub struct Excludes {
    rules: Vec<Rule>,
    /// The patterns for a name, and the index of each one's rule.
    names: (GlobSet, Vec<usize>),
    /// The patterns for a whole path, and the index of each one's rule.
    paths: (GlobSet, Vec<usize>),
}

struct Rule {
    takes_back: bool,
    directories_only: bool,
}

impl Excludes {
    /// Compiles `patterns`; a later one overrides earlier ones.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a pattern is invalid; the error names it.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self> {
        let mut rules = Vec::with_capacity(patterns.len());
        let mut names = (GlobSetBuilder::new(), Vec::new());
        let mut paths = (GlobSetBuilder::new(), Vec::new());
        for pattern in patterns {
            let text = pattern.as_ref();
            let (rule, whole_path, glob) = parse(text);
            if glob.is_empty() {
                return Err(unusable(text, "matches nothing"));
            }
            if glob.split('/').any(|part| matches!(part, "." | "..")) {
                return Err(unusable(text, "has a part . or .., which no path of a source has"));
            }
            let glob = GlobBuilder::new(glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| unusable(text, &error.kind().to_string()))?;
            let (set, numbers) = if whole_path { &mut paths } else { &mut names };
            set.add(glob);
            numbers.push(rules.len());
            rules.push(rule);
        }
        let built = |set: GlobSetBuilder| {
            set.build().map_err(|error| {
                Error::new(ErrorKind::Usage, "the exclude patterns are too large together")
                    .because(error)
            })
        };
        Ok(Self { rules, names: (built(names.0)?, names.1), paths: (built(paths.0)?, paths.1) })
    }

    /// Returns true if `path` is left out. The directories that contain it must not be left out.
    pub fn leaves_out(&self, path: &[u8], is_directory: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let last = |(set, numbers): &(GlobSet, Vec<usize>), text: &[u8]| {
            let hits = set.matches_candidate(&Candidate::from_bytes(text));
            let numbers = hits.into_iter().map(|hit| numbers[hit]);
            numbers.filter(|number| is_directory || !self.rules[*number].directories_only).max()
        };
        let decisive = last(&self.names, name).max(last(&self.paths, path));
        decisive.is_some_and(|number| !self.rules[number].takes_back)
    }
}

/// Splits `pattern` into its rule, whether its glob is for whole paths, and the glob.
fn parse(pattern: &str) -> (Rule, bool, &str) {
    let (takes_back, rest) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let glob = rest.trim_end_matches('/');
    let directories_only = glob.len() < rest.len();
    let whole_path = glob.contains('/');
    let glob = glob.strip_prefix("./").or_else(|| glob.strip_prefix('/')).unwrap_or(glob);
    (Rule { takes_back, directories_only }, whole_path, glob)
}

fn unusable(pattern: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("pattern \"{}\": {why}", pattern.escape_debug()))
        .hint("patterns are written as in a .gitignore; put \\ before a special character")
}

/// Reads patterns from the file `path`: one per line, in UTF-8. Empty lines and lines that begin
/// with `#` are ignored. Spaces at the end of a line are removed, unless a `\` is before them.
///
/// # Errors
/// The file cannot be read, or ([`ErrorKind::Usage`]) a line is not UTF-8.
pub fn read_patterns(path: &Path) -> Result<Vec<String>> {
    let name = freestone_core::path::display(path.as_os_str().as_bytes());
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(PATTERN_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("{name}: the pattern file does not exist"))
        }
        _ => Error::io(format!("{name}: the pattern file cannot be read"), error),
    })?;
    if bytes.len() as u64 > PATTERN_BYTES_MAX {
        let what = format!("{name}: the pattern file is longer than {PATTERN_BYTES_MAX} bytes");
        return Err(Error::new(ErrorKind::Usage, what));
    }
    patterns(&bytes).map_err(|error| error.context(name))
}

/// Returns the patterns in the text of such a file.
fn patterns(bytes: &[u8]) -> Result<Vec<String>> {
    let mut patterns = Vec::new();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line).map_err(|error| {
            let what = format!("line {} is not UTF-8", index + 1);
            Error::new(ErrorKind::Usage, what).because(error)
        })?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut kept = line.trim_end_matches(' ');
        if kept.len() < line.len() && kept.ends_with('\\') {
            kept = &line[..=kept.len()];
        }
        if !kept.is_empty() && !kept.starts_with('#') {
            patterns.push(kept.to_owned());
        }
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns true if `patterns` leave out `path`, which is a directory if it ends in `/`.
    fn leaves_out(patterns: &[&str], path: &str) -> bool {
        let is_directory = path.ends_with('/');
        let excludes = Excludes::new(patterns).unwrap();
        excludes.leaves_out(path.trim_end_matches('/').as_bytes(), is_directory)
    }

    #[test]
    fn patterns_match_as_in_a_gitignore() {
        for (patterns, path, expected) in [
            (&["*.bak"][..], "a/b/x.bak", true),
            (&["*.bak"], "x.bak/", true),
            (&["*.bak"], "x.bak.txt", false),
            (&["a*c"], "a/c", false),
            (&["drafts"], "a/drafts", true),
            (&["/drafts"], "drafts", true),
            (&["/drafts"], "a/drafts", false),
            (&["./drafts"], "drafts", true),
            (&["a/b"], "a/b", true),
            (&["a/b"], "x/a/b", false),
            (&["a/*"], "a/b", true),
            (&["a/*"], "a/b/c", false),
            (&["a/**"], "a/b/c", true),
            (&["a/**"], "a/", false),
            (&["**/b"], "b", true),
            (&["**/a/b"], "x/y/a/b", true),
            (&["cache/"], "a/cache/", true),
            (&["cache/"], "a/cache", false),
            (&["/a/cache/"], "a/cache/", true),
            (&["?"], "x", true),
            (&["?"], "xy", false),
            (&["[!a]"], "b", true),
            (&["*.{png,jpg}"], "a/b.jpg", true),
            (&["\\!x"], "!x", true),
            (&["\\*"], "x", false),
            (&[], "x", false),
        ] {
            assert_eq!(leaves_out(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        assert!(!leaves_out(&["*.bak", "!keep.bak"], "a/keep.bak"));
        assert!(leaves_out(&["*.bak", "!keep.bak"], "a/other.bak"));
        assert!(leaves_out(&["!keep.bak", "*.bak"], "a/keep.bak"));
        // Patterns of names and patterns of paths have one common order.
        assert!(!leaves_out(&["*.bak", "!/a/x.bak"], "a/x.bak"));
        assert!(leaves_out(&["!/a/x.bak", "*.bak"], "a/x.bak"));
        assert!(
            leaves_out(&["x", "!x/"], "x"),
            "a file is not taken back by a directory's pattern"
        );
    }

    #[test]
    fn any_bytes_are_matched() {
        let excludes = Excludes::new(&["*.bak"]).unwrap();
        assert!(excludes.leaves_out(b"a/\xff\n.bak", false));
        assert!(!excludes.leaves_out(b"a/\xff\n", false));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        for bad in ["a[b", "{a", "x\\", "", "!", "/", "./", "!/", "../x", "a/./b"] {
            let error = Excludes::new(&["fine", bad]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let named = format!("pattern \"{}\"", bad.escape_debug());
            assert!(error.to_string().starts_with(&named), "{error}");
        }
    }

    #[test]
    fn a_file_of_patterns_is_read_by_lines() {
        let text = b"\xef\xbb\xbf# a comment\n*.bak  \r\n\n  lead\ntail\\ \nlast\\  \n\\#x\n!y";
        let expected = ["*.bak", "  lead", "tail\\ ", "last\\ ", "\\#x", "!y"];
        assert_eq!(patterns(text).unwrap(), expected);
        let error = patterns(b"a\n\xff\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("line 2"), "{error}");
        let missing = read_patterns(Path::new("/nonexistent/patterns")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("/nonexistent/patterns"), "{missing}");
    }
}
