//! What a push has written so far.

use freestone_core::{Id, Sha1};
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

/// Counts of what a push has written, which other threads read meanwhile.
#[derive(Default)]
pub struct Written {
    /// Bytes of packs and segments.
    pub bytes: AtomicU64,
    /// Records.
    pub records: AtomicU64,
}
