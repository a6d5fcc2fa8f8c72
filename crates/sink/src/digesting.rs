//! Hashing an image on its way to a sink.

use crate::piece::{Consumer, ImagePiece};
use crate::report::Digests;
use crate::turns::Turns;
use freestone_core::Result;
use freestone_core::digest::PlainHasher;
use sha2::{Digest as _, Sha256};
use std::ops::ControlFlow;

/// A consumer that hashes the pieces in order and then passes each on. Each hash function has its
/// own turn, so while one worker is at the second function, the next is at the first.
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
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
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
