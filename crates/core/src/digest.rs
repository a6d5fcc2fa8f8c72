//! The hashes that name things, and which of them names what.
//!
//! Plain content and chunks are named by plain BLAKE3, so that anyone can check them with
//! `b3sum`. Every other structure is hashed with BLAKE3's `derive_key` mode and a context of its
//! own, so that no structure can be mistaken for another one, or for content.

use crate::{Id, Sha1};
use sha1::Digest as _;

/// The `derive_key` contexts of format version 1. Frozen.
pub mod context {
    /// The hash of a path that decides on which levels of the rope the path starts a node.
    pub const ROPE_LEVEL: &str = "freestone 1 rope level";
    /// A node of a manifest.
    pub const MANIFEST_NODE: &str = "freestone 1 manifest node";
    /// A node of a content tree.
    pub const CONTENT_NODE: &str = "freestone 1 content node";
    /// The record of a content above the chunking threshold; the hash is its content id.
    pub const CONTENT_RECORD: &str = "freestone 1 content record";
    /// The paths and contents of a subtree, without times.
    pub const CONTENT_DIGEST: &str = "freestone 1 content digest";
    /// A revision.
    pub const REVISION: &str = "freestone 1 revision";
    /// An entry of a ref's log.
    pub const REF_ENTRY: &str = "freestone 1 ref entry";
    /// The table of a pack; the hash is the pack's id.
    pub const PACK_TABLE: &str = "freestone 1 pack table";
}

/// Returns the plain BLAKE3 of `bytes`: what `b3sum` prints.
pub fn plain(bytes: &[u8]) -> Id {
    Id(*blake3::hash(bytes).as_bytes())
}

/// Returns the BLAKE3 of `bytes` under one of the [`context`]s.
pub fn derived(context: &str, bytes: &[u8]) -> Id {
    Id(blake3::derive_key(context, bytes))
}

/// A hasher for one of the [`context`]s that is prepared once and hashes many times.
#[derive(Clone)]
pub struct DerivedHash(blake3::Hasher);

impl DerivedHash {
    /// Prepares a hasher for `context`.
    pub fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Returns the hash of `bytes`, the same as [`derived`] returns.
    pub fn hash(&self, bytes: &[u8]) -> Id {
        Id(*self.0.clone().update(bytes).finalize().as_bytes())
    }
}

/// An incremental plain BLAKE3.
#[derive(Default)]
pub struct PlainHasher(blake3::Hasher);

impl PlainHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash of all bytes taken.
    pub fn finish(self) -> Id {
        Id(*self.0.finalize().as_bytes())
    }
}

/// An incremental hash that names contents. It is SHA-1; tests replace it by a weaker one, to see
/// that collisions do no harm.
pub trait NameHasher: Send {
    /// Takes the next bytes.
    fn update(&mut self, bytes: &[u8]);
    /// Returns the name of all bytes taken.
    fn finish(self: Box<Self>) -> Sha1;
}

/// A function that makes the hasher of one content.
pub type NewNameHasher = fn() -> Box<dyn NameHasher>;

#[derive(Default)]
struct Sha1Hasher(sha1::Sha1);

impl NameHasher for Sha1Hasher {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self: Box<Self>) -> Sha1 {
        Sha1(self.0.finalize().into())
    }
}

/// Returns a new SHA-1 hasher: the [`NewNameHasher`] of everything but tests.
pub fn sha1_hasher() -> Box<dyn NameHasher> {
    Box::<Sha1Hasher>::default()
}

/// Returns the SHA-1 of `bytes`.
pub fn sha1(bytes: &[u8]) -> Sha1 {
    Sha1(sha1::Sha1::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_well_known_ones() {
        assert_eq!(sha1(b"abc").to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            plain(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_ne!(derived(context::REVISION, b"x"), derived(context::REF_ENTRY, b"x"));
        let mut hasher = sha1_hasher();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), sha1(b"abc"));
    }
}
