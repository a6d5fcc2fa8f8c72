//! What is remembered of the upstream between commands: since when it cannot be reached, and which
//! revisions are complete here.
//!
//! Both are in the cache. `state` has the lines `reached:` and `unreachable-since:`, in seconds since
//! 1970. `complete/<revision>` holds the name by which the revision was asked for. They are hints
//! for people, and nothing else depends on them.

use crate::cache::folder::CacheFolder;
use freestone_backend::Backend;
use freestone_core::{ErrorKind, Id, Result};
use std::sync::atomic::{AtomicU8, Ordering};

/// The folder of the notes which revisions are complete here.
const COMPLETE: &str = "complete";
/// The longest `state`, and the longest name of a revision that is shown.
const TEXT_BYTES_MAX: u64 = 64 << 10;

const UNKNOWN: u8 = 0;
const REACHED: u8 = 1;
const FAILED: u8 = 2;

/// A revision that was complete here when it was last fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The revision.
    pub id: Id,
    /// The name by which it was asked for.
    pub name: String,
}

pub(crate) struct Reach {
    folder: CacheFolder,
    /// The last outcome in this process.
    seen: AtomicU8,
}

/// What is known of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// When it last answered: seconds since 1970.
    pub reached: Option<u64>,
    /// Since when it does not: seconds since 1970.
    pub unreachable_since: Option<u64>,
}

impl Reach {
    pub(crate) fn new(folder: CacheFolder) -> Self {
        Self { folder, seen: AtomicU8::new(UNKNOWN) }
    }

    /// Returns what is remembered.
    pub(crate) fn last_seen(&self) -> LastSeen {
        let text = self.folder.read("state", TEXT_BYTES_MAX).ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let field = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        LastSeen { reached: field("reached:"), unreachable_since: field("unreachable-since:") }
    }

    fn write(&self, seen: LastSeen) {
        let line = |key: &str, value: Option<u64>| {
            value.map(|value| format!("{key} {value}\n")).unwrap_or_default()
        };
        let text =
            line("reached:", seen.reached) + &line("unreachable-since:", seen.unreachable_since);
        let _ =
            self.folder.make_objects().and_then(|objects| objects.hint("state", text.as_bytes()));
    }

    /// Notes that the upstream answered.
    pub(crate) fn reached(&self) {
        if self.seen.swap(REACHED, Ordering::Relaxed) != REACHED {
            self.write(LastSeen { reached: Some(now()), unreachable_since: None });
        }
    }

    /// Notes that it did not. Returns since when.
    pub(crate) fn failed(&self) -> u64 {
        let before = self.last_seen();
        let since = before.unreachable_since.unwrap_or_else(now);
        if self.seen.swap(FAILED, Ordering::Relaxed) != FAILED || before.unreachable_since.is_none()
        {
            self.write(LastSeen { unreachable_since: Some(since), ..before });
        }
        since
    }

    /// Notes durably that a revision is complete here.
    ///
    /// # Errors
    /// The note cannot be written.
    pub(crate) fn add_complete(&self, id: &Id, name: &str) -> Result<()> {
        let objects = self.folder.make_objects()?;
        self.folder.make_folder(COMPLETE)?;
        let spool = objects.spool_of(name.as_bytes())?;
        let note = note(id);
        spool.file().sync_data().map_err(|error| self.folder.failed("sync", &note, error))?;
        objects.replace(spool, &note)?;
        self.folder.sync_names([COMPLETE].into_iter())
    }

    /// Forgets that revisions are complete here, all but `kept`. A note that stays costs nothing:
    /// whoever reads it checks that it is true.
    pub(crate) fn forget_complete(&self, kept: &[Id]) {
        for complete in self.complete().unwrap_or_default() {
            if !kept.contains(&complete.id) {
                let _ = self.folder.remove(&note(&complete.id));
            }
        }
    }

    /// Lists the revisions that were noted as complete.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub(crate) fn complete(&self) -> Result<Vec<Complete>> {
        let Some(objects) = self.folder.objects()? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for listed in objects.list(COMPLETE)? {
            let id = listed.name.split_once('/').map(|(_, id)| Id::parse(id));
            let Some(Ok(id)) = id else { continue };
            let name = match objects.get(&listed.name, TEXT_BYTES_MAX) {
                Ok(name) => name.unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Storage => return Err(error),
                Err(_) => Vec::new(),
            };
            found.push(Complete { id, name: String::from_utf8_lossy(&name).into_owned() });
        }
        found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(found)
    }

    /// Renders that list for people.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub(crate) fn local(&self) -> Result<Vec<String>> {
        let word = |complete: Complete| {
            let id = complete.id.to_string();
            match complete.name.is_empty() || id.starts_with(&complete.name) {
                true => id[..12].to_owned(),
                false => format!("{} ({})", &id[..12], complete.name),
            }
        };
        Ok(self.complete()?.into_iter().map(word).collect())
    }
}

/// Returns the name of the note that a revision is complete here.
fn note(id: &Id) -> String {
    format!("{COMPLETE}/{id}")
}

fn now() -> u64 {
    freestone_backend::clock::now_ns() / 1_000_000_000
}

/// Renders a time as `2026-05-04T12:00:00Z`.
pub(crate) fn show_time(seconds: u64) -> String {
    // Days to a date of the proleptic Gregorian calendar, after H. Hinnant's `civil_from_days`.
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_files::Folder;
    use freestone_format::header::StoreId;

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(show_time(seconds), text);
        }
    }

    #[test]
    fn since_when_is_remembered_until_the_upstream_answers() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path()).unwrap();
        let cache = CacheFolder::new(store, &StoreId([7; 16]));
        let reach = Reach::new(cache.clone());
        assert_eq!(reach.last_seen(), LastSeen::default());
        reach.reached();
        let since = reach.failed();
        assert_eq!(reach.last_seen().unreachable_since, Some(since));
        // Another process.
        let reach = Reach::new(cache);
        assert_eq!(reach.failed(), since);
        reach.reached();
        assert_eq!(reach.last_seen().unreachable_since, None);
        assert!(reach.last_seen().reached.is_some());
        reach.add_complete(&Id([1; 32]), "main").unwrap();
        reach.add_complete(&Id([2; 32]), "").unwrap();
        assert_eq!(reach.local().unwrap(), ["020202020202", "010101010101 (main)"]);
        reach.forget_complete(&[Id([2; 32])]);
        assert_eq!(reach.complete().unwrap().len(), 1);
    }
}
