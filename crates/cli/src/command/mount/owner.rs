//! The owner of the files of a mount.

use std::fs;

/// A user and perhaps a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The number of the user.
    pub(super) uid: u32,
    /// The number of the group, if one is known.
    pub(super) gid: Option<u32>,
}

impl Owner {
    /// Returns the user and group that run the program.
    pub(super) fn mine() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: Some(gid.as_raw()) }
    }

    /// Parses `USER[:GROUP]`, each a number or a name from `/etc/passwd` and `/etc/group`. Without
    /// a group, a user that is given by name brings its primary group.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let unknown = |what: &str, name: &str| {
            format!(
                "there is no {what} {name:?} on this system; give an existing name, or a number"
            )
        };
        let (uid, own) = match user.parse() {
            Ok(uid) => (uid, None),
            Err(_) => {
                let (uid, gid) = find("/etc/passwd", user).ok_or_else(|| unknown("user", user))?;
                (uid, gid)
            }
        };
        let gid = match group {
            None => own,
            Some(group) => match group.parse() {
                Ok(gid) => Some(gid),
                Err(_) => {
                    let found = find("/etc/group", group);
                    Some(found.ok_or_else(|| unknown("group", group))?.0)
                }
            },
        };
        Ok(Self { uid, gid })
    }
}

/// Returns the numbers of `name` in a table of users or groups: its own, and a user's group.
fn find(table: &str, name: &str) -> Option<(u32, Option<u32>)> {
    let text = fs::read_to_string(table).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        let number = fields.nth(1)?.parse().ok()?;
        Some((number, fields.next().and_then(|field| field.parse().ok())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers_or_names() {
        let owner = |uid, gid| Ok(Owner { uid, gid });
        assert_eq!(Owner::parse("7"), owner(7, None));
        assert_eq!(Owner::parse("7:8"), owner(7, Some(8)));
        assert_eq!(Owner::parse("root"), owner(0, Some(0)));
        assert_eq!(Owner::parse("5:root"), owner(5, Some(0)));
        for wrong in ["", "nobody-of-this-name", "7:", "7:no-such-group", "-1"] {
            assert!(Owner::parse(wrong).is_err(), "{wrong}");
        }
    }
}
