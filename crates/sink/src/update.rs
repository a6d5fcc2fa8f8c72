//! Bringing a file or device up to date in place: only what differs is written.
//!
//! ```text
//! 1  sector 0, then the rest of the first 4096 bytes: *unfinished*, from what and to what   sync each
//! 2  from 4096 on: what differs                                                             sync
//! 3  the file's new length, the rest of the first 4096 bytes, then sector 0: the new image's  sync each
//! ```
//! As on a [device], sector 0 is at any moment that of the old image, whole then,
//! or says *unfinished*, or is that of the new image, whole then. Killed, it is finished by doing
//! it again.
//!
//! What differs is known from the layouts where the target says which image it holds and that
//! image's layout can be had: then only extents that differ are read at all. Else, and where the
//! target is unfinished, everything is read and compared. Either way no block is written that is
//! right already.
//!
//! The target is locked meanwhile, in every way that its users lock it: exclusive opening and
//! locks of open file descriptions, which QEMU takes, and `flock`. A file that a loop device is
//! attached to is in use too.

mod hold;
mod medium;

use crate::control::Control;
use crate::head::{HEAD_BYTES, KeptHead, put_finished, put_unfinished};
use crate::image::Image;
use crate::overwrite::Overwrite;
use crate::piece::{Consumer, ImagePiece, PieceRun};
use crate::produce::produce;
use crate::report::SinkReport;
use crate::target::Target;
use crate::zeros::{ZEROS, are_zeros};
use crate::{device, file};
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::plan::unfinished_head;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Plan, Result};
use medium::{FileMedium, Medium};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives the layout of the image that a head of 4096 bytes is of; `None` if it is of no finished
/// image, or of one whose layout cannot be had.
pub type BaseOf<'a> = dyn Fn(&[u8; HEAD_BYTES]) -> Result<Option<Box<dyn Plan>>> + 'a;

/// What an update came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// As of every sink.
    pub report: SinkReport,
    /// The image that the target held, if its layout was used.
    pub from: Option<String>,
    /// It was written in place, not anew.
    pub in_place: bool,
    /// Nothing had to be written.
    pub up_to_date: bool,
}

/// Makes the file or device that `path` names hold `image`, writing only what differs. A file that
/// does not exist or is empty is written as by [`write()`](crate::write()).
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if it may not be overwritten, is in use, or
///   is a device that is too short; nothing was written then
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be read or written
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - what the plan, the chunk source and `base_of` return
///
/// From its first write to its last, the target says that it is unfinished.
pub fn update(
    image: &Image<'_>,
    path: &Path,
    overwrite: &Overwrite,
    base_of: &BaseOf<'_>,
    control: &Control<'_>,
) -> Result<Updated> {
    let length = image.length()?;
    let (place, held) = match Target::find(path)? {
        Target::Device(path) => {
            let device = device::open(&path, length, overwrite)?;
            hold::flock(&device, &path)?;
            FileMedium::device(device, path)?
        }
        Target::File(path) => {
            let old = file::check(&path, overwrite)?;
            if old.is_none_or(|old| old.len() < HEAD_BYTES as u64) {
                let report = file::write(image, &path, overwrite, control)?;
                return Ok(Updated { report, ..Updated::default() });
            }
            let (place, held) = FileMedium::file(hold::file(&path)?, path)?;
            // What was looked at before it was locked may have changed since.
            let mut head = [0; HEAD_BYTES];
            place.read_at(0, &mut head)?;
            if !overwrite.force && !(overwrite.is_ours)(&head) {
                return Err(place.refused("changed meanwhile, and is not an image of freestone's"));
            }
            (place, held)
        }
    };
    let mut head = [0; HEAD_BYTES];
    place.read_at(0, &mut head)?;
    let base = base_of(&head)?.filter(|base| place.can_hold(base.length(), held));
    in_place(image, &place, held, base.as_deref(), control)
}

/// The protocol, on a target that is held and whose length is `held`.
fn in_place(
    image: &Image<'_>,
    medium: &dyn Medium,
    held: u64,
    base: Option<&dyn Plan>,
    control: &Control<'_>,
) -> Result<Updated> {
    let length = image.length()?;
    let from = base.map(Plan::identity);
    let to = image.plan.identity();
    // Digests are of all bytes, which are compared then too.
    let base = base.filter(|_| !control.digest);
    if base.is_some() && from.as_ref() == Some(&to) && medium.has_length(length, held) {
        control.watch.set_total(length);
        control.watch.add(length);
        let report = SinkReport { length, ..SinkReport::default() };
        return Ok(Updated { report, from, in_place: true, up_to_date: true });
    }
    control.watch.check()?;
    let unfinished = unfinished_head(from.as_deref(), &to);
    let put = |offset, bytes: &[u8]| {
        medium.write_at(offset, bytes)?;
        medium.sync()
    };
    let outcome = (|| {
        put_unfinished(&unfinished, put)?;
        if medium.is_resizable() && length > held {
            medium.set_length(length)?;
        }
        let consumer = Differing {
            medium,
            base,
            head: KeptHead::new(),
            written: AtomicU64::new(0),
            zeros: AtomicU64::new(0),
            read: AtomicU64::new(0),
        };
        let produced = produce(image, control, &consumer)?;
        control.watch.check()?;
        if medium.is_resizable() && length < held {
            medium.set_length(length)?;
        }
        medium.sync()?;
        put_finished(&consumer.head.into_inner(), put)?;
        Ok(SinkReport {
            length,
            // The first bytes were written twice.
            written: consumer.written.into_inner() + 2 * HEAD_BYTES as u64,
            zeros: consumer.zeros.into_inner(),
            read: consumer.read.into_inner(),
            checked: produced.chunk_bytes,
            chunks: produced.chunks,
            chunk_bytes: produced.chunk_bytes,
            digests: produced.digests,
            ..SinkReport::default()
        })
    })();
    let report = outcome.map_err(|error: Error| match error.hint_text() {
        Some(_) => error,
        None => error.hint(
            "what it was written to says that it is unfinished, and no guest takes it: run the \
             same command again",
        ),
    })?;
    Ok(Updated { report, from, in_place: true, up_to_date: false })
}

/// Writes what differs from what is there, but for the first 4096 bytes, which it keeps.
struct Differing<'a> {
    medium: &'a dyn Medium,
    base: Option<&'a dyn Plan>,
    head: KeptHead,
    written: AtomicU64,
    zeros: AtomicU64,
    read: AtomicU64,
}

impl Differing<'_> {
    fn data(&self, mut offset: u64, mut bytes: &[u8], held: &mut Vec<u8>) -> Result<()> {
        let kept = self.head.keep(offset, bytes);
        (offset, bytes) = (offset + kept as u64, &bytes[kept..]);
        for part in bytes.chunks(ZEROS.len()) {
            held.resize(part.len(), 0);
            self.medium.read_at(offset, held)?;
            self.read.fetch_add(part.len() as u64, Ordering::Relaxed);
            blocks(offset, part.len(), |range| part[range.clone()] != held[range]).try_for_each(
                |range| {
                    let at = offset + range.start as u64;
                    self.written.fetch_add(range.len() as u64, Ordering::Relaxed);
                    self.medium.write_at(at, &part[range])
                },
            )?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn zeros(&self, offset: u64, length: u64, held: &mut Vec<u8>) -> Result<()> {
        let end = offset + length;
        // What the kept head is made of is zeros already.
        let mut at = offset.max(HEAD_BYTES as u64);
        while at < end {
            at = self.medium.next_data(at).min(end);
            let part = to_usize(end - at).min(ZEROS.len());
            held.resize(part, 0);
            self.medium.read_at(at, held)?;
            self.read.fetch_add(part as u64, Ordering::Relaxed);
            blocks(at, part, |range| !are_zeros(&held[range])).try_for_each(|range| {
                self.zeros.fetch_add(range.len() as u64, Ordering::Relaxed);
                self.medium.zero(at + range.start as u64, range.len() as u64)
            })?;
            at += part as u64;
        }
        Ok(())
    }
}

/// The stretches of whole blocks that differ, as `differs` says, of `length` bytes at `offset` of
/// the target. Of a block that only a part lies there of, that part counts.
fn blocks(
    offset: u64,
    length: usize,
    differs: impl Fn(Range<usize>) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let mut stretch: Option<Range<usize>> = None;
        while at < length {
            let here = offset + at as u64;
            let end = length.min(at + to_usize(BLOCK_BYTES - here % BLOCK_BYTES));
            let is_different = differs(at..end);
            match &mut stretch {
                Some(open) if is_different => open.end = end,
                Some(_) => break,
                None if is_different => stretch = Some(at..end),
                None => {}
            }
            at = end;
        }
        stretch
    })
}

impl Consumer for Differing<'_> {
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
        let mut held = Vec::new();
        for (offset, run) in piece.runs() {
            match run {
                PieceRun::Data(bytes) => self.data(offset, bytes, &mut held)?,
                PieceRun::Zeros(length) => self.zeros(offset, length, &mut held)?,
                PieceRun::Done => {}
            }
        }
        self.medium.start_writing(piece.offset, piece.length);
        Ok(ControlFlow::Continue(()))
    }

    fn base(&self) -> Option<&dyn Plan> {
        self.base
    }
}

#[cfg(test)]
mod tests;
