//! The digests of an image that is not written anywhere.

use crate::control::Control;
use crate::digesting::Digesting;
use crate::image::Image;
use crate::piece::{Consumer, ImagePiece};
use crate::produce::produce;
use crate::report::{Digests, SinkReport};
use freestone_core::Result;
use std::ops::ControlFlow;

/// Computes the digests of `image`, without writing it.
///
/// # Errors
/// The plan or the chunk source fails, or the work was cancelled.
pub fn digest(image: &Image<'_>, control: &Control<'_>) -> Result<(Digests, SinkReport)> {
    let digesting = Digesting::new(&Nowhere);
    let produced = produce(image, &Control { digest: false, ..*control }, &digesting)?;
    let digests = digesting.finish();
    let report = SinkReport {
        length: digests.length,
        checked: produced.chunk_bytes,
        chunks: produced.chunks,
        chunk_bytes: produced.chunk_bytes,
        digests: Some(digests),
        ..SinkReport::default()
    };
    Ok((digests, report))
}

struct Nowhere;

impl Consumer for Nowhere {
    fn take(&self, _: &ImagePiece) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}
