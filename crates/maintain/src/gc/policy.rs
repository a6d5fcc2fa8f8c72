//! Which entries of refs are kept.

use freestone_format::ref_entry::RefEntry;
use freestone_format::revision::Revision;
use std::time::Duration;

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

    /// Returns true if labels have to be looked at.
    pub(super) fn needs_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Returns which of `log`, the entries of a ref with the newest first, are kept, and why. `now`
    /// is in seconds since 1970.
    pub(super) fn kept(
        &self,
        log: &[RefEntry],
        now: i64,
        revision: impl Fn(usize) -> Option<Revision>,
    ) -> Vec<Option<Why>> {
        let within = self.within.map(|w| i64::try_from(w.as_secs()).unwrap_or(i64::MAX));
        let mut kept = Vec::with_capacity(log.len());
        for (at, entry) in log.iter().enumerate() {
            // An entry was the newest until the next one came.
            let until = at.checked_sub(1).map_or(i64::MAX, |next| log[next].time);
            let has = |revision: &Revision, (key, value): &(String, Option<String>)| {
                let found = revision.labels.get(key);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            };
            kept.push(if entry.revision().is_none() {
                None
            } else if at == 0 {
                Some(Why::Newest)
            } else if self.keeps_all() {
                Some(Why::All)
            } else if self.last.is_some_and(|last| (at as u64) < last) {
                Some(Why::Last)
            } else if within.is_some_and(|within| until >= now.saturating_sub(within)) {
                Some(Why::Within)
            } else if self.needs_labels()
                && revision(at).is_some_and(|r| self.labels.iter().any(|label| has(&r, label)))
            {
                Some(Why::Label)
            } else {
                None
            });
        }
        kept
    }
}

/// Why an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is the newest of its ref.
    Newest,
    /// Nothing says which entries of its ref are kept, so all are.
    All,
    /// It is one of the last.
    Last,
    /// It was the newest within the period.
    Within,
    /// Its revision has a label.
    Label,
}

/// Which entries of which refs are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Patterns of refs' names, each with what is kept: the first that matches counts. A `*` stands
    /// for any characters but `/`, and `**` for any characters.
    pub patterns: Vec<(String, Keep)>,
    /// What is kept of the other refs.
    pub others: Keep,
}

impl Policy {
    /// Returns what is kept of ref `name`. Of the pins of hosts, all that they name now is.
    pub fn of(&self, name: &str) -> &Keep {
        let found = self.patterns.iter().find(|(pattern, _)| matches(pattern, name));
        found.map_or(&self.others, |(_, keep)| keep)
    }
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
    use freestone_core::Id;
    use freestone_format::ref_entry::RefAction;

    fn log(times: &[i64]) -> Vec<RefEntry> {
        let entry = |(n, time): (usize, &i64)| RefEntry {
            action: RefAction::Set(Id([1; 32])),
            name: "main".into(),
            log_id: [1; 16],
            n: n as u64 + 1,
            previous: (n > 0).then_some(Id([2; 32])),
            time: *time,
        };
        let mut log: Vec<RefEntry> = times.iter().enumerate().map(entry).collect();
        log.reverse();
        log
    }

    #[test]
    fn what_is_asked_for_is_kept_and_the_newest_always() {
        let log = log(&[0, 100, 200, 300, 400]);
        let kept = |keep: Keep| keep.kept(&log, 1000, |_| None);
        assert_eq!(kept(Keep::default())[4], Some(Why::All));
        let last = kept(Keep { last: Some(2), ..Keep::default() });
        assert_eq!(last, [Some(Why::Newest), Some(Why::Last), None, None, None]);
        // The entry of time 200 was the newest until 300.
        let within = Keep { within: Some(Duration::from_secs(700)), ..Keep::default() };
        assert_eq!(
            kept(within),
            [Some(Why::Newest), Some(Why::Within), Some(Why::Within), None, None]
        );
        let nothing = Keep { within: Some(Duration::ZERO), ..Keep::default() };
        assert_eq!(kept(nothing), [Some(Why::Newest), None, None, None, None]);
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
