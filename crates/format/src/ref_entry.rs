//! Entries of a ref's log, and how refs are named.
//!
//! ```text
//! magic "FSREFLG1" | extensions | kind u8: 1 set, 2 delete | ref name | log id 16 | n
//! revision 32, zeros for a deletion | hash of entry n−1, zeros for the first | time i64
//! hash of all the bytes before
//! ```
//! Entry n of ref R is the file `refs/R/K`, where K is 2^63 − n in 16 hex digits, so that the
//! newest comes first in a listing; a `/` of the name is written `%2F`.

use freestone_core::digest::{self, context};
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, ErrorKind, Id, Result};

const MAGIC: [u8; 8] = *b"FSREFLG1";
/// The longest name of a ref: so that it fits a file's name with every `/` escaped.
pub const NAME_BYTES_MAX: usize = 80;
const KEY_TOP: u64 = 1 << 63;

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
    /// The revision that it sets.
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

    /// The hash of the entry.
    pub fn id(&self) -> Id {
        digest::derived(context::REF_ENTRY, &self.body())
    }

    /// The bytes of the entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend(self.id().0);
        bytes
    }

    /// Reads what [`Self::encode`] writes, and checks that it is entry `n` of `name`.
    ///
    /// # Errors
    /// It is damaged, or another entry, or of a later version.
    pub fn decode(name: &str, n: u64, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt(format!("entry {n} of ref {name} {what}"));
        let (body, check) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("is cut off"))?;
        if digest::derived(context::REF_ENTRY, body) != Id(*check) {
            return Err(damaged("is damaged"));
        }
        Self::decode_body(name, n, body)
            .map_err(|error| error.context(format!("entry {n} of ref {name}")))
    }

    fn decode_body(name: &str, n: u64, body: &[u8]) -> Result<Self> {
        let none = Id([0; 32]);
        let mut input = Reader::new(body);
        let magic = input.raw(MAGIC.len())?;
        if magic != MAGIC {
            // The last byte is the version.
            let is_later = magic.starts_with(&MAGIC[..MAGIC.len() - 1]);
            return Err(if is_later {
                Error::newer("it is of a later version")
            } else {
                Error::corrupt("it is no entry of a ref")
            });
        }
        if !input.extensions()?.is_empty() {
            return Err(Error::newer("it has unknown extensions"));
        }
        let kind = input.u8()?;
        let found = input.string(NAME_BYTES_MAX)?;
        let mut log_id = [0; 16];
        log_id.copy_from_slice(input.raw(16)?);
        let number = input.varint()?;
        let (revision, previous) = (input.id()?, input.id()?);
        let time = input.i64()?;
        input.finish()?;
        if found != name.as_bytes() || number != n || (n == 1) != (previous == none) {
            return Err(Error::corrupt("it is the entry of another place"));
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

/// Checks that `name` can be a ref's: parts of letters, digits, `.`, `_`, `-`, joined by `/`,
/// none beginning with `.`, not `latest`, at most 80 bytes.
///
/// # Errors
/// [`ErrorKind::Usage`] if it cannot.
pub fn check_name(name: &str) -> Result<()> {
    let part_is_good = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if name.len() <= NAME_BYTES_MAX && name != "latest" && name.split('/').all(part_is_good) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of a ref")).hint(
        "a name has parts of A-Z a-z 0-9 . _ - joined by /, none beginning with a dot, \
         at most 80 bytes, and is not `latest`",
    ))
}

/// That `part` is one part of a ref's name.
///
/// # Errors
/// [`ErrorKind::Usage`] if it is none.
pub fn check_part(part: &str) -> Result<()> {
    if check_name(part).is_ok() && !part.contains('/') {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("{part:?} is no name of a host or a pin"))
        .hint("use letters, digits, `.`, `_` and `-`, and no `.` at the beginning"))
}

/// The folder of a ref's entries.
pub fn folder(name: &str) -> String {
    format!("refs/{}", name.replace('/', "%2F"))
}

/// The ref whose folder under `refs/` is `folder`; `None` if that is none.
pub fn name_of_folder(folder: &str) -> Option<String> {
    let name = folder.replace("%2F", "/");
    (check_name(&name).is_ok() && name.replace('/', "%2F") == folder).then_some(name)
}

/// The file name of entry `n`.
pub fn key(n: u64) -> String {
    format!("{:016x}", KEY_TOP.saturating_sub(n))
}

/// The number of the entry whose file name is `key`; `None` if that is none.
pub fn number_of_key(text: &str) -> Option<u64> {
    let n = KEY_TOP.checked_sub(u64::from_str_radix(text, 16).ok()?)?;
    (n > 0 && key(n) == text).then_some(n)
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
            assert_eq!(RefEntry::decode("sites/www", 2, &bytes).unwrap(), entry);
            assert!(RefEntry::decode("sites/www", 3, &bytes).is_err());
            assert!(RefEntry::decode("main", 2, &bytes).is_err());
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    assert!(RefEntry::decode("sites/www", 2, &damaged).is_err());
                }
                assert!(RefEntry::decode("sites/www", 2, &bytes[..at]).is_err());
            }
        }
    }

    #[test]
    fn newer_entries_sort_first() {
        assert!(key(2) < key(1) && key(1 << 40) < key(3));
        assert_eq!(number_of_key(&key(77)), Some(77));
        for bad in ["", "latest", "8000000000000000", "+7fffffffffffffe", "7FFFFFFFFFFFFFFE"] {
            assert_eq!(number_of_key(bad), None, "{bad}");
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
        for bad in
            ["", ".x", "a/.b", "/a", "a/", "a//b", "latest", "é", "a b", "a:b", "a%2Fb", "a@1"]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(name_of_folder("a%2fb"), None);
    }
}
