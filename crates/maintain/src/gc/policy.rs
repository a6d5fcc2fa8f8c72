//! Which entries of refs are kept.

use freestone_format::policy::Keep;
use freestone_format::ref_entry::RefEntry;
use freestone_format::revision::Revision;

/// Returns which of `log`, the entries of a ref with the newest first, are kept, and why. `now`
/// is in seconds since 1970.
pub(super) fn kept(
    keep: &Keep,
    log: &[RefEntry],
    now: i64,
    revision: impl Fn(usize) -> Option<Revision>,
) -> Vec<Option<Why>> {
    let within = keep.within.map(|w| i64::try_from(w.as_secs()).unwrap_or(i64::MAX));
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
        } else if keep.keeps_all() {
            Some(Why::All)
        } else if keep.last.is_some_and(|last| (at as u64) < last) {
            Some(Why::Last)
        } else if within.is_some_and(|within| until >= now.saturating_sub(within)) {
            Some(Why::Within)
        } else if !keep.labels.is_empty()
            && revision(at).is_some_and(|r| keep.labels.iter().any(|label| has(&r, label)))
        {
            Some(Why::Label)
        } else {
            None
        });
    }
    kept
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

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::Id;
    use freestone_format::ref_entry::RefAction;
    use std::time::Duration;

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
        let kept = |keep: Keep| kept(&keep, &log, 1000, |_| None);
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
}
