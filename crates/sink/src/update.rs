//! Updating a file or device in place: only blocks that differ are written.
//!
//! ```text
//! 1  the head that says *unfinished*, and which image is replaced by which     sync each part
//! 2  from 4096 on: the blocks that differ; a file's new length                 sync
//! 3  the new image's head                                                      sync each part
//! ```
//! As on a [device], sector 0 is at any moment that of the whole old image, or says *unfinished*,
//! or is that of the whole new image; see `crate::head`. To finish an interrupted update, run it
//! again.
//!
//! If the target says which image it holds, and that image's layout can be had, the two layouts
//! show what differs, and only the extents that differ are read at all. Otherwise, and where the
//! target is unfinished, everything is read and compared. Either way a block that is already right
//! is not written.
//!
//! The target is locked during the update in every way that its users lock it: exclusive opening,
//! locks of open file descriptions, which QEMU takes, and `flock`. A file that a loop device is
//! attached to counts as in use, too.

mod hold;
mod medium;

use crate::control::Control;
use crate::device::Fit;
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

/// Returns the layout of the image that begins with a head of 4096 bytes; `None` if the head is not
/// that of a finished image, or the layout cannot be had.
pub type BaseOf<'a> = dyn Fn(&[u8; HEAD_BYTES]) -> Result<Option<Box<dyn Plan>>> + 'a;

/// The outcome of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// The report that every sink gives.
    pub report: SinkReport,
    /// The name of the image that the target held, if its layout was used.
    pub from: Option<String>,
    /// Whether the target was updated in place; a new file was written otherwise.
    pub in_place: bool,
    /// Whether nothing had to be written.
    pub up_to_date: bool,
}

/// Updates the file or device that `path` names, so that it holds `image`, and writes only what
/// differs. A file that does not exist or is empty is written as by [`write()`](crate::write()).
/// From the first write to the last, the target says that it is unfinished.
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if it may not be overwritten, is in use, or is
///   a device that is too short. Nothing was written then.
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be read or written
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - the errors of the plan, of the chunk source and of `base_of`
pub fn update(
    image: &Image<'_>,
    path: &Path,
    overwrite: &Overwrite,
    base_of: &BaseOf<'_>,
    control: &Control<'_>,
) -> Result<Updated> {
    image.length()?;
    let (place, held) = match Target::find(path)? {
        Target::Device(path) => {
            let device = device::open(&path, Fit::of(image.plan), overwrite)?;
            hold::flock(&device, &path)?;
            FileMedium::device(device, path)?
        }
        Target::File(target) => {
            let old = file::check(&target, overwrite)?;
            if old.is_none_or(|old| file::length_of(&old) < HEAD_BYTES as u64) {
                let report = file::write(image, &target, overwrite, control)?;
                return Ok(Updated { report, ..Updated::default() });
            }
            let (place, held) = FileMedium::file(hold::file(&target)?, target.path().to_owned())?;
            // The file may have changed between the check and the lock.
            let mut head = [0; HEAD_BYTES];
            place.read_at(0, &mut head)?;
            if !overwrite.force && !(overwrite.is_ours)(&head) {
                return Err(place
                    .refused("changed during the command, and is not a freestone image any more"));
            }
            (place, held)
        }
    };
    let mut head = [0; HEAD_BYTES];
    place.read_at(0, &mut head)?;
    let base = base_of(&head)?.filter(|base| place.can_hold(base.length(), held));
    in_place(image, &place, held, base.as_deref(), control)
}

/// Runs the update on a target that is locked and has the length `held`.
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
    // Digests need all bytes, so all are compared then.
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
            // The head was written twice.
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
            "the target says that it is unfinished, so guests refuse it: run the same command \
             again",
        ),
    })?;
    Ok(Updated { report, from, in_place: true, up_to_date: false })
}

/// Writes the blocks that differ from the target's, but keeps the first 4096 bytes in memory.
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
        // The kept head starts as zeros.
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

/// Returns the runs of whole blocks that differ, as `differs` says, in the `length` bytes at
/// `offset` of the target. A block of which only a part is in this range counts by that part.
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
