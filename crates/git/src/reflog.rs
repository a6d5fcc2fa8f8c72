//! The logs of refs, which say what a ref pointed at before.

use crate::own_file;
use crate::refs::Refs;
use freestone_core::Result;
use gix_hash::ObjectId;

/// The longest log that is read.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// The message of a checkout, before the name of the branch that was left.
const MOVED_FROM: &[u8] = b"checkout: moving from ";

/// The log of a ref.
pub(crate) struct Reflog(Vec<u8>);

/// One change of a ref.
struct LogEntry<'a> {
    before: ObjectId,
    after: ObjectId,
    message: &'a [u8],
}

impl<'a> LogEntry<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (before, rest) = line.split_at_checked(41)?;
        let (after, rest) = rest.split_at_checked(41)?;
        let end = rest.iter().position(|byte| *byte == b'\t').unwrap_or(rest.len());
        Some(Self {
            before: ObjectId::from_hex(before.strip_suffix(b" ")?).ok()?,
            after: ObjectId::from_hex(after.strip_suffix(b" ")?).ok()?,
            message: rest.get(end + 1..).unwrap_or_default(),
        })
    }
}

impl Reflog {
    /// Reads the log of the ref with the full name `name`; `None` if it has none.
    pub(crate) fn read(refs: &Refs, name: &str) -> Result<Option<Self>> {
        Ok(own_file::read(&refs.place("logs", name), LOG_BYTES_MAX)?.map(Self))
    }

    /// Returns the changes, the newest first.
    fn entries(&self) -> impl Iterator<Item = LogEntry<'_>> {
        self.0.rsplit(|byte| *byte == b'\n').filter_map(LogEntry::parse)
    }

    /// Returns the number of changes.
    pub(crate) fn count(&self) -> usize {
        self.entries().count()
    }

    /// Returns what the ref pointed at `back` changes ago; `None` if the log does not go back so
    /// far.
    pub(crate) fn at(&self, back: usize) -> Option<ObjectId> {
        match back.checked_sub(1) {
            None => self.entries().next().map(|entry| entry.after),
            Some(skip) => {
                self.entries().skip(skip).map(|entry| entry.before).find(|id| !id.is_null())
            }
        }
    }

    /// Returns the name that was checked out before the `back`-th last checkout, from 1.
    pub(crate) fn left(&self, back: usize) -> Option<String> {
        let mut moved = self.entries().filter_map(|entry| entry.message.strip_prefix(MOVED_FROM));
        let message = moved.nth(back.checked_sub(1)?)?;
        let end = message.windows(4).position(|part| part == b" to ")?;
        String::from_utf8(message[..end].to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_from_its_end() {
        let id = |n: u8| ObjectId::from([n; 20]);
        let line = |before: u8, after: u8, message: &str| {
            format!("{} {} A U <a@b> 7 +0000\t{message}\n", id(before), id(after))
        };
        let text = [
            line(0, 1, "commit (initial): x"),
            "not a line\n".to_owned(),
            line(1, 2, "checkout: moving from main to side"),
            line(2, 3, "checkout: moving from side to main"),
        ];
        let log = Reflog(text.concat().into_bytes());
        assert_eq!(log.count(), 3);
        let at: Vec<_> = (0..5).map(|back| log.at(back)).collect();
        assert_eq!(at, [Some(id(3)), Some(id(2)), Some(id(1)), None, None]);
        let left: Vec<_> = (0..4).map(|back| log.left(back)).collect();
        assert_eq!(left, [None, Some("side".into()), Some("main".into()), None]);
        assert!(Reflog(Vec::new()).at(0).is_none());
    }
}
