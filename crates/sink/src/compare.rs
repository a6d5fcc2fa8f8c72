//! Comparing a file or device with an image.

use crate::control::Control;
use crate::holes::next_data;
use crate::image::Image;
use crate::piece::{Consumer, ImagePiece, PieceRun};
use crate::produce::produce;
use crate::zeros::ZEROS;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first difference between an image and a file or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The offset of the first byte that differs, or the length of the shorter of the two.
    pub offset: u64,
    /// The length of the file or device.
    pub length: u64,
}

/// Returns the first difference between `image` and the file or device `path`. A device may be
/// longer than the image.
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if `path` is neither a file nor a device
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be read
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - the errors of the plan and of the chunk source
pub fn compare(
    image: &Image<'_>,
    path: &Path,
    control: &Control<'_>,
) -> Result<Option<Difference>> {
    let wrong = |error| wrong(path, error);
    let kind = fs::metadata(path).map_err(wrong)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let what = format!("{}: neither a regular file nor a block device", path.display());
        return Err(Error::refused(what));
    }
    let mut file = File::open(path).map_err(wrong)?;
    let length = file.seek(SeekFrom::End(0)).map_err(wrong)?;
    let image_length = image.length()?;
    // They differ at the end of the shorter one, if not before.
    let differs = if kind.is_file() { length != image_length } else { length < image_length };
    let end = if differs { length.min(image_length) } else { u64::MAX };
    let against = Against { file: &file, path, first: AtomicU64::new(end) };
    produce(image, &Control { digest: false, ..*control }, &against)?;
    let offset = against.first.into_inner();
    Ok((offset != u64::MAX).then_some(Difference { offset, length }))
}

/// Returns the first difference like [`compare()`], but reads from the medium: asks the system
/// first to drop the pages of `path` that it has in memory and that nobody else uses.
///
/// # Errors
/// As [`compare()`].
pub fn read_back(
    image: &Image<'_>,
    path: &Path,
    control: &Control<'_>,
) -> Result<Option<Difference>> {
    let file = File::open(path).map_err(|error| wrong(path, error))?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(|errno| wrong(path, errno.into()))?;
    compare(image, path, control)
}

fn wrong(path: &Path, error: io::Error) -> Error {
    Error::io(format!("{}: cannot be read", path.display()), error)
}

struct Against<'a> {
    file: &'a File,
    path: &'a Path,
    /// The offset of the first difference found so far, or the shorter length if the lengths
    /// differ.
    first: AtomicU64,
}

impl Against<'_> {
    /// Returns the offset of the first difference from `run`, which belongs at `offset`.
    fn differs(
        &self,
        offset: u64,
        run: &PieceRun<'_>,
        read: &mut Vec<u8>,
    ) -> io::Result<Option<u64>> {
        let length = match run {
            PieceRun::Data(bytes) => bytes.len() as u64,
            PieceRun::Zeros(length) => *length,
            PieceRun::Done => return Ok(None),
        };
        let end = (offset + length).min(self.first.load(Ordering::Relaxed));
        let mut at = offset;
        while at < end {
            if matches!(run, PieceRun::Zeros(_)) {
                at = next_data(self.file, at).min(end);
            }
            let part = to_usize(end - at).min(ZEROS.len());
            read.resize(part, 0);
            self.file.read_exact_at(read, at)?;
            let expected = match run {
                PieceRun::Data(bytes) => &bytes[to_usize(at - offset)..][..part],
                PieceRun::Zeros(_) | PieceRun::Done => &ZEROS[..part],
            };
            if read.as_slice() != expected {
                let same = read.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Ok(Some(at + same as u64));
            }
            at += part as u64;
        }
        Ok(None)
    }
}

impl Consumer for Against<'_> {
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
        let mut read = Vec::new();
        for (offset, run) in piece.runs() {
            let differs = self.differs(offset, &run, &mut read);
            if let Some(offset) = differs.map_err(|error| wrong(self.path, error))? {
                self.first.fetch_min(offset, Ordering::Relaxed);
                break;
            }
        }
        let end = piece.offset + piece.length;
        if self.first.load(Ordering::Relaxed) <= end {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }
}
