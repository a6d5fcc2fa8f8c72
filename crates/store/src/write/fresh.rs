//! What a push has written so far.

use freestone_core::{Error, Id, Result, Sha1};
use freestone_format::record::RecordKind;
use freestone_format::segment::PREFIX_BYTES;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

/// The records that a push wrote and no live segment lists yet.
#[derive(Default)]
pub(super) struct Fresh {
    /// Records, with the lane that they are in.
    pub(super) records: HashMap<(RecordKind, Id), u8>,
    /// The plain BLAKE3s of contents, by SHA-1.
    pub(super) sha1s: HashMap<Sha1, Id>,
    /// Contents that are there as chunks of others, and whose SHA-1s no segment lists yet.
    pub(super) unnamed: Vec<(Id, Sha1)>,
    /// The first bytes of the commits of revisions.
    pub(super) commits: HashMap<Id, [u8; PREFIX_BYTES]>,
}

impl Fresh {
    /// Notes that `sha1` names the content whose plain BLAKE3 is `plain`.
    ///
    /// # Errors
    /// It names another one.
    pub(super) fn name(&mut self, sha1: Sha1, plain: Id) -> Result<()> {
        let known = *self.sha1s.entry(sha1).or_insert(plain);
        if known == plain { Ok(()) } else { Err(collision(&sha1, &known, &plain)) }
    }
}

/// Returns the error for two contents with one SHA-1.
pub(super) fn collision(sha1: &Sha1, known: &Id, new: &Id) -> Error {
    Error::refused(format!(
        "two different contents have the SHA-1 {sha1}: the store has {known}, this one is {new}"
    ))
    .hint("one of the two was made to collide; freestone keeps the one that it has")
}

/// Counts of what a push has written, which other threads read meanwhile.
#[derive(Default)]
pub(super) struct Written {
    /// Bytes of packs and segments; in a dry run, plain bytes of contents.
    pub(super) bytes: AtomicU64,
    /// Records.
    pub(super) records: AtomicU64,
}
