//! Revisions, and the files under `revisions/`.
//!
//! ```text
//! revision:  version u8 = 1 | extensions | root 32 | content digest 32 | entries | bytes |
//!            time i64 | parent count | parent ids | message | label count | (key | value)…, keys
//!            ascending
//! file:      magic "FSREVIS1" | length of the revision u32 | revision | locator
//! locator:   extensions | range count | (pack id 32 | offset | length)…
//! ```
//! A revision's id is the hash of its bytes; the locator is outside it, a hint that says which
//! ranges of which packs hold the nodes that came with the revision.

use super::segment::PREFIX_BYTES;
use freestone_core::digest::{self, context};
use freestone_core::limits::{
    LABEL_BYTES_MAX, LABELS_MAX, MESSAGE_BYTES_MAX, PARENTS_MAX, REVISION_BYTES_MAX,
};
use freestone_core::wire::{Reader, Writer, to_usize};
use freestone_core::{Error, Id, Result};
use std::collections::BTreeMap;

const VERSION: u8 = 1;
const FILE_MAGIC: [u8; 8] = *b"FSREVIS1";
/// Ranges that a locator has at most: it spares reads, and need not name everything.
const RANGES_MAX: u64 = 1 << 14;
/// The longest locator: ids, two varints each, and what stands before them.
pub const LOCATOR_BYTES_MAX: u64 = RANGES_MAX * (32 + 10 + 10) + (8 << 10);

/// An immutable record of what a push made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The manifest's root.
    pub root: Id,
    /// What the manifest holds, times left out.
    pub content_digest: Id,
    /// Entries of the manifest.
    pub entries: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When it was made: seconds since 1970.
    pub time: i64,
    /// The revisions it came from, the first before the others.
    pub parents: Vec<Id>,
    /// What its maker said of it.
    pub message: String,
    /// Labels such as `git.commit`.
    pub labels: BTreeMap<String, String>,
}

/// Hex digits of a label that is taken for a commit, at least: who asks for one gives as many.
const COMMIT_DIGITS_MIN: usize = 8;

/// Returns the first and the last prefix that a commit can have whose id begins with the hex digits
/// `digits`.
pub fn commit_bounds(digits: &str) -> ([u8; PREFIX_BYTES], [u8; PREFIX_BYTES]) {
    let bound = |missing: u8| {
        let mut digits = digits.bytes();
        let mut next = || {
            let digit = digits.next().and_then(|digit| char::from(digit).to_digit(16));
            digit.and_then(|digit| u8::try_from(digit).ok()).unwrap_or(missing)
        };
        std::array::from_fn(|_| next() << 4 | next())
    };
    (bound(0), bound(15))
}

impl Revision {
    /// Returns the bytes of the revision.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION);
        out.string(&[]);
        out.id(&self.root);
        out.id(&self.content_digest);
        out.varint(self.entries);
        out.varint(self.bytes);
        out.i64(self.time);
        out.varint(self.parents.len() as u64);
        self.parents.iter().for_each(|parent| out.id(parent));
        out.string(self.message.as_bytes());
        out.varint(self.labels.len() as u64);
        for (key, value) in &self.labels {
            out.string(key.as_bytes());
            out.string(value.as_bytes());
        }
        out.into_bytes()
    }

    /// Returns the revision's id.
    pub fn id(&self) -> Id {
        digest::derived(context::REVISION, &self.encode())
    }

    /// Returns the first bytes of the commit that the label `git.commit` says, if it is one: by
    /// them an index segment lists the revision.
    pub fn commit_prefix(&self) -> Option<[u8; PREFIX_BYTES]> {
        let commit = self.labels.get("git.commit")?;
        let is_id = commit.len() >= COMMIT_DIGITS_MIN
            && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| commit_bounds(commit).0)
    }

    /// Returns where in an encoded revision the ids of its root and its parents stand, in order;
    /// `None` if it is not a revision.
    pub fn id_places(bytes: &[u8]) -> Option<Vec<usize>> {
        let mut input = Reader::new(bytes);
        input.u8().ok()?;
        input.extensions().ok()?;
        let place = |input: &mut Reader<'_>| {
            let place = bytes.len() - input.remaining();
            input.id().ok().map(|_| place)
        };
        let mut places = vec![place(&mut input)?];
        input.id().ok()?;
        input.varint().ok()?;
        input.varint().ok()?;
        input.i64().ok()?;
        for _ in 0..input.varint().ok()? {
            places.push(place(&mut input)?);
        }
        Some(places)
    }

    /// Returns why the revision cannot be written: too long a message, too many labels, …
    pub fn fault(&self) -> Option<String> {
        if self.message.len() > MESSAGE_BYTES_MAX {
            return Some(format!("the message is longer than {MESSAGE_BYTES_MAX} bytes"));
        }
        if self.labels.len() > LABELS_MAX {
            return Some(format!("there are more than {LABELS_MAX} labels"));
        }
        if self.parents.len() > PARENTS_MAX {
            return Some(format!("there are more than {PARENTS_MAX} parents"));
        }
        let label =
            self.labels.iter().find(|(k, v)| k.is_empty() || k.len() + v.len() > LABEL_BYTES_MAX);
        label.map(|(key, _)| {
            format!("label {key:?} has no key or is longer than {LABEL_BYTES_MAX} bytes")
        })
    }

    /// Reads what [`Self::encode`] writes.
    ///
    /// # Errors
    /// The bytes are not a revision of version 1.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        input.version(VERSION, "a revision")?;
        if !input.extensions()?.is_empty() {
            return Err(Error::newer("a revision with unknown extensions"));
        }
        let (root, content_digest) = (input.id()?, input.id()?);
        let (entries, bytes) = (input.varint()?, input.varint()?);
        let time = input.i64()?;
        let count = input.varint()?;
        if count > PARENTS_MAX as u64 {
            return Err(Error::corrupt("a revision of too many parents"));
        }
        let parents = (0..count).map(|_| input.id()).collect::<Result<_>>()?;
        let message = text(input.string(MESSAGE_BYTES_MAX)?)?;
        let count = input.varint()?;
        if count > LABELS_MAX as u64 {
            return Err(Error::corrupt("a revision of too many labels"));
        }
        let mut labels = BTreeMap::new();
        for _ in 0..count {
            let key = text(input.string(LABEL_BYTES_MAX)?)?;
            let value = text(input.string(LABEL_BYTES_MAX)?)?;
            if labels.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(Error::corrupt("a revision whose labels are out of order"));
            }
            labels.insert(key, value);
        }
        input.finish()?;
        let revision =
            Self { root, content_digest, entries, bytes, time, parents, message, labels };
        match revision.fault() {
            None => Ok(revision),
            Some(fault) => Err(Error::corrupt(format!("a revision is damaged: {fault}"))),
        }
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Error::corrupt("a revision whose text is not UTF-8"))
}

/// A run of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackRange {
    /// The pack.
    pub pack: Id,
    /// Where the run starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Returns the bytes of a file under `revisions/`.
pub fn encode_file(revision: &[u8], locator: &[PackRange]) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(&FILE_MAGIC);
    // A revision is far shorter than 4 GiB: its parts are bounded.
    out.u32(u32::try_from(revision.len()).unwrap_or(u32::MAX));
    out.raw(revision);
    out.string(&[]);
    let locator = &locator[..locator.len().min(to_usize(RANGES_MAX))];
    out.varint(locator.len() as u64);
    for range in locator {
        out.id(&range.pack);
        out.varint(range.offset);
        out.varint(range.length);
    }
    out.into_bytes()
}

/// Reads the revision `id` from its file.
///
/// # Errors
/// The file is damaged, or its revision is not the one that it is named for.
pub fn decode_file(id: &Id, file: &[u8]) -> Result<(Revision, Vec<PackRange>)> {
    let mut input = Reader::new(file);
    let magic = input.raw(FILE_MAGIC.len())?;
    let length = input.u32()? as usize;
    if magic != FILE_MAGIC || length > REVISION_BYTES_MAX {
        return Err(Error::corrupt("the file is not that of a revision"));
    }
    let bytes = input.raw(length)?;
    if digest::derived(context::REVISION, bytes) != *id {
        return Err(Error::corrupt("the file does not hold the revision that it is named for"));
    }
    let revision = Revision::decode(bytes)?;
    let locator = decode_locator(&mut input)?;
    input.finish()?;
    Ok((revision, locator))
}

fn decode_locator(input: &mut Reader<'_>) -> Result<Vec<PackRange>> {
    // Nothing proves the locator, so here damage cannot be distinguished from what is newer; the
    // revision's record in its pack is read then.
    input.extensions().map_err(|_| Error::corrupt("a locator with unknown extensions"))?;
    let count = input.varint()?;
    if count > RANGES_MAX || count > input.remaining() as u64 / 34 {
        return Err(Error::corrupt("a locator that claims more ranges than it holds"));
    }
    (0..count)
        .map(|_| {
            Ok(PackRange { pack: input.id()?, offset: input.varint()?, length: input.varint()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn revision() -> impl Strategy<Value = Revision> {
        (
            prop::collection::vec(any::<[u8; 32]>(), 0..4),
            any::<(u64, u64, i64)>(),
            "\\PC{0,80}",
            prop::collection::btree_map("[a-z.]{1,12}", "\\PC{0,20}", 0..6),
        )
            .prop_map(|(parents, (entries, bytes, time), message, labels)| Revision {
                root: Id([1; 32]),
                content_digest: Id([2; 32]),
                entries,
                bytes,
                time,
                parents: parents.into_iter().map(Id).collect(),
                message,
                labels,
            })
    }

    proptest! {
        #[test]
        fn revisions_and_their_files_round_trip_and_damage_is_noticed(
            revision in revision(), at in any::<prop::sample::Index>(), bit in 0..8u8
        ) {
            let bytes = revision.encode();
            prop_assert_eq!(&Revision::decode(&bytes).unwrap(), &revision);
            let locator = vec![PackRange { pack: Id([9; 32]), offset: 5, length: 77 }];
            let file = encode_file(&bytes, &locator);
            let id = revision.id();
            prop_assert_eq!(decode_file(&id, &file).unwrap(), (revision.clone(), locator));
            let mut damaged = file.clone();
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            if let Ok((decoded, _)) = decode_file(&id, &damaged) {
                prop_assert_eq!(decoded, revision);
            }
            prop_assert!(decode_file(&id, &file[..at]).is_err());
            let _ = Revision::decode(&damaged);
        }
    }
}
