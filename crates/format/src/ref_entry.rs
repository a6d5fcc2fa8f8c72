//! Entries of a ref's log, and how refs are named.
//!
//! ```text
//! magic "FSREFLG1" | extensions | kind u8: 1 set, 2 delete | ref name | log id 16 | n
//! revision 32, zeros for a deletion | hash of entry n−1, zeros for the first | time i64
//! hash of all the bytes before
//! ```
//! An entry is in a file of its own, at one of the ref's [places](crate::ref_place).

use freestone_core::digest::{self, context};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, ErrorKind, Id, Result};

const MAGIC: [u8; 8] = *b"FSREFLG1";
/// The longest name of a ref: so that it fits a file's name with every `/` escaped.
pub const NAME_BYTES_MAX: usize = 80;
/// The beginning of the names of pins, which are `hosts/HOST/NAME`.
pub const PINS: &str = "hosts/";

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefAction {
    /// The ref names this revision from now on.
    Set(Id),
    /// The ref names nothing from now on.
    Delete,
}

/// An entry of a ref's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEntry {
    /// What it does.
    pub action: RefAction,
    /// The ref.
    pub name: String,
    /// Random, made by entry 1 and copied since.
    pub log_id: [u8; 16],
    /// Its number, from 1.
    pub n: u64,
    /// The hash of entry n − 1; `None` for the first.
    pub previous: Option<Id>,
    /// When it was made: seconds since 1970.
    pub time: i64,
}

impl RefEntry {
    /// Returns the revision that it sets.
    pub fn revision(&self) -> Option<Id> {
        match self.action {
            RefAction::Set(id) => Some(id),
            RefAction::Delete => None,
        }
    }

    fn body(&self) -> Vec<u8> {
        let none = Id([0; 32]);
        let mut out = Writer::default();
        out.raw(&MAGIC);
        out.string(&[]);
        out.u8(match self.action {
            RefAction::Set(_) => 1,
            RefAction::Delete => 2,
        });
        out.string(self.name.as_bytes());
        out.raw(&self.log_id);
        out.varint(self.n);
        out.id(&self.revision().unwrap_or(none));
        out.id(&self.previous.unwrap_or(none));
        out.i64(self.time);
        out.into_bytes()
    }

    /// Returns the hash of the entry.
    pub fn id(&self) -> Id {
        digest::derived(context::REF_ENTRY, &self.body())
    }

    /// Returns the bytes of the entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend(self.id().0);
        bytes
    }

    /// Reads what [`Self::encode`] writes, and checks that it is an entry of `name`.
    ///
    /// # Errors
    /// It is damaged, or of another ref, or of a later version.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("it is damaged");
        let (body, check) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if digest::derived(context::REF_ENTRY, body) != Id(*check) {
            return Err(damaged());
        }
        Self::decode_body(name, body)
    }

    fn decode_body(name: &str, body: &[u8]) -> Result<Self> {
        let none = Id([0; 32]);
        let mut input = Reader::new(body);
        let magic = input.raw(MAGIC.len())?;
        if magic != MAGIC {
            // The last byte is the version.
            let is_later = magic.starts_with(&MAGIC[..MAGIC.len() - 1]);
            return Err(if is_later {
                Error::newer("it is of a later version")
            } else {
                Error::corrupt("it is not an entry of a ref")
            });
        }
        if !input.extensions()?.is_empty() {
            return Err(Error::newer("it has unknown extensions"));
        }
        let kind = input.u8()?;
        let found = input.string(NAME_BYTES_MAX)?;
        let mut log_id = [0; 16];
        log_id.copy_from_slice(input.raw(16)?);
        let n = input.varint()?;
        let (revision, previous) = (input.id()?, input.id()?);
        let time = input.i64()?;
        input.finish()?;
        if found != name.as_bytes() || n == 0 || (n == 1) != (previous == none) {
            return Err(Error::corrupt("it is the entry of another ref"));
        }
        let action = match kind {
            1 => RefAction::Set(revision),
            2 if revision == none => RefAction::Delete,
            2 => return Err(Error::corrupt("it deletes the ref and names a revision")),
            0 => return Err(Error::corrupt("it is of kind 0")),
            _ => return Err(Error::newer(format!("it is of the unknown kind {kind}"))),
        };
        let previous = (previous != none).then_some(previous);
        Ok(Self { action, name: name.into(), log_id, n, previous, time })
    }
}

/// The hex digits from which on a name can be read as the id of a revision, or as a prefix of one.
pub const PREFIX_DIGITS_MIN: usize = 8;

/// Checks that `name` can be the name of a ref: parts of letters, digits, `.`, `_` and `-`, joined
/// by `/`, at most 80 bytes. A name must have one meaning only, so what a command or git would read
/// in another way is refused:
///
/// - a name of 8 or more hex digits, which is an id or a prefix of one,
/// - `latest`, which is the name of a store's hints,
/// - a name that begins with `-`, which is an option,
/// - `HEAD` and names that end with `_HEAD`, which git keeps beside its branches,
/// - a part that git does not take: one that begins or ends with `.`, contains `..`, or ends with
///   `.lock`.
///
/// # Errors
/// [`ErrorKind::Usage`] if it cannot.
pub fn check_name(name: &str) -> Result<()> {
    let refused = |hint: &str| {
        Err(Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of a ref"))
            .hint(hint.to_owned()))
    };
    if name.len() > NAME_BYTES_MAX || !name.split('/').all(is_part) {
        return refused(
            "a name has parts of A-Z a-z 0-9 . _ - joined by /, none of which begins or ends with \
             a dot, contains two in a row, or ends with .lock; it has at most 80 bytes",
        );
    }
    if is_id_or_prefix(name) {
        return refused("8 or more hex digits name a revision by its id; use other letters, too");
    }
    if name == "latest" || name == "HEAD" || name.ends_with("_HEAD") || name.starts_with('-') {
        return refused(
            "`latest`, `HEAD`, names that end with _HEAD and names that begin with - have another \
             meaning for a command, a store, or git",
        );
    }
    Ok(())
}

/// Checks that `name` can be the name of a ref that is not a pin: a ref that a user sets.
///
/// # Errors
/// [`ErrorKind::Usage`] if it cannot, or begins with `hosts/`.
pub fn check_name_of_user(name: &str) -> Result<()> {
    check_name(name)?;
    if !name.starts_with(PINS) {
        return Ok(());
    }
    let what = format!("{name:?} cannot be set: names that begin with {PINS} are those of pins");
    Err(Error::new(ErrorKind::Usage, what)
        .hint("use another name; on a host, `freestone fetch REV --pin NAME` sets a pin"))
}

/// Returns true if `text` is read as a revision's id or as a prefix of one, never as a ref.
pub fn is_id_or_prefix(text: &str) -> bool {
    text.len() >= PREFIX_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns true if `part` can stand between the slashes of a ref's name.
fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && !part.ends_with('.')
        && !part.contains("..")
        && !part.ends_with(".lock")
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Checks that `part` can be the name of a host or a pin, which is one part of a ref's name. Unlike
/// a whole name it may consist of hex digits, as names of containers do: nothing reads it alone.
///
/// # Errors
/// [`ErrorKind::Usage`] if it cannot.
pub fn check_part(part: &str) -> Result<()> {
    if part.len() <= NAME_BYTES_MAX && is_part(part) && !part.starts_with('-') {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("{part:?} cannot be the name of a host or a pin"))
        .hint("use letters, digits, `.`, `_` and `-`, and no `.` or `-` at the beginning"))
}

/// Returns the folder of a ref's entries.
pub fn folder(name: &str) -> String {
    format!("refs/{}", name.replace('/', "%2F"))
}

/// Returns the ref whose folder under `refs/` is `folder`; `None` if it is not one.
pub fn name_of_folder(folder: &str) -> Option<String> {
    let name = folder.replace("%2F", "/");
    (check_name(&name).is_ok() && name.replace('/', "%2F") == folder).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flip_and_cut_of_an_entry_is_noticed() {
        for action in [RefAction::Set(Id([3; 32])), RefAction::Delete] {
            let entry = RefEntry {
                action,
                name: "sites/www".into(),
                log_id: [5; 16],
                n: 2,
                previous: Some(Id([4; 32])),
                time: -7,
            };
            let bytes = entry.encode();
            assert_eq!(RefEntry::decode("sites/www", &bytes).unwrap(), entry);
            assert!(RefEntry::decode("main", &bytes).is_err());
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    assert!(RefEntry::decode("sites/www", &damaged).is_err());
                }
                assert!(RefEntry::decode("sites/www", &bytes[..at]).is_err());
            }
        }
    }

    #[test]
    fn names_are_checked_and_escaped() {
        for good in ["main", "sites/www", "v1.2_3-x", "a/b/c"] {
            check_name(good).unwrap();
            assert_eq!(
                name_of_folder(folder(good).strip_prefix("refs/").unwrap()).as_deref(),
                Some(good)
            );
        }
        let malformed =
            ["", ".x", "a/.b", "/a", "a/", "a//b", "é", "a b", "a:b", "a%2Fb", "a@1", "a~1"];
        let not_for_git = ["a.", "a..b", "a.lock", "a.lock/b", "HEAD", "FETCH_HEAD", "ORIG_HEAD"];
        let otherwise = ["latest", "-", "-s", "--all"];
        for bad in malformed.iter().chain(&not_for_git).chain(&otherwise) {
            assert_eq!(check_name(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
        for bad in not_for_git.iter().chain(&otherwise) {
            assert_eq!(name_of_folder(&bad.replace('/', "%2F")), None, "{bad}");
        }
        assert_eq!(name_of_folder("a%2fb"), None);
    }

    #[test]
    fn names_of_pins_are_not_set_by_users() {
        for good in ["main", "hosts", "hosts-2/a", "a/hosts/b"] {
            check_name_of_user(good).unwrap();
        }
        for pin in ["hosts/x", "hosts/web-1/www", "hosts/a/b/c"] {
            check_name(pin).unwrap();
            assert_eq!(check_name_of_user(pin).unwrap_err().kind(), ErrorKind::Usage, "{pin}");
        }
        assert!(check_name_of_user("a..b").is_err());
    }

    #[test]
    fn a_name_that_could_be_an_id_is_not_a_ref() {
        let id = Id([0xab; 32]).to_string();
        let upper = id.to_uppercase();
        for bad in ["deadbeef", "DEADBEEF", "20261128", &id[..9], &id[..63], &id, &upper] {
            assert_eq!(check_name(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
            assert_eq!(name_of_folder(bad), None, "{bad}");
        }
        for good in ["deadbee", "deadbeef.x", "site/deadbeef", "2026-11-28", "v20261128"] {
            check_name(good).unwrap();
        }
        check_part("0123456789ab").unwrap();
        assert!(check_part("a/b").is_err());
        assert!(check_part("-a").is_err());
    }
}
