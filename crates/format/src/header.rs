//! The file `format`: what the store is, in lines that people can read.
//!
//! ```text
//! freestone store
//! version: 1
//! id: 16 random bytes in hex
//! compatible:            names of features; who does not know one may read and write
//! read-only-compatible:  … may read
//! incompatible:          … may do neither
//! id-key: none           reserved for stores whose ids are keyed
//! check: the plain BLAKE3 of the lines before
//! ```

use freestone_core::{Error, Result, digest};
use std::fmt;

/// The format version that this code reads and writes.
pub const VERSION: u64 = 1;
const FIRST_LINE: &str = "freestone store";
/// The feature of a store that follows an upstream: who does not know it would find it empty.
const UPSTREAM: &str = "upstream";

/// The random id of a store: every cache is keyed by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

impl StoreId {
    /// Reads 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (index, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the file `format` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The store's id.
    pub id: StoreId,
    /// Whether this version may write to it.
    pub writable: bool,
    /// Whether it follows an upstream, which its file `upstream` names.
    pub follows: bool,
}

/// Returns true if `text` was never a header, and is not a damaged one: it is not empty, and has
/// none of the lines of a header.
fn is_something_else(text: &[u8]) -> bool {
    let has = |line: &[u8]| text.windows(line.len()).any(|window| window == line);
    // What a file system leaves of a file that it lost.
    let is_blank = text.iter().all(|byte| *byte == 0);
    let lines = [FIRST_LINE.as_bytes(), b"\ncheck: ", b"\nid: ", b"\nversion: "];
    !is_blank && !lines.into_iter().any(has)
}

impl Header {
    /// Returns the header of a new store.
    pub fn new(id: StoreId) -> Self {
        Self { id, writable: true, follows: false }
    }

    /// Returns the text of the file.
    pub fn encode(&self) -> String {
        let body = format!(
            "{FIRST_LINE}\nversion: {VERSION}\nid: {}\ncompatible:\nread-only-compatible:\n\
             incompatible:{}\nid-key: none\n",
            self.id,
            if self.follows { format!(" {UPSTREAM}") } else { String::new() }
        );
        let check = digest::plain(body.as_bytes());
        format!("{body}check: {check}\n")
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// It is damaged, of a version or with features that this code does not know, or (of kind
    /// [`NotFound`](freestone_core::ErrorKind::NotFound)) no such file at all.
    pub fn decode(text: &[u8]) -> Result<Self> {
        let damaged = || {
            Error::corrupt("the file `format` of the store is damaged")
                .hint("bring it back from a copy of the store")
        };
        if is_something_else(text) {
            let what = "the file `format` is not that of a freestone store";
            return Err(Error::not_found(what).hint(
                "name the place of a store; a web server may send a page for what is not there",
            ));
        }
        let text = std::str::from_utf8(text).map_err(|_| damaged())?;
        if text.lines().next() != Some(FIRST_LINE) {
            return Err(damaged());
        }
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        // The version first: a later one may check itself in another way.
        let version: u64 = field("version").and_then(|v| v.parse().ok()).ok_or_else(damaged)?;
        if version != VERSION {
            return Err(Error::newer(format!(
                "the store is of format version {version}, this program knows {VERSION}"
            )));
        }
        let (body, check) = text.split_at(text.rfind("check: ").ok_or_else(damaged)?);
        if check != format!("check: {}\n", digest::plain(body.as_bytes())) {
            return Err(damaged());
        }
        let incompatible = field("incompatible").ok_or_else(damaged)?;
        let key = field("id-key").ok_or_else(damaged)?;
        let follows = incompatible == UPSTREAM;
        if !(incompatible.is_empty() || follows) || key != "none" {
            return Err(Error::newer(format!(
                "the store uses features that this program does not know: {incompatible} {key}"
            )));
        }
        let writable = field("read-only-compatible").ok_or_else(damaged)?.is_empty();
        let id = StoreId::parse(field("id").ok_or_else(damaged)?).ok_or_else(damaged)?;
        Ok(Self { id, writable, follows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::ErrorKind;

    #[test]
    fn every_flip_of_a_bit_is_noticed_and_later_versions_are_named() {
        let header = Header::new(StoreId([7; 16]));
        let text = header.encode();
        assert_eq!(Header::decode(text.as_bytes()).unwrap(), header);
        let follower = Header { follows: true, ..header.clone() };
        assert_eq!(Header::decode(follower.encode().as_bytes()).unwrap(), follower);
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert!(Header::decode(&bytes).is_err(), "byte {at}");
            }
            assert!(Header::decode(&text.as_bytes()[..at]).is_err());
        }
        let later = text.replace("version: 1", "version: 2");
        let error = Header::decode(later.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let body =
            text[..text.find("check").unwrap()].replace("incompatible:\nid", "incompatible: x\nid");
        let later = format!("{body}check: {}\n", digest::plain(body.as_bytes()));
        assert_eq!(Header::decode(later.as_bytes()).unwrap_err().kind(), ErrorKind::Refused);
        let body =
            text[..text.find("check").unwrap()].replace("only-compatible:", "only-compatible: y");
        let later = format!("{body}check: {}\n", digest::plain(body.as_bytes()));
        assert!(!Header::decode(later.as_bytes()).unwrap().writable);
    }
}
