//! The paths of a source that could not be read: the first of them in order, and their number.
//!
//! An error of one path alone is marked by [`Error::at_path`]. A walk that meets such an error
//! collects it here, continues with the other paths, and fails at its end with one error that lists
//! all of them. That error can be collected again, so the list of a walk and the lists of the
//! threads that read its files become one.

use crate::{Error, ErrorKind, path};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The most paths that an error lists; the others are only counted. It bounds the memory, and a
/// longer list does not help the user.
pub const UNREADABLE_LISTED_MAX: usize = 100;

/// A list of the paths of a source that could not be read.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// The first errors in the order of their paths, each with its path.
    first: Vec<(Vec<u8>, Error)>,
    count: u64,
    /// Another error of the source, such as a list of refused paths.
    beside: Option<Error>,
}

impl Unreadable {
    /// Returns true if nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.beside.is_none()
    }

    /// Adds an error of one path of the source, or of a list of paths.
    ///
    /// # Errors
    /// The error itself, if it is about something else than paths of the source.
    pub fn collect(&mut self, mut error: Error) -> Result<(), Error> {
        match error.take_about() {
            About::Else => return Err(error),
            About::Path(path) => {
                self.count += 1;
                self.insert(path, error);
            }
            About::Paths(list) => {
                self.count += list.count;
                for (path, error) in list.first {
                    self.insert(path, error);
                }
                self.beside = self.beside.take().or(list.beside);
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: Vec<u8>, error: Error) {
        let at = self.first.partition_point(|(other, _)| path::compare(other, &path).is_lt());
        if at < UNREADABLE_LISTED_MAX {
            self.first.truncate(UNREADABLE_LISTED_MAX - 1);
            self.first.insert(at, (path, error));
        }
    }

    /// Adds another error of the source, which is reported before the paths. The first one is kept.
    pub fn set_beside(&mut self, error: Error) {
        self.beside.get_or_insert(error);
    }

    /// Returns an error that lists everything that was collected; `None` if nothing was.
    pub fn into_error(mut self) -> Option<Error> {
        if self.count == 0 {
            return self.beside;
        }
        if self.count == 1 && self.beside.is_none() {
            let (path, error) = self.first.pop()?;
            return Some(error.at_path(path));
        }
        let mut lines = Vec::new();
        if let Some(beside) = &self.beside {
            lines.push(beside.message().to_owned());
            lines.extend_from_slice(beside.lines());
        }
        lines.push(match self.count {
            1 => "one path cannot be read:".to_owned(),
            count => format!("{count} paths cannot be read:"),
        });
        for (_, error) in &self.first {
            let mut line = format!("  {error}");
            if let Some(cause) = std::error::Error::source(error) {
                _ = write!(line, ": {cause}");
            }
            lines.push(line);
        }
        let listed = u64::try_from(self.first.len()).unwrap_or(u64::MAX);
        if self.count > listed {
            lines.push(format!("  … and {} more", self.count - listed));
        }
        let text = lines.remove(0);
        let errors = || self.beside.iter().chain(self.first.iter().map(|(_, error)| error));
        let kind = errors().next().map_or(ErrorKind::Failed, Error::kind);
        let hints: BTreeSet<&str> = errors().filter_map(Error::hint_text).collect();
        let hint = hints.into_iter().collect::<Vec<_>>().join("; ");
        let error = Error::new(kind, text).list(lines).about(About::Paths(self));
        Some(if hint.is_empty() { error } else { error.hint(hint) })
    }
}

/// The paths of a source that an error is about.
#[derive(Debug, Default)]
pub(crate) enum About {
    /// No single path: something else, or the whole source.
    #[default]
    Else,
    /// This path alone.
    Path(Vec<u8>),
    /// The paths of this list.
    Paths(Unreadable),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(path: &str) -> Error {
        let cause = std::io::Error::other("denied");
        let error = Error::io(format!("file {path} cannot be opened"), cause);
        error.hint("make it readable").at_path(path.into())
    }

    fn list(paths: &[&str]) -> Unreadable {
        let mut list = Unreadable::default();
        paths.iter().for_each(|path| list.collect(denied(path)).unwrap());
        list
    }

    #[test]
    fn one_path_is_reported_as_it_is_and_several_in_order() {
        assert!(Unreadable::default().into_error().is_none());
        let one = list(&["a"]).into_error().unwrap();
        assert_eq!(one.to_string(), "file a cannot be opened");
        assert!(std::error::Error::source(&one).is_some());
        let mut both = list(&["b", "a/c"]);
        both.collect(one).unwrap();
        let error = both.into_error().unwrap();
        assert_eq!(
            error.to_string(),
            "3 paths cannot be read:\n  file a cannot be opened: denied\n  \
             file a/c cannot be opened: denied\n  file b cannot be opened: denied"
        );
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert_eq!(error.hint_text(), Some("make it readable"));
    }

    #[test]
    fn lists_become_one_and_the_error_beside_them_stays() {
        let mut walk = list(&["b", "d"]);
        walk.set_beside(
            Error::refused("one path cannot be pushed:")
                .list(["  p: a pipe".to_owned()])
                .hint("remove it"),
        );
        let mut all = list(&["c"]);
        all.collect(walk.into_error().unwrap()).unwrap();
        let error = all.into_error().unwrap();
        assert!(error.to_string().starts_with("one path cannot be pushed:\n  p: a pipe\n3 paths"));
        assert_eq!(error.message(), "one path cannot be pushed:");
        assert_eq!(error.lines().len(), 5);
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.hint_text(), Some("make it readable; remove it"));
        assert!(Unreadable::default().collect(Error::corrupt("pack")).is_err());
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_counted() {
        let names: Vec<String> =
            (0..UNREADABLE_LISTED_MAX + 7).map(|n| format!("{n:03}")).collect();
        let names: Vec<&str> = names.iter().rev().map(|name| &**name).collect();
        let list = list(&names);
        assert_eq!(list.first.len(), UNREADABLE_LISTED_MAX);
        let text = list.into_error().unwrap().to_string();
        assert!(text.contains("file 000 cannot") && text.contains("file 099 cannot"), "{text}");
        assert!(text.starts_with("107 paths") && text.ends_with("\n  … and 7 more"), "{text}");
    }
}
