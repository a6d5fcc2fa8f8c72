//! The policy of a store: which entries of which refs its collections keep.
//!
//! ```text
//! freestone policy
//! ref: a pattern of refs' names
//! last: so many of the newest entries
//! within: seconds
//! label: KEY or KEY=VALUE
//! unused: percent
//! min-age: seconds
//! check: plain BLAKE3 of the lines before
//! ```
//! The lines `last:`, `within:` and `label:` belong to the `ref:` before them; a `ref:` without any
//! keeps all entries. Of the patterns, the first that matches counts; the last is `**`. The object of
//! the n-th policy of a store is `policy/KEY`, with the key of place n of a ref; the newest counts.

use crate::ref_place;
use freestone_core::{Error, Result, digest};
use std::fmt::Write;
use std::time::Duration;

const FIRST_LINE: &str = "freestone policy";
const LAST_KEY: &str = "check: ";

/// The longest policy that is read.
pub const BYTES_MAX: u64 = 1 << 20;

/// Which entries of a ref are kept, besides its newest, which always is. An entry is kept if one of
/// these says so; if none is given, all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest entries.
    pub last: Option<u64>,
    /// The entries that were the newest at some time in this period before now.
    pub within: Option<Duration>,
    /// The entries whose revisions have this label: a key, and a value if it matters.
    pub labels: Vec<(String, Option<String>)>,
}

impl Keep {
    /// Returns true if nothing is given, so that all entries are kept.
    pub fn keeps_all(&self) -> bool {
        self.last.is_none() && self.within.is_none() && self.labels.is_empty()
    }
}

/// Which entries of which refs are kept, and which packs are worth being written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Patterns of refs' names, each with what is kept: the first that matches counts. A `*` stands
    /// for any characters but `/`, and `**` for any characters.
    pub patterns: Vec<(String, Keep)>,
    /// What is kept of the other refs.
    pub others: Keep,
    /// Packs are written again if at least so many percent of their bytes are not needed.
    pub unused_percent: u64,
    /// Packs that were written less long ago are left alone: they may be of a push that is running,
    /// which would have to begin again.
    pub min_age: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            others: Keep::default(),
            unused_percent: 50,
            min_age: Duration::from_secs(24 * 3600),
        }
    }
}

impl Policy {
    /// Returns what is kept of ref `name`. Of the pins of hosts, all that they name now is.
    pub fn of(&self, name: &str) -> &Keep {
        let found = self.patterns.iter().find(|(pattern, _)| matches(pattern, name));
        found.map_or(&self.others, |(_, keep)| keep)
    }

    /// Returns what is wrong with the policy; `None` if it can be kept in a store.
    pub fn fault(&self) -> Option<String> {
        let labels = self.patterns.iter().flat_map(|(_, keep)| &keep.labels);
        let is_line = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        for (key, value) in labels.chain(&self.others.labels) {
            // What is before the first `=` is the key.
            if !is_line(key)
                || key.contains('=')
                || value.as_ref().is_some_and(|v| v.chars().any(char::is_control))
            {
                return Some(format!(
                    "the label {key:?} is empty, or has a character that no key has"
                ));
            }
        }
        let pattern = self.patterns.iter().find(|(pattern, _)| !is_line(pattern));
        if let Some((pattern, _)) = pattern {
            return Some(format!("the pattern {pattern:?} is empty or has control characters"));
        }
        (self.encode().len() as u64 > BYTES_MAX).then(|| "the policy is too long".to_owned())
    }

    /// Returns the text of the policy, which has no [fault](Self::fault).
    pub fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        let others = [("**".to_owned(), self.others.clone())];
        for (pattern, keep) in self.patterns.iter().chain(&others) {
            let _ = writeln!(text, "ref: {pattern}");
            if let Some(last) = keep.last {
                let _ = writeln!(text, "last: {last}");
            }
            if let Some(within) = keep.within {
                let _ = writeln!(text, "within: {}", within.as_secs());
            }
            for (key, value) in &keep.labels {
                let value = value.as_ref().map_or(String::new(), |value| format!("={value}"));
                let _ = writeln!(text, "label: {key}{value}");
            }
        }
        let _ = writeln!(text, "unused: {}", self.unused_percent);
        let _ = writeln!(text, "min-age: {}", self.min_age.as_secs());
        let check = digest::plain(text.as_bytes());
        text + LAST_KEY + &check.to_string() + "\n"
    }

    /// Reads the text of a policy.
    ///
    /// # Errors
    /// It is damaged, or of a later version: it says what this program does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("the policy of the store is damaged");
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let body = text.len().checked_sub(LAST_KEY.len() + 64 + 1).ok_or_else(damaged)?;
        let (body, check) = text.split_at_checked(body).ok_or_else(damaged)?;
        if check != format!("{LAST_KEY}{}\n", digest::plain(body.as_bytes())) {
            return Err(damaged());
        }
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(damaged());
        }
        let mut policy = Self::default();
        for line in lines {
            let (key, value) = line.split_once(": ").ok_or_else(damaged)?;
            let number = || value.parse::<u64>().map_err(|_| damaged());
            let mut keep = policy.patterns.last_mut().map(|(_, keep)| keep);
            let mut keep = || keep.take().ok_or_else(damaged);
            match key {
                "ref" => policy.patterns.push((value.to_owned(), Keep::default())),
                "last" => keep()?.last = Some(number()?),
                "within" => keep()?.within = Some(Duration::from_secs(number()?)),
                "label" => keep()?.labels.push(match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value.to_owned(), None),
                }),
                "unused" => policy.unused_percent = number()?,
                "min-age" => policy.min_age = Duration::from_secs(number()?),
                // What is not known may keep something.
                _ => {
                    return Err(Error::newer(format!(
                        "the policy of the store has a line {key:?}, of a later version"
                    )));
                }
            }
        }
        match policy.patterns.pop() {
            Some((pattern, others)) if pattern == "**" => Ok(Self { others, ..policy }),
            _ => Err(damaged()),
        }
    }
}

/// Returns the name of the object of the n-th policy of a store.
pub fn object_name(n: u64) -> String {
    format!("policy/{}", ref_place::key(n))
}

/// Returns the number of the policy whose object has this name; `None` if it is not one.
pub fn of_object(name: &str) -> Option<u64> {
    ref_place::place_of_key(name.strip_prefix("policy/")?).filter(|n| *n > 0)
}

/// Returns true if `name` matches `pattern`.
fn matches(pattern: &str, name: &str) -> bool {
    // Where the star was that was met last, and how much of the name it has taken.
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize, bool)> = None;
    while n < name.len() || p < pattern.len() {
        match pattern.get(p) {
            Some(b'*') => {
                let is_double = pattern.get(p + 1) == Some(&b'*');
                p += if is_double { 2 } else { 1 };
                star = Some((p, n, is_double));
            }
            Some(byte) if name.get(n) == Some(byte) => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((after, taken, is_double))
                    if taken < name.len() && (is_double || name[taken] != b'/') =>
                {
                    star = Some((after, taken + 1, is_double));
                    (p, n) = (after, taken + 1);
                }
                _ => return false,
            },
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let label = |key: &str, value: Option<&str>| (key.into(), value.map(Into::into));
        Policy {
            patterns: vec![
                ("release/**".into(), Keep::default()),
                ("pr/*".into(), Keep { last: Some(1), ..Keep::default() }),
            ],
            others: Keep {
                last: Some(10),
                within: Some(Duration::from_secs(90)),
                labels: vec![label("a", Some("b=c")), label("d", None)],
            },
            unused_percent: 30,
            min_age: Duration::from_secs(60),
        }
    }

    #[test]
    fn policies_round_trip_and_damage_is_noticed() {
        for policy in [policy(), Policy::default()] {
            assert_eq!(policy.fault(), None);
            let text = policy.encode();
            assert_eq!(Policy::decode(text.as_bytes()).unwrap(), policy);
            for at in 0..text.len() {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= 1;
                assert!(Policy::decode(&damaged).is_err(), "{at}");
                assert!(Policy::decode(&text.as_bytes()[..at]).is_err());
            }
        }
    }

    #[test]
    fn a_line_of_a_later_version_is_not_called_damage() {
        let text = policy().encode();
        let body = text.split_once(LAST_KEY).unwrap().0.to_owned() + "keep-tags: yes\n";
        let check = digest::plain(body.as_bytes());
        let error = Policy::decode(format!("{body}{LAST_KEY}{check}\n").as_bytes()).unwrap_err();
        assert!(error.is_newer(), "{error}");
    }

    #[test]
    fn what_would_be_several_lines_is_a_fault() {
        let mut bad = policy();
        bad.others.labels.push(("a\nlast: 1".into(), None));
        assert!(bad.fault().is_some());
        let mut bad = policy();
        bad.others.labels.push(("a=b".into(), None));
        assert!(bad.fault().is_some());
        let mut bad = policy();
        bad.patterns.push(("a\n".into(), Keep::default()));
        assert!(bad.fault().is_some());
        bad.patterns = vec![(String::new(), Keep::default())];
        assert!(bad.fault().is_some());
    }

    #[test]
    fn objects_are_numbered() {
        assert_eq!(of_object(&object_name(7)), Some(7));
        assert!(object_name(8) < object_name(7));
        for bad in ["policy/", "policy/7", "refs/7ffffffffffffff8", &object_name(0)] {
            assert_eq!(of_object(bad), None, "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_the_shell_does() {
        for (pattern, name, is_match) in [
            ("main", "main", true),
            ("main", "mainline", false),
            ("*", "main", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("sites/*", "sites/www", true),
            ("sites/*", "sites/www/x", false),
            ("sites/**", "sites/www/x", true),
            ("*/www", "sites/www", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "aXbY", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
