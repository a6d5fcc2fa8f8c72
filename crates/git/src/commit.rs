//! Decodes a commit.

use freestone_core::{Error, Result, path};
use gix_hash::ObjectId;

/// A commit, with the fields that revisions keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: ObjectId,
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents, the first before the others.
    pub parents: Vec<ObjectId>,
    /// The author and time, as the commit has them: `NAME <MAIL> SECONDS ZONE`.
    pub author: String,
    /// The committer and time, in the same form.
    pub committer: String,
    /// The time of the commit, in seconds since 1970.
    pub time: i64,
    /// Its message.
    pub message: String,
}

fn id_of(hex: &[u8]) -> Option<ObjectId> {
    (hex.len() == 40).then(|| ObjectId::from_hex(hex).ok()).flatten()
}

impl Commit {
    /// Parses the bytes of a commit.
    pub(crate) fn parse(id: ObjectId, bytes: &[u8]) -> Result<Self> {
        let malformed = || Error::corrupt(format!("git commit {id} is malformed"));
        let (mut tree, mut parents) = (None, Vec::new());
        let (mut author, mut committer, mut encoding) = (None, None, None);
        let mut rest = bytes;
        let message = loop {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &[][..]),
            };
            rest = after;
            if line.is_empty() {
                break after;
            }
            // Lines that begin with a space continue a field that is not kept, such as a signature.
            let mut words = line.splitn(2, |byte| *byte == b' ');
            let (key, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match key {
                b"tree" => tree = Some(id_of(value).ok_or_else(malformed)?),
                b"parent" => parents.push(id_of(value).ok_or_else(malformed)?),
                b"author" => author = Some(value),
                b"committer" => committer = Some(value),
                b"encoding" => encoding = Some(value),
                _ => {}
            }
        };
        let (Some(tree), Some(author), Some(committer)) = (tree, author, committer) else {
            return Err(malformed());
        };
        let is_latin = encoding.is_some_and(|name| {
            [&b"iso-8859-1"[..], b"latin1", b"latin-1"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        });
        let text = |bytes: &[u8]| text(bytes, is_latin);
        Ok(Self {
            id,
            tree,
            parents,
            time: time_of(committer),
            author: text(author),
            committer: text(committer),
            message: text(message),
        })
    }

    /// Returns the first line of the message, for people.
    pub fn title(&self) -> String {
        path::display(self.message.lines().next().unwrap_or_default().as_bytes())
    }
}

/// Returns `bytes` as text. Bytes that are not UTF-8 are read as Latin-1 if `is_latin` is true;
/// otherwise each invalid sequence becomes U+FFFD.
fn text(bytes: &[u8], is_latin: bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if is_latin => bytes.iter().map(|byte| char::from(*byte)).collect(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Returns the seconds of `NAME <MAIL> SECONDS ZONE`, or 0 if they are invalid, as git does.
fn time_of(line: &[u8]) -> i64 {
    let after = line.iter().rposition(|byte| *byte == b'>').map_or(line, |at| &line[at + 1..]);
    let text = String::from_utf8_lossy(after);
    text.split_whitespace().next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Commit> {
        Commit::parse(ObjectId::null(gix_hash::Kind::Sha1), text)
    }

    #[test]
    fn what_a_commit_says_is_kept() {
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let text = format!(
            "tree {tree}\nparent {tree}\nauthor A U <a@b> 7 +0100\ncommitter C <c@d> 9 -0230\n\
             gpgsig -----BEGIN\n tree of words\n -----END\n\ntitle\n\nauthor of nothing\n"
        );
        let commit = parse(text.as_bytes()).unwrap();
        assert_eq!(commit.tree.to_string(), tree);
        assert_eq!(commit.parents.len(), 1);
        assert_eq!((&*commit.author, commit.time), ("A U <a@b> 7 +0100", 9));
        assert_eq!(commit.message, "title\n\nauthor of nothing\n");
        let latin = format!("tree {tree}\nauthor x\ncommitter y\nencoding ISO-8859-1\n\n\u{1}");
        let mut latin = latin.into_bytes();
        latin.pop();
        latin.push(0xe9);
        let commit = parse(&latin).unwrap();
        assert_eq!((&*commit.message, commit.time), ("é", 0));
        for bad in ["", "tree x\nauthor a\ncommitter c\n\n", "author a\ncommitter c\n\nm"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for cut in 0..text.len() {
            let _ = parse(&text.as_bytes()[..cut]);
        }
    }
}
