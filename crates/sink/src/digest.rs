//! The digests of an image, alone or on its way to another sink.

use crate::control::{Control, Report};
use crate::image::Image;
use crate::turns::Turns;
use crate::windows::{Consumer, Piece, produce};
use freestone_core::digest::PlainHasher;
use freestone_core::{Id, Result};
use sha2::{Digest as _, Sha256};
use std::ops::ControlFlow;

/// What `b3sum` and `sha256sum` print of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Its length in bytes.
    pub length: u64,
    /// Its plain BLAKE3.
    pub blake3: Id,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// The digests of `image`, which is written nowhere.
///
/// # Errors
/// What the plan or the chunk source return, or that it was cancelled.
pub fn digest(image: &Image<'_>, control: &Control<'_>) -> Result<(Digests, Report)> {
    let digesting = Digesting::new(&Nowhere);
    let produced = produce(image, &Control { digest: false, ..*control }, &digesting)?;
    let digests = digesting.finish();
    let report = Report {
        length: digests.length,
        checked: produced.chunk_bytes,
        chunks: produced.chunks,
        chunk_bytes: produced.chunk_bytes,
        digests: Some(digests),
        ..Report::default()
    };
    Ok((digests, report))
}

struct Nowhere;

impl Consumer for Nowhere {
    fn take(&self, _: &Piece) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Hashes the pieces in order and then passes each on. The hashes have a turn each, so while one
/// worker is at the second, the next is at the first.
pub(crate) struct Digesting<'a> {
    blake3: Turns<(PlainHasher, u64)>,
    sha256: Turns<Sha256>,
    then: &'a dyn Consumer,
}

impl<'a> Digesting<'a> {
    pub fn new(then: &'a dyn Consumer) -> Self {
        Self {
            blake3: Turns::new((PlainHasher::default(), 0)),
            sha256: Turns::new(Sha256::new()),
            then,
        }
    }

    pub fn finish(self) -> Digests {
        let (blake3, length) = self.blake3.into_inner();
        let sha256 = self.sha256.into_inner().finalize().into();
        Digests { length, blake3: blake3.finish(), sha256 }
    }
}

impl Consumer for Digesting<'_> {
    fn take(&self, piece: &Piece) -> Result<ControlFlow<()>> {
        let turn = self.blake3.take(piece, |(hasher, length)| {
            *length += piece.length;
            piece.bytes(|bytes| {
                hasher.update(bytes);
                Ok(())
            })
        })?;
        if turn.is_break() {
            return Ok(turn);
        }
        let turn = self.sha256.take(piece, |hasher| {
            piece.bytes(|bytes| {
                hasher.update(bytes);
                Ok(())
            })
        })?;
        if turn.is_break() {
            return Ok(turn);
        }
        self.then.take(piece)
    }

    fn stop(&self) {
        self.blake3.stop();
        self.sha256.stop();
        self.then.stop();
    }
}
